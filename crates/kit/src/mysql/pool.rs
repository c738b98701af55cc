//! The instance's connections.
//!
//! Dropping a connection while another one is being opened blocks a Spin instance forever: the host's `drop` waits for
//! a lock that the pending `open` holds. So every open and every drop happens under [`Pool::connect_lock`].

use std::{sync::Mutex, time::Duration};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use spin_sdk::{
    mysql::{self, MysqlError, ParameterValue},
    wasip3,
};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    error::Error,
    row::{Column, FromRow, Row},
};
use crate::{Problem, Result, config, context::check_time};

/// A transaction that takes longer is rolled back: its client has got a 503 already, or soon will.
pub(super) const TRANSACTION_LIFETIME: Duration = Duration::from_secs(3);

/// The most connections of an instance. It serves up to 16 requests at once, and there may be many instances, while
/// MySQL by default accepts 151 connections.
const MAX_CONNECTIONS: usize = 8;

/// A transaction that waited longer for a lock would exceed its lifetime.
const LOCK_WAIT_SECONDS: u64 = TRANSACTION_LIFETIME.as_secs();

/// A connection's mode. It is kept after use, which saves most of the statements that switch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Autocommit,
    Transaction,
}

struct Pool {
    idle: Mutex<Vec<PooledConnection>>,
    /// Locked while a connection is opened or dropped.
    connect_lock: tokio::sync::Mutex<()>,
    permits: Semaphore,
}

static POOL: Pool = Pool {
    idle: Mutex::new(Vec::new()),
    connect_lock: tokio::sync::Mutex::const_new(()),
    permits: Semaphore::const_new(MAX_CONNECTIONS),
};

struct PooledConnection {
    connection: mysql::Connection,
    mode: Mode,
    /// Whether its isolation level has been set to READ COMMITTED.
    is_read_committed: bool,
}

/// A connection for the use of one caller. When it is dropped it returns to the pool; if it is broken, or in the middle
/// of a statement or transaction, it is closed instead.
pub struct Connection {
    pooled: Option<PooledConnection>,
    /// A statement or transaction has begun and not ended.
    busy: bool,
    broken: bool,
    _permit: SemaphorePermit<'static>,
}

/// A connection in autocommit mode: each statement is its own transaction. 503 if MySQL can't be reached.
pub async fn connection() -> Result<Connection> {
    let mut connection = acquire(Mode::Autocommit).await?;
    connection.set_mode(Mode::Autocommit).await?;
    Ok(connection)
}

/// A connection, preferably one that is already in this mode. 503 if the request's time is up.
pub(super) async fn acquire(mode: Mode) -> Result<Connection> {
    check_time()?;
    let permit = POOL.permits.acquire().await.map_err(|_| Problem::unavailable())?;
    // It may have waited for long.
    check_time()?;
    let idle = POOL.idle.lock().ok().and_then(|mut idle| {
        let same_mode = idle.iter().rposition(|pooled| pooled.mode == mode);
        let position = same_mode.or(idle.len().checked_sub(1))?;
        Some(idle.swap_remove(position))
    });
    let pooled = match idle {
        Some(pooled) => pooled,
        None => open().await?,
    };
    Ok(Connection { pooled: Some(pooled), busy: false, broken: false, _permit: permit })
}

async fn open() -> Result<PooledConnection> {
    let address =
        address(&config::text("mysql").await?).ok_or_else(|| config::invalid("mysql", "must have five lines"))?;

    let _lock = POOL.connect_lock.lock().await;
    // The host repeats an address that it refuses, password included.
    let failed = |error| Error::Unavailable(describe(&error).replace(&address, "the address of `mysql`"));
    let connection = mysql::Connection::open(address.clone()).await.map_err(failed)?;
    Ok(PooledConnection { connection, mode: Mode::Autocommit, is_read_committed: false })
}

impl Connection {
    /// The rows of a SELECT, decoded.
    pub async fn query<T: FromRow>(&mut self, sql: &str, params: Vec<ParameterValue>) -> Result<Vec<T>, Error> {
        let was_busy = std::mem::replace(&mut self.busy, true);
        let rows = self.rows(sql, params).await;
        self.end_statement(&rows, was_busy);
        rows?.into_iter().map(|mut row| T::from_row(&mut row)).collect()
    }

    /// The first row of a SELECT, if there is one.
    pub async fn query_one<T: FromRow>(&mut self, sql: &str, params: Vec<ParameterValue>) -> Result<Option<T>, Error> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// A statement without rows. Unlike [`Connection::query`] it tells duplicate keys and conflicts from other errors.
    pub async fn execute(&mut self, sql: &str, params: Vec<ParameterValue>) -> Result<(), Error> {
        let was_busy = std::mem::replace(&mut self.busy, true);
        let result = match &self.pooled {
            Some(pooled) => pooled.connection.execute(sql, params).await.map_err(|error| classify(&error, sql)),
            None => Err(Error::Unavailable("closed".to_owned())),
        };
        self.end_statement(&result, was_busy);
        result
    }

