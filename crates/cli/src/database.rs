//! The shop's MySQL database: connects to it, creates it and migrates its schema.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use sqlx::{
    AssertSqlSafe, Connection, MySqlConnection,
    migrate::{Migrate, MigrateError, Migrator},
    mysql::MySqlConnectOptions,
};

use crate::{address::Mysql, search_index};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const UNKNOWN_DATABASE: u16 = 1049;

pub async fn connect(mysql: &Mysql) -> anyhow::Result<MySqlConnection> {
    open(mysql.options().database(&mysql.database)).await.map_err(|error| explain(mysql, error))
}

/// Checks that the server can be reached. The database itself may be missing.
pub async fn reachable(mysql: &Mysql) -> anyhow::Result<()> {
    match open(mysql.options().database(&mysql.database)).await {
        Ok(connection) => close(connection).await,
        Err(ConnectError::Sql(error)) if code(&error) == Some(UNKNOWN_DATABASE) => Ok(()),
        Err(error) => Err(explain(mysql, error)),
    }
}

/// Closes a connection that is no longer needed. If it were dropped, the server would log that it was aborted.
pub async fn close(connection: MySqlConnection) -> anyhow::Result<()> {
    connection.close().await.context("MySQL")
}

/// Connects, and creates the database if it is missing and the user may create it.
async fn connect_or_create(mysql: &Mysql) -> anyhow::Result<MySqlConnection> {
    match open(mysql.options().database(&mysql.database)).await {
        Err(ConnectError::Sql(error)) if code(&error) == Some(UNKNOWN_DATABASE) => {}
        other => return other.map_err(|error| explain(mysql, error)),
    }
    let mut server = open(mysql.options()).await.map_err(|error| explain(mysql, error))?;
    let name = mysql.database.replace('`', "``");
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4")))
        .execute(&mut server)
        .await
        .map_err(|_| {
            anyhow!(
                "the database `{}` is missing at {mysql}, and the user `{}` may not create it",
                mysql.database,
                mysql.user
            )
        })?;
    close(server).await?;
    connect(mysql).await
}

/// Runs pending migrations and the parts of them that SQL can't do. Returns how many ran.
pub async fn migrate(mysql: &Mysql) -> anyhow::Result<usize> {
    let mut connection = connect_or_create(mysql).await?;
    let table = MIGRATIONS.table_name.as_ref();
    connection.ensure_migrations_table(table).await.map_err(explain_migration_error)?;
    let before = connection.list_applied_migrations(table).await.map_err(explain_migration_error)?.len();
    MIGRATIONS.run(&mut connection).await.map_err(explain_migration_error)?;
    let after = connection.list_applied_migrations(table).await.map_err(explain_migration_error)?.len();
    search_index::add_missing(&mut connection).await?;
    close(connection).await?;
    Ok(after.saturating_sub(before))
}

fn explain_migration_error(error: MigrateError) -> anyhow::Error {
    match error {
        MigrateError::VersionMismatch(version) => {
            anyhow!("migration {version} was changed after this database ran it")
        }
        MigrateError::VersionMissing(version) => {
            anyhow!("this database has run migration {version}, which this checkout does not have")
        }
        MigrateError::Dirty(version) => {
            anyhow!("migration {version} was interrupted: see the table _sqlx_migrations")
        }
        MigrateError::ExecuteMigration(error, version) => anyhow!("migration {version} failed: {error}"),
        other => anyhow!("the migrations failed: {other}"),
    }
}

enum ConnectError {
    TimedOut,
    Sql(sqlx::Error),
}

async fn open(options: MySqlConnectOptions) -> Result<MySqlConnection, ConnectError> {
    match tokio::time::timeout(CONNECT_TIMEOUT, MySqlConnection::connect_with(&options)).await {
        Ok(result) => result.map_err(ConnectError::Sql),
        Err(_) => Err(ConnectError::TimedOut),
    }
}

fn code(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?;
    Some(error.downcast_ref::<sqlx::mysql::MySqlDatabaseError>().number())
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
        (_, sqlx::Error::Io(error)) => anyhow!("MySQL at {mysql} can't be reached: {error}"),
        _ => anyhow!("MySQL at {mysql}: {error}"),
    }
}

/// Fails unless the shop's tables exist.
pub async fn expect_tables(connection: &mut MySqlConnection) -> anyhow::Result<()> {
    match sqlx::query("SELECT 1 FROM users LIMIT 1").fetch_optional(connection).await {
        Ok(_) => Ok(()),
        Err(error) if code(&error) == Some(1146) => {
            bail!("the shop's tables are missing: run `cargo mall migrate` first")
        }
        Err(error) => Err(error).context("MySQL"),
    }
}
