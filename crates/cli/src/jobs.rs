//! `cargo mall jobs`: the queued and failed background jobs.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::bail;
use mysql_async::{Conn, prelude::Queryable};

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

async fn connect(project: &Project, databases: &DatabaseUrls) -> anyhow::Result<Conn> {
    let mut connection = database::connect(&project.mysql(databases)?).await?;
    database::expect_tables(&mut connection).await?;
    Ok(connection)
}

/// Milliseconds since 1970.
fn now() -> anyhow::Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// A queue, its jobs that are due, due later, leased, failing and dead, and when the oldest one was due.
type Counts = (String, i64, i64, i64, i64, i64, Option<i64>);

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
    let queues: Vec<Counts> = connection.exec(QUEUES, (now, now, now, now)).await?;
    if queues.is_empty() {
        println!("There are no jobs.");
        database::close(connection).await?;
        return Ok(ExitCode::SUCCESS);
    }
    println!("{:<10} {:>8} {:>8} {:>8} {:>8} {:>6}  oldest due", "queue", "due", "later", "leased", "failing", "dead");
    for (queue, due, later, leased, failing, dead, oldest) in queues {
        let oldest = oldest.map_or("-".to_owned(), |due| {
            let age = Duration::from_secs(u64::try_from((now - due) / 1000).unwrap_or_default());
            format!("{age:?} ago")
        });
        println!("{queue:<10} {due:>8} {later:>8} {leased:>8} {failing:>8} {dead:>6}  {oldest}");
    }
    let failed: Vec<(i64, String, String, i32, String, Option<String>)> = connection.query(FAILED).await?;
    database::close(connection).await?;
    for (id, queue, state, attempts, payload, error) in &failed {
        let error = error.as_deref().unwrap_or("no error was recorded");
        println!("\n{state} {id} {queue}, {attempts} attempts: {payload}\n  {error}");
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
    match (which.id, &which.queue) {
        (Some(id), _) => connection.exec_drop(ONE, (now, id)).await?,
        (None, queue) => connection.exec_drop(ALL, (now, queue.as_deref().unwrap_or_default())).await?,
    }
    let retried = connection.affected_rows();
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
