//! Work after the reply: how late timers are, and how many jobs workers do per second.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::future::try_join_all;
use hyper::{Method, StatusCode};
use load::http::{Client, request};
use mysql_async::{Conn, prelude::Queryable};
use serde_json::json;

use super::{shoppers, subject::Subject};
use crate::{database, temporary_shop::TemporaryShop};

const ORDERS: usize = 1000;
const JOBS: i64 = 6000;
const PATIENCE: Duration = Duration::from_secs(120);

/// Lets many orders expire within about a second, in a shop that has nothing else to do.
pub async fn timers(scratch: &TemporaryShop, connections: usize) -> anyhow::Result<()> {
    let products = shoppers::stock_up(scratch).await?;
    let shop = Subject::shop_with(scratch, &[("order_ttl_seconds", "5")]).await?;
    let tokens = shoppers::sign_in(shop.address, connections).await?;
    let buyers = tokens.iter().enumerate().map(async |(number, token)| {
        let mut client = Client::connect(shop.address).await?;
        for turn in (number..ORDERS).step_by(connections) {
            let product = products.get(turn % products.len().max(1)).copied().unwrap_or(1);
            let order = json!({ "items": [{ "product_id": product, "quantity": 1 }] });
            let (status, _) = client.send(request(Method::POST, "/api/order", Some(token), Some(&order))).await?;
            if status != StatusCode::CREATED {
                bail!("POST /api/order: {status}");
            }
        }
        Ok(())
    });
    try_join_all(buyers).await?;
    let mut mysql = database::connect(&scratch.databases.mysql).await?;
    until_none(&mut mysql, "SELECT COUNT(*) FROM orders WHERE status = 'pending'").await?;
    const LATE: &str = "
        SELECT cancelled_at - expires_at FROM orders WHERE cancel_reason = 'not paid in time'
        ORDER BY cancelled_at - expires_at";
    const SPAN: &str = "SELECT MAX(expires_at) - MIN(expires_at) FROM orders WHERE cancel_reason = 'not paid in time'";
    let late: Vec<i64> = mysql.query(LATE).await?;
    let span: i64 = database::one(&mut mysql, SPAN, ()).await?;
    let at = |share: usize| late.get((late.len() * share / 100).min(late.len().saturating_sub(1))).copied();
    let (p50, p99, max) = (at(50), at(99), late.last().copied());
    println!("\n{} orders expired within {span} ms of one another; cancelled after their time, in ms:", late.len());
    println!(
        "  p50 {}, p99 {}, slowest {} (all within 2000)",
        p50.context("no order expired")?,
        p99.unwrap_or_default(),
        max.unwrap_or_default()
    );
    shop.stop();
    Ok(())
}

/// Lets one replica, then three, ship paid orders that are waiting.
pub async fn throughput(scratch: &TemporaryShop) -> anyhow::Result<()> {
    println!("\n{JOBS} paid orders, shipped by the worker `fulfil`");
    let mut mysql = database::connect(&scratch.databases.mysql).await?;
    for replicas in [1, 3] {
        insert(&mut mysql, replicas).await?;
        let mut shops = Vec::new();
        for _ in 0..replicas {
            shops.push(Subject::shop_with(scratch, &[("auto_ship", "true")]).await?);
        }
        until_none(&mut mysql, "SELECT COUNT(*) FROM orders WHERE status = 'paid'").await?;
        const TOOK: &str = "SELECT MAX(shipped_at) - MIN(shipped_at) FROM orders WHERE note = ?";
        let took: i64 = database::one(&mut mysql, TOOK, (replicas.to_string(),)).await?;
        println!("  {replicas} replicas: {:.0} jobs/s", JOBS as f64 * 1000.0 / took.max(1) as f64);
        shops.into_iter().for_each(Subject::stop);
    }
    Ok(())
}

/// Inserts paid orders with their jobs. The note identifies the run.
async fn insert(mysql: &mut Conn, run: usize) -> anyhow::Result<()> {
    const ORDERS: &str = "
        INSERT INTO orders (order_no, user_id, status, subtotal_cents, discount_cents, total_cents, currency, discounts,
                            note, created_at, expires_at, paid_at)
        SELECT CONCAT('01BENCH', ?, LPAD(ROW_NUMBER() OVER (), 18, '0')), (SELECT MIN(id) FROM users), 'paid', 1, 0, 1,
               'CNY', '[]', ?, 0, 0, 0
        FROM products a, products b LIMIT ?";
    const JOBS_OF: &str = "
        INSERT INTO jobs (queue, state, due_at, payload, created_at)
        SELECT 'fulfil', 'queued', 0, CONCAT('{\"do\":\"ship\",\"order_no\":\"', order_no, '\"}'), 0
        FROM orders WHERE note = ?";
    let note = run.to_string();
    mysql.exec_drop(ORDERS, (&note, &note, JOBS)).await?;
    Ok(mysql.exec_drop(JOBS_OF, (&note,)).await?)
}

async fn until_none(mysql: &mut Conn, count: &str) -> anyhow::Result<()> {
    let begun = Instant::now();
    while database::one::<i64>(mysql, count, ()).await? > 0 {
        if begun.elapsed() > PATIENCE {
            bail!("the workers did not finish within {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
