//! `cargo mall bench abuse`: an attack on a running shop. Honest shoppers must not notice it, and it must leave nothing
//! behind.

use std::{
    net::{IpAddr, Ipv4Addr},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use load::{
    plan::{Attack, Flow, Outcome, Plan, Template, Work},
    table::ms,
};
use rustix::process::{Resource, getrlimit};
use serde_json::json;

use super::{
    Arguments, shoppers,
    subject::{Load, Subject},
};
use crate::{database, temporary_shop::TemporaryShop};

const SHOPPERS: usize = 16;
const ATTACKERS: usize = 4;
/// Requests a second of all attackers, and of the readers that the attack is compared with.
const PER_SECOND: f64 = 1000.0;
const SLOW_BODIES: usize = 200;
const SLOW_READERS: usize = 100;
/// What an address may have, less what it needs for its other connections.
const IDLE_PER_ADDRESS: usize = 1800;
/// How long the shop may take to free what the attack used.
const SETTLING_TIME: Duration = Duration::from_secs(40);
/// How much slower, or larger, the shop may be under attack.
const TOLERANCE: f64 = 1.5;

/// The defaults: `bench` sets other limits for what it measures otherwise.
const LIMITS: [(&str, &str); 6] = [
    ("login_rate", "10"),
    ("login_burst", "20"),
    ("register_rate", "1"),
    ("register_burst", "20"),
    ("write_rate", "20"),
    ("write_burst", "60"),
];

pub async fn run(scratch: &TemporaryShop, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let shop = Subject::shop_with(scratch, &LIMITS).await?;
    let products = shoppers::stock_up(scratch).await?;
    let mut tokens = shoppers::sign_in(shop.address, SHOPPERS + ATTACKERS).await?;
    let attackers = tokens.split_off(SHOPPERS);
    let attack = attack(&shop, &attackers, &products)?;
    let reads = Attack { requests: reads(&products), idle: 0, slow_bodies: 0, slow_readers: 0, ..attack.clone() };
    let honest = Work::Http { address: shop.address, flow: Flow::Buy, shoppers: tokens, products };

    let attacked_for = Duration::from_secs_f64(arguments.seconds());
    let calm_for = (attacked_for / 5).clamp(Duration::from_secs(5), Duration::from_secs(60));
    println!(
        "{} idle connections, {SLOW_BODIES} slow bodies, {SLOW_READERS} slow readers, {PER_SECOND} requests a second",
        attack.idle
    );
    println!(
        "{:<16} {:>8} {:>7} {:>9} {:>9} {:>9} {:>10} {:>6}",
        "", "requests", "errors", "p50 ms", "p99 ms", "max ms", "memory MiB", "files"
    );
    let calm = phase("beside reads", &shop, &honest, Work::Attack(reads.clone()), calm_for).await?;
    let attacked = phase("beside attacks", &shop, &honest, Work::Attack(attack), attacked_for).await?;
    // What the attackers left is done, and their connections are closed.
    let begun = Instant::now();
    while shop.memory().unwrap_or_default() > calm.memory * TOLERANCE && begun.elapsed() < SETTLING_TIME {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let after = phase("afterwards", &shop, &honest, Work::Attack(reads), calm_for).await?;
    let wrong = wrong_stock(scratch).await?;
    shop.stop();

    let replies: Vec<_> =
        attacked.others.by_status.iter().map(|(status, count)| format!("{status}: {count}")).collect();
    println!(
        "the attackers were answered {} ({:.0} requests a second)",
        replies.join(", "),
        attacked.others.per_second
    );
    let mut failures = Vec::new();
    for (when, phase) in [("under attack", &attacked), ("afterwards", &after)] {
        if phase.honest.errors > 0 {
            let first = phase.honest.first_error.as_deref().unwrap_or_default();
            failures.push(format!("{} requests of honest shoppers failed {when}: {first}", phase.honest.errors));
        }
        let slower = phase.honest.p99.as_secs_f64() / calm.honest.p99.as_secs_f64();
        if slower > TOLERANCE {
            failures.push(format!("the shoppers' p99 {when} is {slower:.2} times what it was before"));
        }
        let larger = phase.memory / calm.memory;
        if larger > TOLERANCE {
            failures.push(format!("the memory {when} is {larger:.2} times what it was before"));
        }
    }
    if attacked.others.errors > 0 {
        let first = attacked.others.first_error.as_deref().unwrap_or_default();
        failures.push(format!("{} requests of attackers had no proper reply: {first}", attacked.others.errors));
    }
    if after.files > calm.files + 100 {
        failures.push(format!("{} files are open afterwards, {} before", after.files, calm.files));
    }
    if wrong > 0 {
        failures.push(format!("the stock of {wrong} products is not the sum of its movements"));
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    println!("The shoppers noticed nothing.");
    Ok(ExitCode::SUCCESS)
}

fn attack(shop: &Subject, tokens: &[String], products: &[i64]) -> anyhow::Result<Attack> {
    // The shop's own limit is 0.8 of this, too: the rest of the attack and the shoppers need some of it.
    let files = getrlimit(Resource::Nofile).maximum.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    let idle = (files / 5 * 4).min(20_000).saturating_sub(1000);
    let addresses = ATTACKERS.max(idle.div_ceil(IDLE_PER_ADDRESS));
    let from = (0..addresses)
        .map(|n| Ok(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(n)?))))
        .collect::<anyhow::Result<_>>()?;
    let token = |n: usize| tokens.get(n % tokens.len().max(1)).cloned();
    let post = |path: &str, token: Option<String>, body| Template {
        method: "POST".to_owned(),
        path: path.to_owned(),
        token,
        body: Some(body),
    };
    let mut requests = Vec::new();
    // In the proportions of this loop, over and over.
    for n in 0..50 {
        let product = products.get(n % products.len().max(1)).copied().context("no products")?;
        let order = json!({ "items": [{ "product_id": product, "quantity": 999 }] });
        requests.extend([
            post("/api/user/register", None, json!({ "username": "sock-{n}", "password": "correct horse {n}" })),
            post("/api/user/login", None, json!({ "username": format!("victim-{n}"), "password": "guess {n}" })),
            // Hoarders, who never pay.
            post("/api/order", token(n), order),
            // Writes that are refused: for their token, their body, their rate.
            post("/api/cart", Some("not.a.token".to_owned()), json!({ "product_id": product, "quantity": 1 })),
            post("/api/cart", token(n), json!({ "product_id": product, "quantity": -1 })),
            post("/api/cart", token(n), json!({ "product_id": product, "quantity": 1 })),
        ]);
        requests.extend(reads(&[product, product, product, product]));
    }
    Ok(Attack {
        address: shop.address,
        from,
        requests,
        per_second: PER_SECOND,
        idle,
        slow_bodies: SLOW_BODIES,
        slow_readers: SLOW_READERS,
        long_reply: "/api/openapi.json".to_owned(),
        slow_body: post("/api/order", token(0), json!({})),
        ramp: Duration::from_secs(5),
    })
}

fn reads(products: &[i64]) -> Vec<Template> {
    let read = |product| Template {
        method: "GET".to_owned(),
        path: format!("/api/product/{product}"),
        token: None,
        body: None,
    };
    products.iter().map(read).collect()
}

struct Phase {
    honest: Outcome,
    others: Outcome,
    /// The most, in MiB.
    memory: f64,
    /// At the end.
    files: usize,
}

/// Runs the shoppers beside others.
async fn phase(name: &str, shop: &Subject, honest: &Work, others: Work, duration: Duration) -> anyhow::Result<Phase> {
    let step = progress::step(&format!("Shopping {name} for {} s", duration.as_secs()));
    let plan = |work, connections| Plan {
        work,
        connections,
        warm_up: Duration::from_secs(2),
        duration,
        // A shopper makes a purchase of three requests each time.
        pause: Duration::from_millis(400),
    };
    let others = Load::start(&plan(others, 1))?;
    let honest = Load::start(&plan(honest.clone(), SHOPPERS))?;
    let mut memory = 0.0;
    let loads = async { anyhow::Ok((honest.finish().await?, others.finish().await?)) };
    tokio::pin!(loads);
    let (honest, others) = loop {
        tokio::select! {
            outcomes = &mut loads => break outcomes?,
            () = tokio::time::sleep(Duration::from_millis(500)) => {
                memory = f64::max(memory, shop.memory().unwrap_or_default());
            }
        }
    };
    drop(step);
    // The server notices at once that its clients are gone.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let files = shop.files().unwrap_or_default();
    let Outcome { requests, errors, p50, p99, max, .. } = &honest;
    let (p50, p99, max) = (ms(*p50), ms(*p99), ms(*max));
    println!("{name:<16} {requests:>8} {errors:>7} {p50:>9} {p99:>9} {max:>9} {memory:>10.0} {files:>6}");
    Ok(Phase { honest, others, memory, files })
}

/// How many products break the law that stock is conserved.
async fn wrong_stock(scratch: &TemporaryShop) -> anyhow::Result<i64> {
    const WRONG: &str = "
        SELECT COUNT(*) FROM products p
        WHERE p.available + p.reserved + p.sold <>
              (SELECT COALESCE(SUM(m.delta), 0) FROM stock_movements m WHERE m.product_id = p.id)";
    database::one(&mut database::connect(&scratch.databases.mysql).await?, WRONG, ()).await
}
