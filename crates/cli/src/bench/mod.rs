//! `cargo mall bench`: what the shop does in a second on this machine, and how that compares.

mod catalog;
mod sale;
mod shoppers;
mod soak;
mod start;
mod subject;
mod workers;

use std::{process::ExitCode, time::Duration};

use anyhow::ensure;
use load::{
    plan::{Flow, Outcome, Plan, Work},
    table::{self, Row},
};

use self::subject::{Load, Subject};
use crate::{
    demo, functions,
    interrupt::Interrupt,
    project::Project,
    servers::Durability,
    temporary_shop::{ShopSettings, TemporaryShop},
    ui,
};

#[derive(clap::Args)]
pub struct Arguments {
    /// One of: start, health, detail, list, cart, buy, redis, native, spin, timers, workers, seckill, catalog, soak; all but soak unless given
    name: Option<String>,

    /// Seconds of each measurement
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,

    /// Measurements of each, interleaved with the others
    #[arg(long, default_value_t = 7)]
    rounds: usize,

    /// Connections at once
    #[arg(long, default_value_t = 32)]
    connections: usize,

    /// Minutes of the soak
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
}

const NAMES: [&str; 14] = [
    "start", "health", "detail", "list", "cart", "buy", "redis", "native", "spin", "timers", "workers", "seckill",
    "catalog", "soak",
];

const SHOP: ShopSettings = ShopSettings {
    purpose: "bench",
    durability: Durability::Full,
    variables: &[
        ("login_rate", "10000"),
        ("login_burst", "10000"),
        // Longer than any run.
        ("access_ttl_seconds", "86400"),
    ],
};

pub async fn run(project: &Project, interrupt: Interrupt, arguments: Arguments) -> anyhow::Result<ExitCode> {
    if let Some(name) = &arguments.name {
        ensure!(NAMES.contains(&name.as_str()), "there is no bench `{name}`: choose one of {}", NAMES.join(", "));
    }
    ensure!(arguments.seconds > 0.0 && arguments.minutes > 0.0, "a measurement takes time");
    ensure!(
        arguments.rounds > 0 && (1..=400).contains(&arguments.connections),
        "1 to 400 connections, at least 1 round"
    );
    interrupt.unless(measure(project, &arguments)).await
}

async fn measure(project: &Project, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let functions = functions::build(project).await?;
    let scratch = TemporaryShop::start(project, &SHOP).await?;
    demo::load(&scratch.project, &scratch.databases.mysql).await?;
    if arguments.name.as_deref() == Some("soak") {
        return soak::run(&scratch, arguments).await;
    }
    if wanted(arguments, "start") {
        start::run(&scratch, &functions).await?;
    }
    if !matches!(arguments.name.as_deref(), Some("start" | "timers" | "workers" | "seckill" | "catalog")) {
        throughput(&scratch, arguments).await?;
    }
    if wanted(arguments, "timers") {
        workers::timers(&scratch, arguments.connections).await?;
    }
    if wanted(arguments, "workers") {
        workers::throughput(&scratch).await?;
    }
    if wanted(arguments, "seckill") {
        sale::run(&scratch, arguments).await?;
    }
    // Last: afterwards there are many products.
    if wanted(arguments, "catalog") {
        catalog::run(&scratch, arguments).await?;
    }
    Ok(ExitCode::SUCCESS)
}

fn wanted(arguments: &Arguments, name: &str) -> bool {
    arguments.name.as_deref().is_none_or(|only| only == name)
}

async fn throughput(scratch: &TemporaryShop, arguments: &Arguments) -> anyhow::Result<()> {
    let shop = Subject::shop(scratch).await?;
    let native = Subject::native(scratch).await?;
    let spin = if wanted(arguments, "spin") { Subject::spin(scratch).await? } else { None };
    let products = shoppers::stock_up(scratch).await?;
    let tokens = shoppers::sign_in(shop.address, arguments.connections).await?;
    let all = products.len();
    // Of the first `of` products.
    let ask = |subject: &Subject, flow, of: usize| {
        let (shoppers, products) = (tokens.clone(), products.iter().copied().take(of).collect());
        Work::Http { address: subject.address, flow, shoppers, products }
    };

    let redis = scratch.databases.redis.to_url();
    // What is compared with each other comes close to each other.
    let mut works = Vec::new();
    if let Some(spin) = &spin {
        works.push(("spin", "spin up: GET /health", ask(spin, Flow::Health, all)));
    }
    works.extend([
        ("health", "GET /health", ask(&shop, Flow::Health, all)),
        ("detail", "product detail, of all", ask(&shop, Flow::Detail, all)),
        ("detail", "product detail, of one product", ask(&shop, Flow::Detail, 1)),
    ]);
    if let Some(spin) = &spin {
        works.push(("spin", "spin up: product detail, of all", ask(spin, Flow::Detail, all)));
    }
    works.extend([
        ("list", "product list, 20 items", ask(&shop, Flow::List, all)),
        ("cart", "cart add", ask(&shop, Flow::CartAdd, all)),
        ("buy", "cart add + checkout + pay, of all products", ask(&shop, Flow::Buy, all)),
        ("buy", "cart add + checkout + pay, of 5 products", ask(&shop, Flow::Buy, 5)),
        ("redis", "yardstick: Redis PING", Work::RedisPing { url: redis.clone() }),
        ("redis", "yardstick: Redis script", Work::RedisScript { url: redis }),
        ("native", "yardstick: native axum, product from MySQL", ask(&native, Flow::Detail, all)),
    ]);
    works.retain(|(name, ..)| wanted(arguments, name));

    let mut rounds: Vec<Vec<Outcome>> = works.iter().map(|_| Vec::new()).collect();
    for round in 1..=arguments.rounds {
        for ((_, title, work), outcomes) in works.iter().zip(&mut rounds) {
            let step = ui::step(&format!("Round {round} of {}: {title}", arguments.rounds));
            let plan = Plan {
                work: work.clone(),
                connections: arguments.connections,
                warm_up: Duration::from_secs(1),
                duration: Duration::from_secs_f64(arguments.seconds),
                pause: Duration::ZERO,
            };
            outcomes.push(Load::start(&plan)?.finish().await?);
            drop(step);
        }
    }
    let rows: Vec<_> =
        works.iter().zip(rounds).map(|((_, title, _), rounds)| Row { name: (*title).to_owned(), rounds }).collect();
    println!(
        "\n{} connections, {} × {} s each, interleaved; latencies are of single requests",
        arguments.connections, arguments.rounds, arguments.seconds
    );
    table::print(&rows);
    println!();
    for (name, of, target) in [
        ("product detail, of one", "GET /health", "at least 70 %"),
        ("product detail, of all", "GET /health", "at least 70 %"),
        ("cart add", "GET /health", "at least 25 %"),
        ("GET /health", "spin up: GET /health", "at least 200 %"),
        ("product detail, of all", "yardstick: native axum", "no target"),
        ("product detail, of all", "spin up: product detail", "no target"),
    ] {
        table::compare(&rows, name, of, target);
    }
    if let Some(memory) = shop.memory() {
        println!("\nmemory of the runtime after the load: {memory:.0} MiB");
    }
    for subject in [Some(shop), Some(native), spin].into_iter().flatten() {
        subject.stop();
    }
    Ok(())
}