    /// The AUTO_INCREMENT id of this connection's last INSERT.
    pub async fn last_insert_id<T: Column>(&mut self) -> Result<T, Error> {
        let id: Option<(T,)> = self.query_one("SELECT LAST_INSERT_ID() AS id", vec![]).await?;
        id.map(|(id,)| id).ok_or_else(|| Error::Statement("LAST_INSERT_ID() returned no row".to_owned()))
    }

    async fn rows(&self, sql: &str, params: Vec<ParameterValue>) -> Result<Vec<Row>, Error> {
        let Some(pooled) = &self.pooled else { return Err(Error::Unavailable("closed".to_owned())) };
        let result = pooled.connection.query(sql, params).await.map_err(|error| classify(&error, sql))?;
        let (columns, mut stream, end) = result.into_inner();
        let columns = std::sync::Arc::new(columns);
        let mut rows = Vec::new();
        while let Some(values) = stream.next().await {
            rows.push(Row::new(columns.clone(), values));
        }
        end.await.map_err(|error| classify(&mysql::Error::MysqlError(error), sql))?;
        Ok(rows)
    }

    fn end_statement<T>(&mut self, result: &Result<T, Error>, was_busy: bool) {
        self.busy = was_busy;
        // Outside a transaction, what looks like a conflict may be a broken connection: `query` does not say which.
        self.broken |= match result {
            Err(Error::Unavailable(_)) => true,
            Err(Error::Conflict(_)) => !was_busy,
            _ => false,
        };
    }

    pub(super) fn set_busy(&mut self, busy: bool) {
        self.busy = busy;
    }

