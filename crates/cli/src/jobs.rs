//! `cargo mall jobs`: the queued and failed background jobs.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::bail;
use sqlx::{MySqlConnection, Row};

use crate::{database, database_urls::DatabaseUrls, project::Project, tick};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    databases: DatabaseUrls,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Retry dead jobs, for another day
    Retry(Retry),
}

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true))]
struct Retry {
    /// One job
    #[arg(group = "which")]
    id: Option<i64>,

    /// All dead jobs of a queue
    #[arg(long, group = "which", value_name = "QUEUE")]
    queue: Option<String>,

    #[command(flatten)]
    databases: DatabaseUrls,
}

pub async fn run(project: &Project, arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        None => list(project, &arguments.databases).await,
        Some(Command::Retry(which)) => retry(project, &which).await,
    }
}

async fn connect(project: &Project, databases: &DatabaseUrls) -> anyhow::Result<MySqlConnection> {
    let mut connection = database::connect(&project.mysql(databases)?).await?;
    database::expect_tables(&mut connection).await?;
    Ok(connection)
}

/// Milliseconds since 1970.
fn now() -> anyhow::Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

async fn list(project: &Project, databases: &DatabaseUrls) -> anyhow::Result<ExitCode> {
    const QUEUES: &str = "
        SELECT queue,
               CAST(SUM(state <> 'dead' AND due_at <= ?) AS SIGNED) AS due,
               CAST(SUM(state = 'queued' AND due_at > ?) AS SIGNED) AS later,
               CAST(SUM(state = 'leased' AND due_at > ?) AS SIGNED) AS leased,
               CAST(SUM(state = 'queued' AND attempts > 0) AS SIGNED) AS failing,
               CAST(SUM(state = 'dead') AS SIGNED) AS dead,
               MIN(CASE WHEN state <> 'dead' AND due_at <= ? THEN due_at END) AS oldest
        FROM jobs GROUP BY queue ORDER BY queue";
    const FAILED: &str = "
        SELECT id, queue, state, attempts, payload, last_error FROM jobs
        WHERE state = 'dead' OR (state = 'queued' AND attempts > 0) ORDER BY state, id LIMIT 50";
    let (mut connection, now) = (connect(project, databases).await?, now()?);
    let queues = sqlx::query(QUEUES).bind(now).bind(now).bind(now).bind(now).fetch_all(&mut connection).await?;
    if queues.is_empty() {
        println!("There are no jobs.");
        database::close(connection).await?;
        return Ok(ExitCode::SUCCESS);
    }
    println!("{:<10} {:>8} {:>8} {:>8} {:>8} {:>6}  oldest due", "queue", "due", "later", "leased", "failing", "dead");
    for row in queues {
        let oldest: Option<i64> = row.try_get("oldest")?;
        let oldest = oldest.map_or("-".to_owned(), |due| {
            let age = Duration::from_secs(u64::try_from((now - due) / 1000).unwrap_or_default());
            format!("{age:?} ago")
        });
        let number = |name| row.try_get::<i64, _>(name);
        println!(
            "{:<10} {:>8} {:>8} {:>8} {:>8} {:>6}  {oldest}",
            row.try_get::<String, _>("queue")?,
            number("due")?,
            number("later")?,
            number("leased")?,
            number("failing")?,
            number("dead")?,
        );
    }
    let failed = sqlx::query(FAILED).fetch_all(&mut connection).await?;
    database::close(connection).await?;
    for row in &failed {
        let error: Option<String> = row.try_get("last_error")?;
        println!(
            "\n{} {} {}, {} attempts: {}\n  {}",
            row.try_get::<String, _>("state")?,
            row.try_get::<i64, _>("id")?,
            row.try_get::<String, _>("queue")?,
            row.try_get::<i32, _>("attempts")?,
            row.try_get::<String, _>("payload")?,
            error.as_deref().unwrap_or("no error was recorded"),
        );
    }
    if !failed.is_empty() {
        println!("\nTo retry dead jobs: cargo mall jobs retry ID, or cargo mall jobs retry --queue QUEUE");
    }
    Ok(ExitCode::SUCCESS)
}

async fn retry(project: &Project, which: &Retry) -> anyhow::Result<ExitCode> {
    const ONE: &str = "
        UPDATE jobs SET state = 'queued', due_at = ?, attempts = 0, first_tried_at = NULL, dead_since = NULL
        WHERE state = 'dead' AND id = ?";
    const ALL: &str = "
        UPDATE jobs SET state = 'queued', due_at = ?, attempts = 0, first_tried_at = NULL, dead_since = NULL
        WHERE state = 'dead' AND queue = ?";
    let (mut connection, now) = (connect(project, &which.databases).await?, now()?);
    let query = match (which.id, &which.queue) {
        (Some(id), _) => sqlx::query(ONE).bind(now).bind(id),
        (None, queue) => sqlx::query(ALL).bind(now).bind(queue.as_deref().unwrap_or_default()),
    };
    let retried = query.execute(&mut connection).await?.rows_affected();
    database::close(connection).await?;
    if retried == 0 {
        bail!("there is no such dead job: `cargo mall jobs` lists them");
    }
    println!("Jobs to be retried: {retried}");
    let redis = project.redis(&which.databases)?;
    if let Err(error) = tick::wake_workers(project, &redis).await {
        println!("The workers could not be woken, so the jobs will wait for the next wake-up: {error:#}");
    }
    Ok(ExitCode::SUCCESS)
}
