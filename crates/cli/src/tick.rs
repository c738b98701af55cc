//! `cargo mall tick`: wakes the workers of all queues. For cron or a Kubernetes CronJob if Redis can't send keyspace
//! notifications, and for the start of a shop, which may have jobs from before.

use std::process::ExitCode;

use anyhow::Context;

use crate::{address::Redis, database_urls::DatabaseUrls, project::Project, servers};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    databases: DatabaseUrls,
}

pub async fn run(project: &Project, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let redis = project.redis(&arguments.databases)?;
    let (queues, woken) = wake_workers(project, &redis).await?;
    println!("Woke the workers of {woken} queues.");
    if woken < queues {
        println!("{} queues have no worker that is listening: is the shop running?", queues - woken);
    }
    Ok(ExitCode::SUCCESS)
}

/// Wakes the workers of every queue. Returns how many queues there are, and how many have a worker that is listening.
pub async fn wake_workers(project: &Project, redis: &Redis) -> anyhow::Result<(usize, usize)> {
    let channels = channels(project)?;
    let mut connection = servers::connect_redis(redis).await?;
    let mut woken = 0;
    for channel in &channels {
        let listeners: u64 = redis::cmd("PUBLISH").arg(channel).arg("tick").query_async(&mut connection).await?;
        woken += usize::from(listeners > 0);
    }
    Ok((channels.len(), woken))
}

/// The channels of the queues, from spin.toml.
fn channels(project: &Project) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(project.manifest()).context("spin.toml can't be read")?;
    channels_in(&text)
}

fn channels_in(manifest: &str) -> anyhow::Result<Vec<String>> {
    let manifest: toml::Table = manifest.parse().context("spin.toml is not valid TOML")?;
    let triggers = manifest.get("trigger").and_then(|trigger| trigger.get("redis")?.as_array());
    let channels = triggers.into_iter().flatten().filter_map(|trigger| trigger.get("channel")?.as_str());
    Ok(channels.filter(|channel| channel.starts_with("mall:")).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::channels_in;

    #[test]
    fn queues_are_found_in_both_forms_of_triggers() {
        for manifest in [
            "[[trigger.redis]]\nchannel = \"mall:a\"\n[[trigger.redis]]\nchannel = \"__keyevent@1__:expired\"\n\
             [[trigger.redis]]\nchannel = \"mall:b\"\n",
            "[trigger]\nredis = [\n{ channel = \"mall:a\" },\n{ channel = \"__keyevent@1__:expired\" },\n\
             { channel = \"mall:b\" },\n]\n",
        ] {
            assert_eq!(channels_in(manifest).unwrap(), ["mall:a", "mall:b"]);
        }
    }
}
