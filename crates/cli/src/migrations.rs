//! Runs the files of `migrations/` that a database has not run yet.
//!
//! The table that lists those it has run is sqlx's, which ran them in earlier releases. So is the name of the lock.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail, ensure};
use mysql_async::{Conn, TxOpts, prelude::Queryable};
use sha2::{Digest, Sha384};

const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS _sqlx_migrations (
        version BIGINT PRIMARY KEY,
        description TEXT NOT NULL,
        installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
        success BOOLEAN NOT NULL,
        checksum BLOB NOT NULL,
        execution_time BIGINT NOT NULL
    )";
/// How long to wait for another process that migrates the same database. MariaDB can't wait without a limit.
const LOCK_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// A file.
struct Migration {
    version: i64,
    description: String,
    sql: String,
}

/// A row of the table.
struct Applied {
    version: i64,
    is_complete: bool,
    checksum: Vec<u8>,
}

impl Migration {
    /// By which a file that was changed since is told.
    fn checksum(&self) -> Vec<u8> {
        Sha384::digest(&self.sql).to_vec()
    }
}

/// Runs them in the order of their versions. Returns how many.
pub async fn run(connection: &mut Conn, folder: &Path) -> anyhow::Result<usize> {
    const LOCK: &str = "SELECT GET_LOCK(LOWER(HEX(CRC32(DATABASE()) * 1026731422)), ?)";
    const APPLIED: &str = "SELECT version, success, checksum FROM _sqlx_migrations ORDER BY version";
    let migrations = read(folder)?;
    let locked: Option<Option<i64>> = connection.exec_first(LOCK, (LOCK_TIMEOUT.as_secs(),)).await.map_err(explain)?;
    ensure!(locked == Some(Some(1)), "the migrations failed: another process is migrating this database");
    connection.query_drop(TABLE).await.map_err(explain)?;
    let applied = |(version, is_complete, checksum)| Applied { version, is_complete, checksum };
    let applied = connection.query_map(APPLIED, applied).await.map_err(explain)?;
    let pending = pending(&migrations, &applied)?;
    for migration in &pending {
        apply(connection, migration).await?;
    }
    connection.query_drop("DO RELEASE_ALL_LOCKS()").await.map_err(explain)?;
    Ok(pending.len())
}

fn explain(error: mysql_async::Error) -> anyhow::Error {
    anyhow!("the migrations failed: {error}")
}

/// Whatever changes a table ends the transaction. If a later statement fails, the row that says so stays.
async fn apply(connection: &mut Conn, migration: &Migration) -> anyhow::Result<()> {
    const BEGUN: &str = "
        INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (?, ?, FALSE, ?, -1)";
    const COMPLETE: &str = "UPDATE _sqlx_migrations SET success = TRUE WHERE version = ?";
    const TOOK: &str = "UPDATE _sqlx_migrations SET execution_time = ? WHERE version = ?";
    let Migration { version, description, sql } = migration;
    let started = Instant::now();
    let mut transaction = connection.start_transaction(TxOpts::default()).await.map_err(explain)?;
    transaction.exec_drop(BEGUN, (version, description, migration.checksum())).await.map_err(explain)?;
    transaction.query_drop(sql).await.map_err(|error| anyhow!("migration {version} failed: {error}"))?;
    transaction.exec_drop(COMPLETE, (version,)).await.map_err(explain)?;
    transaction.commit().await.map_err(explain)?;
    let took = i64::try_from(started.elapsed().as_nanos())?;
    connection.exec_drop(TOOK, (took, version)).await.map_err(explain)
}

/// The migrations of a folder, in the order of their versions.
fn read(folder: &Path) -> anyhow::Result<Vec<Migration>> {
    let unreadable = |path: &Path| format!("{} can't be read", path.display());
    let mut migrations = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| unreadable(folder))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some((version, description)) = parse_name(&name)? else { continue };
        let sql = fs::read_to_string(&path).with_context(|| unreadable(&path))?;
        migrations.push(Migration { version, description, sql });
    }
    migrations.sort_by_key(|migration| migration.version);
    match migrations.array_windows().find(|[one, next]| one.version == next.version) {
        Some([twice, _]) => bail!("two migrations have the version {}", twice.version),
        None => Ok(migrations),
    }
}

