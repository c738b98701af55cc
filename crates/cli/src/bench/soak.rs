//! `cargo mall bench soak`: mixed load for minutes; fails when memory, connections or files grow.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::bail;
use load::{
    plan::{Flow, Plan, Work},
    statistics::median,
    table,
};
use redis::InfoDict;

use super::{
    Arguments, shoppers,
    subject::{Load, Subject},
};
use crate::{database, servers, temporary_shop::TemporaryShop};

#[derive(Clone, Copy)]
struct Sample {
    memory: f64,
    files: usize,
    mysql: i64,
    redis: i64,
}

pub async fn run(scratch: &TemporaryShop, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let shop = Subject::shop(scratch).await?;
    let products = shoppers::stock_up(scratch).await?;
    let tokens = shoppers::sign_in(shop.address, arguments.connections).await?;
    let duration = Duration::from_secs_f64(arguments.minutes * 60.0);
    let plan = Plan {
        work: Work::Http { address: shop.address, flow: Flow::Mixed, shoppers: tokens, products },
        connections: arguments.connections,
        warm_up: Duration::ZERO,
        duration,
        // A moderate load: a leak shows at any rate.
        pause: Duration::from_millis(20),
    };
    let every = (duration / 10).min(Duration::from_secs(60));
    println!("{:>8} {:>10} {:>6} {:>6} {:>6}", "minute", "memory MiB", "files", "mysql", "redis");
    let begun = Instant::now();
    let load = Load::start(&plan)?;
    let mut samples = Vec::new();
    while begun.elapsed() + every <= duration {
        tokio::time::sleep(every).await;
        let sample = sample(scratch, &shop).await?;
        print(begun.elapsed(), &sample);
        samples.push(sample);
    }
    let outcome = load.finish().await?;
    println!("{} requests, {} errors, slowest {} ms", outcome.requests, outcome.errors, table::ms(outcome.max));
    if let Some(error) = &outcome.first_error {
        println!("the first error was {error}");
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    println!("idle again:");
    print(begun.elapsed(), &sample(scratch, &shop).await?);
    shop.stop();

    let grown = grown(&samples);
    if !grown.is_empty() {
        bail!("{} grew during the soak", grown.join(", "));
    }
    if outcome.errors > 0 {
        bail!("{} requests failed during the soak", outcome.errors);
    }
    println!("Nothing grew.");
    Ok(ExitCode::SUCCESS)
}

fn print(at: Duration, Sample { memory, files, mysql, redis }: &Sample) {
    println!("{:>8.1} {memory:>10.1} {files:>6} {mysql:>6} {redis:>6}", at.as_secs_f64() / 60.0);
}

async fn sample(scratch: &TemporaryShop, shop: &Subject) -> anyhow::Result<Sample> {
    let mut mysql = database::connect(&scratch.databases.mysql).await?;
    let (_, connected): (String, String) =
        database::one(&mut mysql, "SHOW GLOBAL STATUS LIKE 'Threads_connected'", ()).await?;
    let mut redis = servers::connect_redis(&scratch.databases.redis).await?;
    let info: InfoDict = redis::cmd("INFO").arg("clients").query_async(&mut redis).await?;
    Ok(Sample {
        memory: shop.memory().unwrap_or_default(),
        files: shop.files().unwrap_or_default(),
        mysql: connected.parse()?,
        redis: info.get("connected_clients").unwrap_or_default(),
    })
}

/// What is clearly higher in the last third than in the second. The first third is warm-up.
fn grown(samples: &[Sample]) -> Vec<&'static str> {
    let third = samples.len() / 3;
    let grew = |of: fn(&Sample) -> f64, slack: f64| {
        let middle =
            |from: usize, to: usize| median(samples.get(from..to).unwrap_or_default().iter().map(of).collect());
        middle(2 * third, samples.len()) > middle(third, 2 * third) * 1.1 + slack
    };
    let figures = [
        ("memory", grew(|sample| sample.memory, 16.0)),
        ("open files", grew(|sample| sample.files as f64, 16.0)),
        ("MySQL connections", grew(|sample| sample.mysql as f64, 8.0)),
        ("Redis connections", grew(|sample| sample.redis as f64, 8.0)),
    ];
    figures.iter().filter(|(_, grew)| *grew).map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_told_from_noise() {
        let flat = |i: usize| Sample { memory: 90.0 + (i % 3) as f64, files: 60, mysql: 12, redis: 9 };
        let steady: Vec<_> = (0..10).map(flat).collect();
        assert!(grown(&steady).is_empty());
        let leak: Vec<_> =
            (0..10).map(|i| Sample { memory: 90.0 + 20.0 * i as f64, mysql: 12 + 5 * i as i64, ..flat(i) }).collect();
        assert_eq!(grown(&leak), ["memory", "MySQL connections"]);
    }
}
