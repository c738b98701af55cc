//! `cargo mall seckill rebuild ACTIVITY`

use std::{
    process::ExitCode,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use serde_json::json;

use crate::{Databases, database, project::Project, servers, tick};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Writes a sale anew in Redis, from what MySQL knows of it
    Rebuild(Rebuild),
}

#[derive(clap::Args)]
struct Rebuild {
    /// The sale's activity_id
    activity: i64,

    #[command(flatten)]
    databases: Databases,
}

const PATIENCE: Duration = Duration::from_secs(30);

pub async fn run(project: &Project, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Command::Rebuild(Rebuild { activity, databases }) = arguments.command;
    let (mysql, redis) = project.databases(&databases)?;
    let mut mysql = database::connect(&mysql).await?;
    database::expect_tables(&mut mysql).await?;
    let closed: Option<Option<i64>> = sqlx::query_scalar("SELECT closed_at FROM seckill_activities WHERE id = ?")
        .bind(activity)
        .fetch_optional(&mut mysql)
        .await?;
    match closed {
        None => bail!("there is no sale {activity}"),
        Some(Some(_)) => bail!("sale {activity} has closed: what was left of it is back with its product"),
        Some(None) => {}
    }
    // The worker does it, between two batches of tickets.
    const ENQUEUE: &str =
        "INSERT INTO jobs (queue, state, due_at, payload, created_at) VALUES ('drain', 'queued', 0, ?, ?)";
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let payload = json!({ "do": "rebuild", "activity_id": activity }).to_string();
    let job = sqlx::query(ENQUEUE).bind(payload).bind(now).execute(&mut mysql).await?.last_insert_id();
    tick::ring(project, &redis).await?;
    let begun = Instant::now();
    while sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM jobs WHERE id = ?").bind(job).fetch_one(&mut mysql).await?
        > 0
    {
        if begun.elapsed() > PATIENCE {
            bail!("the worker `drain` has not done it within {} s: see `cargo mall jobs`", PATIENCE.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut redis = servers::connect_redis(&redis).await?;
    let left: Option<i64> = redis::cmd("HGET")
        .arg(format!("{{sk:{activity}}}:sale"))
        .arg("left")
        .query_async(&mut redis)
        .await
        .context("Redis")?;
    println!("Sale {activity} stands in Redis again, {} left.", left.unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}
