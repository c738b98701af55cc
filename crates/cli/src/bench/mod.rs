//! `cargo mall bench`: measures the shop's throughput and latency on this machine, beside yardsticks.

mod abuse;
mod against;
mod build;
mod catalog;
mod checkout;
mod flash_sale;
mod shoppers;
mod soak;
mod start;
mod subject;
mod waves;
mod workers;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::ensure;
use load::{
    plan::{Flow, Outcome, Plan, Work},
    table::{self, Row},
};

use self::subject::{Load, Subject};
use crate::{
    demo,
    functions::{self, Profile},
    interrupt::Interrupt,
    project::Project,
    servers::Durability,
    temporary_shop::{ShopSettings, TemporaryShop},
};

#[derive(clap::Args)]
pub struct Arguments {
    /// One of: start, health, detail, list, cart, buy, redis, native, spin, timers, workers, waves, seckill, catalog, build, soak, abuse; all but the last three unless given
    name: Option<String>,

    /// Seconds of each measurement: 2, or 600 for the attack of `abuse`
    #[arg(long)]
    seconds: Option<f64>,

    /// Measurements of each, interleaved with the others; 7, or 15 with --against
    #[arg(long)]
    rounds: Option<usize>,

    /// Connections at once
    #[arg(long, default_value_t = 32)]
    connections: usize,

    /// Minutes of the soak
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,

    /// Compare with another checkout of this repository, such as a git worktree of an earlier commit
    ///
    /// Both checkouts are built and run by their own `cargo mall up`, each with its own databases and the same data. In
    /// each round each subject is measured of one and then of the other, in alternating order; only one is under load
    /// at a time. Printed are the throughput of both, the median of the rounds' ratios this/that, and its 95 %
    /// interval. What has its whole interval below 0.97 is slower; the exit code is 0 all the same.
    ///
    /// NAME is one of health, detail, list, search, cart, buy, mixed, login, seckill; all unless given.
    #[arg(long, value_name = "PATH")]
    against: Option<PathBuf>,
}

const NAMES: [&str; 17] = [
    "start", "health", "detail", "list", "cart", "buy", "redis", "native", "spin", "timers", "workers", "waves",
    "seckill", "catalog", "build", "soak", "abuse",
];

impl Arguments {
    fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.name.as_deref() == Some("abuse") { 600.0 } else { 2.0 })
    }

    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.against.is_some() { 15 } else { 7 })
    }
}

const SHOP: ShopSettings = ShopSettings {
    purpose: "bench",
    durability: Durability::Full,
    variables: &[
        ("login_rate", "10000"),
        ("login_burst", "10000"),
        ("register_rate", "10000"),
        ("register_burst", "10000"),
        // Longer than any run.
        ("access_ttl_seconds", "86400"),
    ],
};

pub async fn run(project: &Project, interrupt: Interrupt, arguments: Arguments) -> anyhow::Result<ExitCode> {
    if let Some(name) = arguments.name.as_ref().filter(|_| arguments.against.is_none()) {
        ensure!(NAMES.contains(&name.as_str()), "there is no bench `{name}`: choose one of {}", NAMES.join(", "));
    }
    ensure!(arguments.seconds() > 0.0 && arguments.minutes > 0.0, "--seconds and --minutes must be more than 0");
    ensure!(
        arguments.rounds() > 0 && (1..=400).contains(&arguments.connections),
        "1 to 400 connections, at least 1 round"
    );
    match &arguments.against {
        Some(path) => {
            against::check(&arguments)?;
            interrupt.unless(against::run(project, &arguments, path)).await
        }
        None => interrupt.unless(measure(project, &arguments)).await,
    }
}

async fn measure(project: &Project, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.name.as_deref() == Some("build") {
        return build::run(project).await;
    }
    let functions = functions::build(project, Profile::Release).await?;
    let scratch = TemporaryShop::start(project, &SHOP).await?;
    demo::load(&scratch.project, &scratch.databases.mysql).await?;
    if arguments.name.as_deref() == Some("soak") {
        return soak::run(&scratch, arguments).await;
    }
    if arguments.name.as_deref() == Some("abuse") {
        return abuse::run(&scratch, arguments).await;
    }
    if wanted(arguments, "start") {
        start::run(&scratch, &functions).await?;
    }
    if !matches!(arguments.name.as_deref(), Some("start" | "timers" | "workers" | "waves" | "seckill" | "catalog")) {
        throughput(&scratch, arguments).await?;
    }
    if wanted(arguments, "timers") {
        workers::timers(&scratch, arguments.connections).await?;
    }
    if wanted(arguments, "workers") {
        workers::throughput(&scratch).await?;
    }
    if wanted(arguments, "waves") {
        waves::run(&scratch).await?;
    }
    if wanted(arguments, "seckill") {
        flash_sale::run(&scratch, arguments).await?;
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
    // Requests that use the first `of` products.
    let http = |subject: &Subject, flow, of: usize| {
        let (shoppers, products) = (tokens.clone(), products.iter().copied().take(of).collect());
        Work::Http { address: subject.address, flow, shoppers, products }
    };

    let redis = scratch.databases.redis.to_url();
    // What is compared is measured close together in time.
    let mut works = Vec::new();
    if let Some(spin) = &spin {
        works.push(("spin", "spin up: GET /health", http(spin, Flow::Health, all)));
    }
    works.extend([
        ("health", "GET /health", http(&shop, Flow::Health, all)),
        ("detail", "product detail, of all", http(&shop, Flow::Detail, all)),
        ("detail", "product detail, of one product", http(&shop, Flow::Detail, 1)),
    ]);
    if let Some(spin) = &spin {
        works.push(("spin", "spin up: product detail, of all", http(spin, Flow::Detail, all)));
    }
    works.extend([
        ("list", "product list, 20 items", http(&shop, Flow::List, all)),
        ("cart", "cart add", http(&shop, Flow::CartAdd, all)),
        ("buy", "cart add + checkout + pay, of all products", http(&shop, Flow::Buy, all)),
        ("buy", "cart add + checkout + pay, of 5 products", http(&shop, Flow::Buy, 5)),
        ("redis", "yardstick: Redis PING", Work::RedisPing { url: redis.clone() }),
        ("redis", "yardstick: Redis script", Work::RedisScript { url: redis }),
        ("native", "yardstick: native axum, product from MySQL", http(&native, Flow::Detail, all)),
    ]);
    works.retain(|(name, ..)| wanted(arguments, name));

    let mut rounds: Vec<Vec<Outcome>> = works.iter().map(|_| Vec::new()).collect();
    for round in 1..=arguments.rounds() {
        for ((_, title, work), outcomes) in works.iter().zip(&mut rounds) {
            let step = progress::step(&format!("Round {round} of {}: {title}", arguments.rounds()));
            let plan = Plan {
                work: work.clone(),
                connections: arguments.connections,
                warm_up: Duration::from_secs(1),
                duration: Duration::from_secs_f64(arguments.seconds()),
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
        arguments.connections,
        arguments.rounds(),
        arguments.seconds()
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
