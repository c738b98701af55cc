//! The shop's MySQL as the command sees it: reached, made where it is missing, brought up to date.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use sqlx::{
    AssertSqlSafe, Connection, MySqlConnection,
    migrate::{Migrate, MigrateError, Migrator},
    mysql::MySqlConnectOptions,
};

use crate::{address::Mysql, index};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

const PATIENCE: Duration = Duration::from_secs(5);
const UNKNOWN_DATABASE: u16 = 1049;

pub async fn connect(mysql: &Mysql) -> anyhow::Result<MySqlConnection> {
    open(mysql.options().database(&mysql.database)).await.map_err(|error| explain(mysql, error))
}

/// Whether it can be reached at all; the database itself may still be missing.
pub async fn reachable(mysql: &Mysql) -> anyhow::Result<()> {
    match open(mysql.options().database(&mysql.database)).await {
        Err(Trouble::Sql(error)) if code(&error) == Some(UNKNOWN_DATABASE) => Ok(()),
        other => other.map(drop).map_err(|error| explain(mysql, error)),
    }
}

/// Connects; makes the database if there is none and the user may.
async fn connect_or_create(mysql: &Mysql) -> anyhow::Result<MySqlConnection> {
    match open(mysql.options().database(&mysql.database)).await {
        Err(Trouble::Sql(error)) if code(&error) == Some(UNKNOWN_DATABASE) => {}
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
    connect(mysql).await
}

/// Runs the migrations that have not run yet, and does what they could not in SQL; says how many ran.
pub async fn migrate(mysql: &Mysql) -> anyhow::Result<usize> {
    let mut connection = connect_or_create(mysql).await?;
    let table = MIGRATIONS.table_name.as_ref();
    connection.ensure_migrations_table(table).await.map_err(unmigrated)?;
    let before = connection.list_applied_migrations(table).await.map_err(unmigrated)?.len();
    MIGRATIONS.run(&mut connection).await.map_err(unmigrated)?;
    let after = connection.list_applied_migrations(table).await.map_err(unmigrated)?.len();
    index::complete(&mut connection).await?;
    Ok(after.saturating_sub(before))
}

fn unmigrated(error: MigrateError) -> anyhow::Error {
    match error {
        MigrateError::VersionMismatch(version) => {
            anyhow!("migration {version} was changed after this database had run it")
        }
        MigrateError::VersionMissing(version) => {
            anyhow!("this database has run migration {version}, which this checkout does not have")
        }
        MigrateError::Dirty(version) => {
            anyhow!("migration {version} broke off half-way: look at the table _sqlx_migrations")
        }
        MigrateError::ExecuteMigration(error, version) => anyhow!("migration {version} failed: {error}"),
        other => anyhow!("migrations failed: {other}"),
    }
}

enum Trouble {
    Late,
    Sql(sqlx::Error),
}

async fn open(options: MySqlConnectOptions) -> Result<MySqlConnection, Trouble> {
    match tokio::time::timeout(PATIENCE, MySqlConnection::connect_with(&options)).await {
        Ok(result) => result.map_err(Trouble::Sql),
        Err(_) => Err(Trouble::Late),
    }
}

fn code(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?;
    Some(error.downcast_ref::<sqlx::mysql::MySqlDatabaseError>().number())
}

/// One line that helps, without the password.
fn explain(mysql: &Mysql, trouble: Trouble) -> anyhow::Error {
    let error = match trouble {
        Trouble::Late => return anyhow!("MySQL at {mysql} does not answer within {} s", PATIENCE.as_secs()),
        Trouble::Sql(error) => error,
    };
    match (code(&error), &error) {
        (Some(1045 | 1698), _) => anyhow!("MySQL at {mysql} refuses the user `{}`: wrong name or password", mysql.user),
        (Some(1044), _) => {
            anyhow!("the user `{}` may not use the database `{}` at {mysql}", mysql.user, mysql.database)
        }
        (Some(UNKNOWN_DATABASE), _) => {
            anyhow!("there is no database `{}` at {mysql}: run `cargo mall migrate`", mysql.database)
        }
        (Some(1040), _) => anyhow!("MySQL at {mysql} has no connection left to give"),
        (_, sqlx::Error::Io(error)) => anyhow!("MySQL at {mysql} can't be reached: {error}"),
        _ => anyhow!("MySQL at {mysql}: {error}"),
    }
}

/// Changes nothing and fails, unless the shop's tables are there.
pub async fn expect_tables(connection: &mut MySqlConnection) -> anyhow::Result<()> {
    match sqlx::query("SELECT 1 FROM users LIMIT 1").fetch_optional(connection).await {
        Ok(_) => Ok(()),
        Err(error) if code(&error) == Some(1146) => {
            bail!("the shop's tables are missing: run `cargo mall migrate` first")
        }
        Err(error) => Err(error).context("MySQL"),
    }
}
