//! The instance's connections.
//!
//! Dropping a connection while another one is being opened blocks a Spin instance for good (the host's `drop` waits for
//! a lock that the pending `open` holds). So every open and every drop happens under [`Pool::gate`].

use std::sync::Mutex;

use spin_sdk::{
    mysql::{self, MysqlError, ParameterValue},
    wasip3,
};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Error, FromRow, Row};
use crate::{Problem, Result, config};

/// Connections of one instance at most. An instance serves up to 16 requests at once, and there may be many instances,
/// while MySQL takes 151 connections unless told otherwise.
const MAX_CONNECTIONS: usize = 8;

/// Waiting longer for a lock is of no use: see [`super::LIFETIME`].
const LOCK_WAIT_SECONDS: u64 = super::LIFETIME.as_secs();

/// What a connection was last set to do. It stays so, to save the two statements that would set it to and fro.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Autocommit,
    Transaction,
}

struct Pool {
    idle: Mutex<Vec<Link>>,
    /// Held while a connection is opened or dropped.
    gate: tokio::sync::Mutex<()>,
    permits: Semaphore,
}

static POOL: Pool = Pool {
    idle: Mutex::new(Vec::new()),
    gate: tokio::sync::Mutex::const_new(()),
    permits: Semaphore::const_new(MAX_CONNECTIONS),
};

struct Link {
    connection: mysql::Connection,
    mode: Mode,
    /// READ COMMITTED is set.
    isolated: bool,
}

/// A connection that is this request's alone until it is dropped. Then it serves others, unless it broke or was in
/// the middle of something.
pub struct Connection {
    link: Option<Link>,
    /// A statement or a transaction has begun and not ended.
    busy: bool,
    broken: bool,
    _permit: SemaphorePermit<'static>,
}

/// A connection, by preference one that is in the wanted mode already.
pub(super) async fn acquire(mode: Mode) -> Result<Connection> {
    let permit = POOL.permits.acquire().await.map_err(|_| Problem::unavailable())?;
    let idle = POOL.idle.lock().ok().and_then(|mut idle| {
        let fitting = idle.iter().rposition(|link| link.mode == mode);
        let position = fitting.or(idle.len().checked_sub(1))?;
        Some(idle.swap_remove(position))
    });
    let link = match idle {
        Some(link) => link,
        None => open().await?,
    };
    Ok(Connection { link: Some(link), busy: false, broken: false, _permit: permit })
}

async fn open() -> Result<Link> {
    let (host, user, password) =
        (config::text("mysql_host").await?, config::text("mysql_user").await?, config::text("mysql_password").await?);
    let (database, params) = (config::text("mysql_database").await?, config::text("mysql_params").await?);
    let (user, password) = (percent_encode(&user), percent_encode(&password));
    let address = format!("mysql://{user}:{password}@{host}/{database}{params}");

    let _gate = POOL.gate.lock().await;
    let connection = mysql::Connection::open(address).await.map_err(|error| Error::Unavailable(describe(&error)))?;
    Ok(Link { connection, mode: Mode::Autocommit, isolated: false })
}

impl Connection {
    /// Rows of a SELECT, decoded.
    pub async fn query<T: FromRow>(&mut self, sql: &str, params: Vec<ParameterValue>) -> Result<Vec<T>, Error> {
        let was_busy = std::mem::replace(&mut self.busy, true);
        let rows = self.rows(sql, params).await;
        self.settle(&rows, was_busy);
        rows?.into_iter().map(|mut row| T::from_row(&mut row)).collect()
    }

    /// The one row of a SELECT, or none.
    pub async fn query_one<T: FromRow>(&mut self, sql: &str, params: Vec<ParameterValue>) -> Result<Option<T>, Error> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// A statement without rows. Its errors are told apart: duplicate keys, conflicts.
    pub async fn execute(&mut self, sql: &str, params: Vec<ParameterValue>) -> Result<(), Error> {
        let was_busy = std::mem::replace(&mut self.busy, true);
        let result = match &self.link {
            Some(link) => link.connection.execute(sql, params).await.map_err(|error| classify(&error, sql)),
            None => Err(Error::Unavailable("closed".to_owned())),
        };
        self.settle(&result, was_busy);
        result
    }

    /// The AUTO_INCREMENT id of this connection's last INSERT.
    pub async fn last_insert_id(&mut self) -> Result<i64, Error> {
        let id: Option<(i64,)> = self.query_one("SELECT LAST_INSERT_ID() AS id", vec![]).await?;
        id.map(|(id,)| id).ok_or_else(|| Error::Statement("no id".to_owned()))
    }

