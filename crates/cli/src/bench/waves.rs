//! Waves: many unpaid orders whose time ends at the same moment, in a shop that has nothing else to do, and beside
//! requests.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use load::{
    flash_sale::admin_token,
    http::Client,
    plan::{Flow, Outcome, Plan, Work},
    table::{self, Row, ms},
};
use mysql_async::{Conn, prelude::Queryable};
use redis::aio::MultiplexedConnection;

use super::{
    flash_sale::{create, insert_shoppers},
    shoppers,
    subject::{Load, Subject},
};
use crate::{database, servers, temporary_shop::TemporaryShop};

const WAVE: i64 = 10_000;
const LARGE_WAVE: i64 = 100_000;
/// How long the requests are measured at a time.
const ROUND: Duration = Duration::from_secs(5);
const CALM_ROUNDS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(600);

/// The databases, and what a wave's orders are made of.
struct Bench {
    mysql: Conn,
    redis: MultiplexedConnection,
    first_user: i64,
    users: i64,
    /// Part of the numbers of a wave's orders.
    wave: i64,
}

pub async fn run(scratch: &TemporaryShop) -> anyhow::Result<()> {
    let shop = Subject::shop_with(scratch, &[("order_ttl_seconds", "86400"), ("auto_ship", "true")]).await?;
    let products = shoppers::stock_up(scratch).await?;
    let buyers = shoppers::sign_in(shop.address, BUYERS).await?;
    let mut mysql = database::connect(&scratch.databases.mysql).await?;
    let redis = servers::connect_redis(&scratch.databases.redis).await?;
    let (first_user, users) = insert_shoppers(&mut mysql).await?;
    let mut bench = Bench { mysql, redis, first_user, users, wave: 0 };

    println!("\nwaves: unpaid orders whose time ends together");
    for _ in 0..3 {
        bench.insert(WAVE, None).await?;
        let due = bench.start().await?;
        bench.until_cancelled(WAVE, due, "orders").await?;
        bench.until_worked_off().await?;
    }
    let secret = scratch.variables.get("jwt_secret").context("no secret")?;
    let mut client = Client::connect(shop.address).await?;
    let product = *products.first().context("no product")?;
    for _ in 0..3 {
        let activity = create(&mut client, &admin_token(secret, first_user)?, product, WAVE).await?;
        bench.insert(WAVE, Some(activity)).await?;
        let due = bench.start().await?;
        bench.until_cancelled(WAVE, due, "flash-sale orders").await?;
        bench.until_on_sale(activity, due).await?;
        bench.until_worked_off().await?;
    }

    let mut calm = Vec::new();
    for _ in 0..CALM_ROUNDS {
        calm.push(requests(&shop, &buyers, &products).await?);
    }
    bench.insert(LARGE_WAVE, None).await?;
    let due = bench.start().await?;
    let mut busy = Vec::new();
    while !bench.is_worked_off().await? {
        busy.push(requests(&shop, &buyers, &products).await?);
        ensure!(due.elapsed() < PATIENCE, "the wave was not worked off within {} s", PATIENCE.as_secs());
    }
    // The last round was only in part beside the wave.
    busy.pop();
    println!("\n{LARGE_WAVE} orders beside requests, rounds of {} s", ROUND.as_secs());
    bench.until_cancelled(LARGE_WAVE, due, "orders").await?;
    println!("  their messages were written {:.1} s after their time at the latest", due.elapsed().as_secs_f64());
    let mut rows = Vec::new();
    for (name, rounds) in [("calm", calm), ("beside the wave", busy)] {
        let (reads, purchases): (Vec<_>, Vec<_>) = rounds.into_iter().unzip();
        rows.push(Row { name: format!("product detail, {name}"), rounds: reads });
        rows.push(Row { name: format!("cart add + checkout + pay, {name}"), rounds: purchases });
    }
    table::print(&rows);
    for (calm, busy) in [(0, 2), (1, 3)] {
        let p99 = |row: usize| rows.get(row).map(|row| Outcome::of_rounds(&row.rounds).p99).unwrap_or_default();
        let ratio = p99(busy).as_secs_f64() / p99(calm).as_secs_f64();
        println!("  p99 beside the wave: {ratio:.2} times the calm one (at most 2)");
    }
    shop.stop();
    Ok(())
}

