//! The shop's MySQL database: connects to it, creates it and migrates its schema.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use mysql_async::{
    Conn, DriverError, Error, IoError, Params, Row, from_row_opt,
    prelude::{FromRow, Queryable},
};

use crate::{address::Mysql, ledger_entries, migrations, project::Project, search_index};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const UNKNOWN_DATABASE: u16 = 1049;

pub async fn connect(mysql: &Mysql) -> anyhow::Result<Conn> {
    open(mysql, Some(&mysql.database)).await.map_err(|error| explain(mysql, error))
}

/// Checks that the server can be reached. The database itself may be missing.
pub async fn reachable(mysql: &Mysql) -> anyhow::Result<()> {
    match open(mysql, Some(&mysql.database)).await {
        Ok(connection) => close(connection).await,
        Err(ConnectError::Sql(error)) if code(&error) == Some(UNKNOWN_DATABASE) => Ok(()),
        Err(error) => Err(explain(mysql, error)),
    }
}

/// Closes a connection that is no longer needed. If it were dropped, the server would log that it was aborted.
pub async fn close(connection: Conn) -> anyhow::Result<()> {
    connection.disconnect().await.context("MySQL")
}

/// Connects, and creates the database if it is missing and the user may create it.
async fn connect_or_create(mysql: &Mysql) -> anyhow::Result<Conn> {
    match open(mysql, Some(&mysql.database)).await {
        Err(ConnectError::Sql(error)) if code(&error) == Some(UNKNOWN_DATABASE) => {}
        other => return other.map_err(|error| explain(mysql, error)),
    }
    let mut server = open(mysql, None).await.map_err(|error| explain(mysql, error))?;
    let name = mysql.database.replace('`', "``");
    let create = format!("CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4");
    server.query_drop(create).await.map_err(|_| {
        anyhow!(
            "the database `{}` is missing at {mysql}, and the user `{}` may not create it",
            mysql.database,
            mysql.user
        )
    })?;
    close(server).await?;
    connect(mysql).await
}

/// Runs pending migrations and the parts of them that SQL can't do. Returns how many ran. The ledger is completed if one
/// ran, or if `always_complete`: that reads all payments, so not at each start.
pub async fn migrate(project: &Project, mysql: &Mysql, always_complete: bool) -> anyhow::Result<usize> {
    let mut connection = connect_or_create(mysql).await?;
    let ran = migrations::run(&mut connection, &project.root.join("migrations")).await?;
    search_index::add_missing(&mut connection).await?;
    if ran > 0 || always_complete {
        ledger_entries::add_missing(&mut connection).await?;
    }
    close(connection).await?;
    Ok(ran)
}

/// The only row of a result. A value that has another type is an error, where the driver's methods panic.
pub async fn one<T: FromRow>(connection: &mut Conn, sql: &str, params: impl Into<Params> + Send) -> anyhow::Result<T> {
    let row: Option<Row> = connection.exec_first(sql, params).await?;
    Ok(from_row_opt(row.context("there is no such row")?)?)
}

/// Inserts a row. Returns its id.
pub async fn insert(
    connection: &mut impl Queryable,
    sql: &str,
    params: impl Into<Params> + Send,
) -> anyhow::Result<u64> {
    let result = connection.exec_iter(sql, params).await?;
    let id = result.last_insert_id();
    result.drop_result().await?;
    id.context("the row got no id")
}

enum ConnectError {
    TimedOut,
    Sql(Error),
}

async fn open(mysql: &Mysql, database: Option<&str>) -> Result<Conn, ConnectError> {
    let options = mysql.options().db_name(database);
    let connecting = async {
        match Conn::new(options.clone()).await {
            Err(Error::Driver(DriverError::NoClientSslFlagFromServer)) if mysql.tls_is_optional() => {
                Conn::new(options.ssl_opts(None)).await
            }
            other => other,
        }
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(result) => result.map_err(ConnectError::Sql),
        Err(_) => Err(ConnectError::TimedOut),
    }
}

fn code(error: &Error) -> Option<u16> {
    match error {
        Error::Server(error) => Some(error.code),
        _ => None,
    }
}

/// A message of one line that says what to do, without the password.
fn explain(mysql: &Mysql, error: ConnectError) -> anyhow::Error {
    let error = match error {
        ConnectError::TimedOut => {
            return anyhow!("MySQL at {mysql} did not answer within {} s", CONNECT_TIMEOUT.as_secs());
        }
        ConnectError::Sql(error) => error,
    };
    match (code(&error), &error) {
        (Some(1045 | 1698), _) => {
            anyhow!("MySQL at {mysql} rejected the user `{}`: wrong name or password", mysql.user)
        }
        (Some(1044), _) => {
            anyhow!("the user `{}` may not use the database `{}` at {mysql}", mysql.user, mysql.database)
        }
        (Some(UNKNOWN_DATABASE), _) => {
            anyhow!("there is no database `{}` at {mysql}: run `cargo mall migrate`", mysql.database)
        }
        (Some(1040), _) => anyhow!("MySQL at {mysql} has too many connections"),
        (_, Error::Driver(DriverError::NoClientSslFlagFromServer)) => anyhow!("MySQL at {mysql} does not support TLS"),
        (_, Error::Io(IoError::Io(error))) => anyhow!("MySQL at {mysql} can't be reached: {error}"),
        _ => anyhow!("MySQL at {mysql}: {error}"),
    }
}

/// Fails unless the shop's tables exist.
pub async fn expect_tables(connection: &mut Conn) -> anyhow::Result<()> {
    match connection.query_drop("SELECT 1 FROM users LIMIT 1").await {
        Ok(_) => Ok(()),
        Err(error) if code(&error) == Some(1146) => {
            bail!("the shop's tables are missing: run `cargo mall migrate` first")
        }
        Err(error) => Err(error).context("MySQL"),
    }
}