    pub(super) async fn set_mode(&mut self, mode: Mode) -> Result<(), Error> {
        let Some((current, is_read_committed)) =
            self.pooled.as_ref().map(|pooled| (pooled.mode, pooled.is_read_committed))
        else {
            return Ok(());
        };
        if mode == Mode::Transaction && !is_read_committed {
            // Without gap locks, buyers of different products never wait for one another.
            self.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", vec![]).await?;
        }
        match mode {
            _ if mode == current => {}
            Mode::Transaction => {
                self.execute(&format!("SET autocommit=0, innodb_lock_wait_timeout={LOCK_WAIT_SECONDS}"), vec![])
                    .await?;
            }
            Mode::Autocommit => self.execute("SET autocommit=1", vec![]).await?,
        }
        if let Some(pooled) = &mut self.pooled {
            pooled.mode = mode;
            pooled.is_read_committed |= mode == Mode::Transaction;
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(pooled) = self.pooled.take() else { return };
        if self.busy || self.broken {
            // Closing it also rolls back its open transaction, if there is one.
            wasip3::spawn(async move {
                let _lock = POOL.connect_lock.lock().await;
                drop(pooled);
            });
        } else if let Ok(mut idle) = POOL.idle.lock() {
            idle.push(pooled);
        }
    }
}

/// The error codes of a server that is overloaded, starting, shutting down or failing over, or has ended the session:
/// <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>; 1047 and 1927 are MariaDB's.
const UNAVAILABLE: [u32; 18] = [
    1040, // too many connections
    1047, // Galera: the node is not ready
    1053, // shutdown in progress
    1080, // a connection was closed by force
    1152, // connection aborted
    1158, // network errors, to 1161
    1159, 1160, 1161, //
    1184, // connection aborted
    1203, // too many connections of this user
    1290, // read-only while failing over
    1317, // statement interrupted
    1792, // read-only transaction
    1836, // read-only server
    1927, // connection killed
    3169, // session killed
    4031, // disconnected after a long time without a statement
];

/// Classifies an error of the host by the server's error code in its text: `ServerError { code: 1062, …`, or `ERROR 1213
/// (40001): …` if it came while rows were read. Other errors have codes, too: `Io(Os { code: 104, …`.
fn classify(error: &mysql::Error, sql: &str) -> Error {
    let text = describe(error);
    let code = text.split_once("ServerError { code: ").or_else(|| text.split_once("`ERROR ")).and_then(|(_, rest)| {
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<u32>().ok()
    });
    let with_statement = || format!("{text} in {}", sql.split_whitespace().take(4).collect::<Vec<_>>().join(" "));
    match code {
        Some(1062) => Error::Duplicate { key: duplicate_key(&text) },
        // Lock wait timeout; deadlock; record changed since last read (MariaDB's snapshot isolation); locked, and NOWAIT
        // (MySQL).
        Some(1205 | 1213 | 1020 | 3572) => Error::Conflict(with_statement()),
        Some(code) if UNAVAILABLE.contains(&code) => Error::Unavailable(text),
        Some(_) => Error::Statement(with_statement()),
        // `query` reports every server error like this. If the connection broke instead, the ROLLBACK that follows
        // fails.
        None if text.contains("channel closed") => Error::Conflict(with_statement()),
        None => match error {
            mysql::Error::MysqlError(MysqlError::BadParameter(_) | MysqlError::ValueConversionFailed(_)) => {
                Error::Statement(with_statement())
            }
            _ => Error::Unavailable(text),
        },
    }
}

/// `Duplicate entry 'x' for key 'users.uq_username'` names the key; MariaDB leaves out the table.
fn duplicate_key(text: &str) -> String {
    let key = text.split_once("for key '").and_then(|(_, rest)| rest.split('\'').next()).unwrap_or_default();
    let key = key.rsplit('.').next().unwrap_or_default();
    key.trim_end_matches('\\').to_owned()
}

fn describe(error: &mysql::Error) -> String {
    match error {
        mysql::Error::Decode(text) => text.clone(),
        mysql::Error::MysqlError(error) => format!("{error:?}"),
    }
}

/// The connection's URL, from the variable `mysql`: host, user, database, parameters and password, which `spin.toml`
/// joins by line feeds. The password is last, so none of its characters can be taken for a separator.
fn address(variable: &str) -> Option<String> {
    let [host, user, database, params, password] = variable.splitn(5, '\n').collect::<Vec<_>>().try_into().ok()?;
    let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    Some(format!("mysql://{}:{}@{host}/{database}{params}", encode(user), encode(password)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(text: &str) -> mysql::Error {
        mysql::Error::MysqlError(MysqlError::Other(text.to_owned()))
    }

    #[test]
    fn classifies_the_errors_that_callers_act_on() {
        let duplicate = r#"Server(ServerError { code: 1062, message: "Duplicate entry 'a' for key 'users.uq_username'", state: "23000" })"#;
        assert!(matches!(classify(&other(duplicate), ""), Error::Duplicate { key } if key == "uq_username"));
        let mariadb = r#"Server(ServerError { code: 1062, message: "Duplicate entry 'a' for key 'uq_username'", state: "23000" })"#;
        assert!(matches!(classify(&other(mariadb), ""), Error::Duplicate { key } if key == "uq_username"));
        let deadlock = r#"Server(ServerError { code: 1213, message: "Deadlock found", state: "40001" })"#;
        assert!(matches!(classify(&other(deadlock), ""), Error::Conflict(_)));
        let in_rows = r#"Error::Other("Server error: `ERROR 1213 (40001): Deadlock found when trying to get lock'")"#;
        assert!(matches!(classify(&other(in_rows), ""), Error::Conflict(_)));
        let nowait = r#"Server(ServerError { code: 3572, message: "NOWAIT is set.", state: "HY000" })"#;
        assert!(matches!(classify(&other(nowait), ""), Error::Conflict(_)));
        assert!(matches!(classify(&other("async error: channel closed"), ""), Error::Conflict(_)));
        let full = r#"Server(ServerError { code: 1040, message: "Too many connections", state: "08004" })"#;
        assert!(matches!(classify(&other(full), ""), Error::Unavailable(_)));
        let syntax = r#"Server(ServerError { code: 1064, message: "syntax", state: "42000" })"#;
        assert!(matches!(classify(&other(syntax), ""), Error::Statement(_)));
        let reset = r#"Io(Io(Os { code: 104, kind: ConnectionReset, message: "Connection reset by peer" }))"#;
        assert!(matches!(classify(&other(reset), ""), Error::Unavailable(_)));
    }

    #[test]
    fn no_character_of_a_password_breaks_the_address() {
        let address =
            |password: &str| address(&format!("db:3306\nmall\nshop\n?ssl-mode=REQUIRED\n{password}")).unwrap();
        assert_eq!(address("a:b@c/%"), "mysql://mall:a%3Ab%40c%2F%25@db:3306/shop?ssl-mode=REQUIRED");
        assert_eq!(
            address("ü\n{{ x }}#?"),
            "mysql://mall:%C3%BC%0A%7B%7B%20x%20%7D%7D%23%3F@db:3306/shop?ssl-mode=REQUIRED"
        );
        assert_eq!(address(""), "mysql://mall:@db:3306/shop?ssl-mode=REQUIRED");
        assert_eq!(super::address("db\nmall"), None);
    }
}