const READERS: usize = 20;
const BUYERS: usize = 20;

/// About 1,000 reads and 50 purchases a second.
async fn requests(shop: &Subject, buyers: &[String], products: &[i64]) -> anyhow::Result<(Outcome, Outcome)> {
    let plan = |flow, connections, pause| Plan {
        work: Work::Http { address: shop.address, flow, shoppers: buyers.to_vec(), products: products.to_vec() },
        connections,
        warm_up: Duration::from_millis(500),
        duration: ROUND,
        pause: Duration::from_millis(pause),
    };
    let reads = Load::start(&plan(Flow::Detail, READERS, 18))?;
    let purchases = Load::start(&plan(Flow::Buy, BUYERS, 388))?;
    Ok((reads.finish().await?, purchases.finish().await?))
}

impl Bench {
    /// Inserts pending orders of one unit each, with the jobs of their expiry, which are not due yet. Those of a flash
    /// sale have its product and tickets.
    async fn insert(&mut self, count: i64, activity: Option<i64>) -> anyhow::Result<()> {
        const ORDERS: &str = "
            INSERT INTO orders (order_no, user_id, status, subtotal_cents, discount_cents, total_cents, currency, discounts,
                                created_at, expires_at, ticket)
            SELECT CONCAT('01WAVE', ?, LPAD(n, 16, '0')), ? + n % ?, 'pending', 1, 0, 1, 'CNY', '[]', 0, 0,
                   CONCAT(LOWER(HEX(?)), '.', n)
            FROM (SELECT ROW_NUMBER() OVER () AS n FROM products a, products b, products c LIMIT ?) AS numbers";
        const ITEMS: &str = "
            INSERT INTO order_items (order_no, line, product_id, name, price_cents, quantity, amount_cents)
            SELECT o.order_no, 1, COALESCE(s.product_id, p.id), 'bench', 1, 1, 1
            FROM orders o
            JOIN (SELECT id, ROW_NUMBER() OVER (ORDER BY id) - 1 AS place, COUNT(*) OVER () AS places FROM products) AS p
              ON p.place = CAST(RIGHT(o.order_no, 16) AS UNSIGNED) % p.places
            LEFT JOIN seckill_activities s ON s.id = ?
            WHERE o.order_no LIKE ?";
        const RESERVED: &str = "
            UPDATE products p
            JOIN (SELECT product_id, COUNT(*) AS n FROM order_items WHERE order_no LIKE ? GROUP BY product_id) AS i
              ON i.product_id = p.id
            SET p.available = p.available - i.n, p.reserved = p.reserved + i.n";
        const TICKETS: &str = "
            INSERT INTO seckill_tickets (ticket, activity_id, user_id, status, order_no, live, created_at)
            SELECT ticket, ?, user_id, 'ordered', order_no, 1, 0 FROM orders WHERE order_no LIKE ?";
        const BOOKED: &str = "UPDATE seckill_activities SET booked = booked + ? WHERE id = ?";
        const JOBS: &str = "
            INSERT INTO jobs (queue, state, due_at, payload, created_at)
            SELECT 'timer', 'queued', ?, CONCAT('{\"order_no\":\"', order_no, '\"}'), 0 FROM orders WHERE order_no LIKE ?";
        self.wave += 1;
        let wave = format!("{:04}", self.wave);
        let orders = format!("01WAVE{wave}%");
        let mysql = &mut self.mysql;
        mysql.exec_drop(ORDERS, (&wave, self.first_user, self.users, activity, count)).await?;
        mysql.exec_drop(ITEMS, (activity, &orders)).await?;
        match activity {
            None => mysql.exec_drop(RESERVED, (&orders,)).await?,
            Some(activity) => {
                mysql.exec_drop(TICKETS, (activity, &orders)).await?;
                mysql.exec_drop(BOOKED, (count, activity)).await?;
                self.admit(activity, &orders).await?;
            }
        }
        Ok(self.mysql.exec_drop(JOBS, (i64::MAX - 1, &orders)).await?)
    }