    async fn rows(&self, sql: &str, params: Vec<ParameterValue>) -> Result<Vec<Row>, Error> {
        let Some(link) = &self.link else { return Err(Error::Unavailable("closed".to_owned())) };
        let result = link.connection.query(sql, params).await.map_err(|error| classify(&error, sql))?;
        let (columns, mut stream, end) = result.into_inner();
        let columns = std::sync::Arc::new(columns);
        let mut rows = Vec::new();
        while let Some(values) = stream.next().await {
            rows.push(Row::new(columns.clone(), values));
        }
        end.await.map_err(|error| classify(&mysql::Error::MysqlError(error), sql))?;
        Ok(rows)
    }

    fn settle<T>(&mut self, result: &Result<T, Error>, was_busy: bool) {
        self.busy = was_busy;
        // A conflict outside a transaction may be a broken connection as well: `query` does not tell.
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
        let Some((current, isolated)) = self.link.as_ref().map(|link| (link.mode, link.isolated)) else {
            return Ok(());
        };
        if mode == Mode::Transaction && !isolated {
            // No gap locks: buyers of different things never wait for one another.
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
        if let Some(link) = &mut self.link {
            link.mode = mode;
            link.isolated |= mode == Mode::Transaction;
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(link) = self.link.take() else { return };
        if self.busy || self.broken {
            // Closing it also ends the transaction that it may have open.
            wasip3::spawn(async move {
                let _gate = POOL.gate.lock().await;
                drop(link);
            });
        } else if let Ok(mut idle) = POOL.idle.lock() {
            idle.push(link);
        }
    }
}

/// What an error of the host means. Its text carries the server's code, such as `ServerError { code: 1062, …`.
fn classify(error: &mysql::Error, sql: &str) -> Error {
    let text = describe(error);
    let code = text.split_once("code: ").and_then(|(_, rest)| {
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<u32>().ok()
    });
    let at = || format!("{text} in {}", sql.split_whitespace().take(4).collect::<Vec<_>>().join(" "));
    match code {
        Some(1062) => Error::Duplicate { key: duplicate_key(&text) },
        // Lock wait timeout; deadlock; record changed since last read (MariaDB's snapshot isolation); locked, and NOWAIT
        // (MySQL).
        Some(1205 | 1213 | 1020 | 3572) => Error::Conflict(at()),
        // Server shutdown; too many connections; connection killed; read-only while failing over.
        Some(1053 | 1040 | 1317 | 1290 | 1927) => Error::Unavailable(text),
        Some(_) => Error::Statement(at()),
        // What `query` makes of every error of the server; a broken connection shows by the ROLLBACK that follows.
        None if text.contains("channel closed") => Error::Conflict(at()),
        None => match error {
            mysql::Error::MysqlError(MysqlError::BadParameter(_) | MysqlError::ValueConversionFailed(_)) => {
                Error::Statement(at())
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

/// A user or password as it may stand in a URL (RFC 3986, section 2).
pub(crate) fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(text: &str) -> mysql::Error {
        mysql::Error::MysqlError(MysqlError::Other(text.to_owned()))
    }

    #[test]
    fn knows_the_errors_that_callers_act_on() {
        let duplicate = r#"Server(ServerError { code: 1062, message: "Duplicate entry 'a' for key 'users.uq_username'", state: "23000" })"#;
        assert!(matches!(classify(&other(duplicate), ""), Error::Duplicate { key } if key == "uq_username"));
        let mariadb = r#"Server(ServerError { code: 1062, message: "Duplicate entry 'a' for key 'uq_username'", state: "23000" })"#;
        assert!(matches!(classify(&other(mariadb), ""), Error::Duplicate { key } if key == "uq_username"));
        let deadlock = r#"Server(ServerError { code: 1213, message: "Deadlock found", state: "40001" })"#;
        assert!(matches!(classify(&other(deadlock), ""), Error::Conflict(_)));
        let nowait = r#"Server(ServerError { code: 3572, message: "NOWAIT is set.", state: "HY000" })"#;
        assert!(matches!(classify(&other(nowait), ""), Error::Conflict(_)));
        assert!(matches!(classify(&other("async error: channel closed"), ""), Error::Conflict(_)));
        let full = r#"Server(ServerError { code: 1040, message: "Too many connections", state: "08004" })"#;
        assert!(matches!(classify(&other(full), ""), Error::Unavailable(_)));
        let syntax = r#"Server(ServerError { code: 1064, message: "syntax", state: "42000" })"#;
        assert!(matches!(classify(&other(syntax), ""), Error::Statement(_)));
        assert!(matches!(classify(&other("Io(Io(Os { kind: BrokenPipe }))"), ""), Error::Unavailable(_)));
    }

    #[test]
    fn credentials_are_encoded_for_the_address() {
        assert_eq!(percent_encode("a:b@c/ü"), "a%3Ab%40c%2F%C3%BC");
    }
}
