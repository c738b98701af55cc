//! `cargo mall seckill rebuild ACTIVITY`

use std::{
    process::ExitCode,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use mysql_async::prelude::Queryable;
use serde_json::json;

use crate::{database, database_urls::DatabaseUrls, project::Project, servers, tick};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Rebuilds a flash sale in Redis from MySQL
    Rebuild(Rebuild),
}

#[derive(clap::Args)]
struct Rebuild {
    /// The flash sale's activity_id
    activity: i64,

    #[command(flatten)]
    databases: DatabaseUrls,
}

const TIMEOUT: Duration = Duration::from_secs(30);

pub async fn run(project: &Project, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Command::Rebuild(Rebuild { activity, databases }) = arguments.command;
    let (mysql, redis) = project.databases(&databases)?;
    let mut mysql = database::connect(&mysql).await?;
    database::expect_tables(&mut mysql).await?;
    let closed: Option<Option<i64>> =
        mysql.exec_first("SELECT closed_at FROM seckill_activities WHERE id = ?", (activity,)).await?;
    match closed {
        None => bail!("there is no flash sale {activity}"),
        Some(Some(_)) => bail!("flash sale {activity} is closed: its unsold units were returned to the product"),
        Some(None) => {}
    }
    // The worker `drain` rebuilds it, since nothing else may book tickets meanwhile.
    const ENQUEUE: &str =
        "INSERT INTO jobs (queue, state, due_at, payload, created_at) VALUES ('drain', 'queued', 0, ?, ?)";
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let payload = json!({ "do": "rebuild", "activity_id": activity }).to_string();
    let job = database::insert(&mut mysql, ENQUEUE, (payload, now)).await?;
    tick::wake_workers(project, &redis).await?;
    let begun = Instant::now();
    while database::one::<i64>(&mut mysql, "SELECT COUNT(*) FROM jobs WHERE id = ?", (job,)).await? > 0 {
        if begun.elapsed() > TIMEOUT {
            bail!("the worker `drain` has not rebuilt it within {} s: see `cargo mall jobs`", TIMEOUT.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    database::close(mysql).await?;
    let mut redis = servers::connect_redis(&redis).await?;
    let left: Option<i64> = redis::cmd("HGET")
        .arg(format!("{{sk:{activity}}}:sale"))
        .arg("left")
        .query_async(&mut redis)
        .await
        .context("Redis")?;
    println!("Flash sale {activity} was rebuilt in Redis, {} left.", left.unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}
