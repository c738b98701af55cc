//! `cargo mall tick`: rings all queues. For a line of cron or a Kubernetes CronJob where Redis does not tell of keys that
//! expire, and at the start of a shop, which may have jobs from before.

use std::process::ExitCode;

use anyhow::Context;

use crate::{Databases, address::Redis, project::Project, servers};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    databases: Databases,
}

pub async fn run(project: &Project, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let redis = project.redis(&arguments.databases)?;
    let (queues, heard) = ring(project, &redis).await?;
    println!("Rang {queues} queues.");
    if heard < queues {
        println!("Nobody listens to {} of them: is the shop running?", queues - heard);
    }
    Ok(ExitCode::SUCCESS)
}

/// Rings every queue; how many there are, and how many had a listener.
pub async fn ring(project: &Project, redis: &Redis) -> anyhow::Result<(usize, usize)> {
    let channels = channels(project)?;
    let mut connection = servers::connect_redis(redis).await?;
    let mut heard = 0;
    for channel in &channels {
        let listeners: u64 = redis::cmd("PUBLISH").arg(channel).arg("tick").query_async(&mut connection).await?;
        heard += usize::from(listeners > 0);
    }
    Ok((channels.len(), heard))
}

/// The queues' channels, as spin.toml names them.
fn channels(project: &Project) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(project.manifest()).context("spin.toml can't be read")?;
    let manifest: toml::Table = text.parse().context("spin.toml is not valid TOML")?;
    let triggers = manifest.get("trigger").and_then(|trigger| trigger.get("redis")?.as_array());
    let channels = triggers.into_iter().flatten().filter_map(|trigger| trigger.get("channel")?.as_str());
    Ok(channels.filter(|channel| channel.starts_with("mall:")).map(str::to_owned).collect())
}