/// The version and the description that a file's name consists of. Nothing if it is not SQL.
fn parse_name(name: &str) -> anyhow::Result<Option<(i64, String)>> {
    let Some(stem) = name.strip_suffix(".sql") else { return Ok(None) };
    let parts = stem.split_once('_').and_then(|(version, rest)| Some((version.parse().ok()?, rest.replace('_', " "))));
    Ok(Some(parts.with_context(|| format!("a migration's name is <version>_<description>.sql, not {name}"))?))
}

/// Those that the database has not run. An error if it has run anything else than they were.
fn pending<'a>(migrations: &'a [Migration], applied: &[Applied]) -> anyhow::Result<Vec<&'a Migration>> {
    for Applied { version, is_complete, checksum } in applied {
        ensure!(is_complete, "migration {version} was interrupted: see the table _sqlx_migrations");
        let migration = migrations.iter().find(|migration| migration.version == *version);
        let missing = || format!("this database has run migration {version}, which this checkout does not have");
        let is_same = migration.with_context(missing)?.checksum() == *checksum;
        ensure!(is_same, "migration {version} was changed after this database ran it");
    }
    let is_applied = |migration: &&Migration| applied.iter().any(|applied| applied.version == migration.version);
    Ok(migrations.iter().filter(|migration| !is_applied(migration)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migration(version: i64) -> Migration {
        Migration { version, description: String::new(), sql: format!("CREATE TABLE t{version} (id INT)") }
    }

    fn applied(version: i64) -> Applied {
        Applied { version, is_complete: true, checksum: migration(version).checksum() }
    }

    fn versions(migrations: &[Migration], applied: &[Applied]) -> Result<Vec<i64>, String> {
        match pending(migrations, applied) {
            Ok(pending) => Ok(pending.iter().map(|migration| migration.version).collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_name_has_a_version_and_a_description() {
        assert_eq!(parse_name("0012_job_first_tried.sql").unwrap(), Some((12, "job first tried".to_owned())));
        assert_eq!(parse_name("README.md").unwrap(), None);
        for name in ["accounts.sql", "x1_accounts.sql", "0001-accounts.sql", "_accounts.sql"] {
            assert!(parse_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn what_was_not_run_is_pending() {
        let all = [migration(1), migration(2), migration(5)];
        assert_eq!(versions(&all, &[]), Ok(vec![1, 2, 5]));
        assert_eq!(versions(&all, &[applied(1), applied(2)]), Ok(vec![5]));
        // Of a branch that was merged later.
        assert_eq!(versions(&all, &[applied(1), applied(5)]), Ok(vec![2]));
        assert_eq!(versions(&all, &[applied(1), applied(2), applied(5)]), Ok(vec![]));
    }

    #[test]
    fn what_was_run_otherwise_is_an_error() {
        let all = [migration(1), migration(2)];
        let fails = |row: Applied, expected: &str| {
            let error = versions(&all, &[applied(1), row]).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        fails(Applied { checksum: vec![0; 48], ..applied(2) }, "migration 2 was changed after this database ran it");
        fails(applied(3), "has run migration 3, which this checkout does not have");
        fails(Applied { is_complete: false, ..applied(2) }, "migration 2 was interrupted");
    }

    #[test]
    fn the_shops_migrations_are_read_in_their_order() {
        let migrations = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations")).unwrap();
        assert!(migrations.is_sorted_by_key(|migration| migration.version));
        let first = migrations.first().unwrap();
        assert_eq!((first.version, first.description.as_str()), (1, "accounts"));
        // As sqlx has written it.
        let checksum: String = first.checksum().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            checksum,
            "ec5272a108c4f4c9544f37b252c5148b79fdcc3d8b93801d50ae2a615d49c43f50ecf3555420399542b6e95fd7d9b0f3"
        );
    }
}