    /// Writes the tickets of the orders to Redis, as if they had been bought.
    async fn admit(&mut self, activity: i64, orders: &str) -> anyhow::Result<()> {
        const BOUGHT: &str = "SELECT ticket, CAST(user_id AS CHAR), order_no FROM orders WHERE order_no LIKE ?";
        let bought: Vec<(String, String, String)> = self.mysql.exec(BOUGHT, (orders,)).await?;
        let key = |what: &str| format!("{{sk:{activity}}}:{what}");
        let mut commands = redis::pipe();
        for (ticket, user, order_no) in &bought {
            commands.cmd("HSET").arg(key("buyers")).arg(user).arg(ticket).ignore();
            commands.cmd("HSET").arg(key("tickets")).arg(ticket).arg(format!("{user}:{order_no}")).ignore();
        }
        commands.cmd("HINCRBY").arg(key("sale")).arg("left").arg(-i64::try_from(bought.len())?).ignore();
        Ok(commands.query_async(&mut self.redis).await?)
    }

    /// Makes the wave due in a moment, and sets the key that wakes the worker then. Returns when it is due.
    async fn start(&mut self) -> anyhow::Result<Instant> {
        const DUE: &str = "UPDATE jobs SET due_at = ? WHERE queue = 'timer' AND due_at = ?";
        const EXPIRES: &str = "UPDATE orders SET expires_at = ? WHERE order_no LIKE ?";
        let (delay, orders) = (Duration::from_secs(6), format!("01WAVE{:04}%", self.wave));
        let (due, due_at) = (Instant::now() + delay, SystemTime::now() + delay);
        let due_at = i64::try_from(due_at.duration_since(UNIX_EPOCH)?.as_millis())?;
        self.mysql.exec_drop(EXPIRES, (due_at, orders)).await?;
        self.mysql.exec_drop(DUE, (due_at, i64::MAX - 1)).await?;
        let wait = due.saturating_duration_since(Instant::now());
        ensure!(!wait.is_zero(), "the wave could not be prepared in time");
        let mut commands = redis::pipe();
        commands.cmd("SELECT").arg(1).ignore();
        commands.cmd("SET").arg("due:wave").arg("").arg("PX").arg(u64::try_from(wait.as_millis())?).ignore();
        commands.cmd("SELECT").arg(0).ignore();
        commands.query_async::<()>(&mut self.redis).await?;
        tokio::time::sleep_until(due.into()).await;
        Ok(due)
    }

    async fn until_cancelled(&mut self, count: i64, due: Instant, what: &str) -> anyhow::Result<()> {
        const PENDING: &str = "SELECT COUNT(*) FROM orders WHERE status = 'pending'";
        const LAST: &str = "SELECT MAX(cancelled_at - expires_at) FROM orders WHERE order_no LIKE ?";
        while self.number(PENDING).await? > 0 {
            if due.elapsed() > PATIENCE {
                bail!("the orders were not cancelled within {} s", PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let orders = format!("01WAVE{:04}%", self.wave);
        let last: i64 = database::one(&mut self.mysql, LAST, (orders,)).await?;
        let rate = count as f64 * 1000.0 / last.max(1) as f64;
        println!("  {count} {what}: the last was cancelled {last} ms after its time, {rate:.0} a second");
        Ok(())
    }

    async fn until_on_sale(&mut self, activity: i64, due: Instant) -> anyhow::Result<()> {
        let key = format!("{{sk:{activity}}}:sale");
        while redis::cmd("HGET").arg(&key).arg("left").query_async::<i64>(&mut self.redis).await? < WAVE {
            if due.elapsed() > PATIENCE {
                bail!("the units were not on sale again within {} s", PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        println!("    on sale again {} ms after their time (at most 3000)", ms(due.elapsed()));
        Ok(())
    }

    /// Whether no job of the wave is left.
    async fn is_worked_off(&mut self) -> anyhow::Result<bool> {
        const JOBS: &str = "
            SELECT (SELECT COUNT(*) FROM jobs WHERE queue = 'timer' AND due_at <= UNIX_TIMESTAMP() * 1000 + 20000)
                 + (SELECT COUNT(*) > 200 FROM jobs WHERE queue = 'notify')";
        Ok(self.number(JOBS).await? == 0)
    }

    async fn until_worked_off(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        while !self.is_worked_off().await? {
            ensure!(began.elapsed() < PATIENCE, "the jobs were not done within {} s", PATIENCE.as_secs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn number(&mut self, sql: &str) -> anyhow::Result<i64> {
        database::one(&mut self.mysql, sql, ()).await
    }
}
