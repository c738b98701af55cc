//! Workers under fire: whatever breaks, every order comes to its end, and stock and money add up.

use std::future::IntoFuture;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::future::{join, join_all};
use redis::aio::MultiplexedConnection;
use serde_json::json;
use sqlx::Connection;

use crate::harness::{OwnShop, Proxy, Servers, Settings, Shop, User, environment, eventually};

const STOCKED: i64 = 1_000_000;

/// A shop on servers of its own, whose orders end fast.
fn quick(servers: &Servers) -> Settings {
    OwnShop::on(servers)
        .variable("order_ttl_seconds", 2)
        .variable("auto_ship", true)
        .variable("auto_confirm_seconds", 1)
}

struct Load {
    buyers: Vec<User>,
    products: Vec<i64>,
}

impl Load {
    async fn of(shop: &Shop, buyers: usize) -> Self {
        let buyers = join_all((0..buyers).map(|_| shop.user())).await;
        let products = join_all((0..4).map(|_| shop.product(json!({ "stock": STOCKED })))).await;
        Self { buyers, products }
    }

    /// The same people at other doors, in turn.
    async fn at(&self, shops: &[&OwnShop]) -> Self {
        let buyers = self.buyers.iter().enumerate().map(|(index, buyer)| buyer.at(shops[index % shops.len()]));
        Self { buyers: join_all(buyers).await, products: self.products.clone() }
    }

    /// Buys and buys: some orders are paid, some cancelled, some left, some paid ones wanted back. Whatever goes wrong
    /// on the way is the shop's to clear up.
    async fn run(&self, how_long: Duration) {
        let end = Instant::now() + how_long;
        join_all(self.buyers.iter().enumerate().map(async |(index, buyer)| {
            let mut round = index;
            while Instant::now() < end {
                round += 1;
                let product = |n: usize| self.products[(round + n) % self.products.len()];
                let Ok(placed) = buyer.ordering(&[(product(0), 1), (product(1), 2)]).lenient().attempt().await else {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                if placed.status != 201 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
                let order = placed.json()["order_no"].as_str().unwrap_or_default().to_owned();
                match round % 4 {
                    0 => drop(buyer.cancelling(&order).lenient().attempt().await),
                    1 => {}
                    2 => drop(buyer.paying(&order).lenient().attempt().await),
                    _ => {
                        drop(buyer.paying(&order).lenient().attempt().await);
                        let back = buyer.post(&format!("/api/order/{order}/refund")).json(json!({ "reason": "no" }));
                        drop(back.lenient().attempt().await);
                    }
                }
            }
        }))
        .await;
    }
}

/// Every order ends; then stock and money are what the orders say, and every change was logged.
async fn all_ends_well(servers: &Servers, within: Duration) -> i64 {
    // A refund that was asked for after shipping waits for an admin; there is none here.
    const OPEN: &str = "
        SELECT COUNT(*) FROM orders o LEFT JOIN refunds r ON r.refund_no = o.refund_no
        WHERE o.status IN ('pending', 'paid', 'shipped')
           OR (o.status = 'refunding' AND r.status <> 'requested')";
    eventually("every order ends", within, async || (servers.number(OPEN).await == 0).then_some(())).await;
    eventually("no job is left", within, async || {
        (servers.number("SELECT COUNT(*) FROM jobs").await == 0).then_some(())
    })
    .await;
    const RESERVED: &str = "SELECT CAST(COALESCE(SUM(reserved), 0) AS SIGNED) FROM products";
    assert_eq!(servers.number(RESERVED).await, 0, "what ended holds nothing");
    const WRONG_STOCK: &str = "
        SELECT COUNT(*) FROM products p
        WHERE p.available + p.reserved + p.sold <>
                  (SELECT CAST(SUM(delta) AS SIGNED) FROM stock_movements m WHERE m.product_id = p.id)
           OR p.sold <> (SELECT CAST(COALESCE(SUM(i.quantity), 0) AS SIGNED)
                         FROM order_items i JOIN orders o ON o.order_no = i.order_no
                         WHERE i.product_id = p.id AND o.status IN ('completed', 'refunding'))";
    assert_eq!(servers.number(WRONG_STOCK).await, 0, "stock is conserved, and sold is what was bought and kept");
    const WRONG_MONEY: &str = "
        SELECT COUNT(*) FROM orders o
        WHERE (SELECT CAST(COALESCE(SUM(amount_cents), 0) AS SIGNED) FROM payments p
               WHERE p.order_no = o.order_no AND p.status = 'succeeded')
            - (SELECT CAST(COALESCE(SUM(amount_cents), 0) AS SIGNED) FROM refunds r
               WHERE r.order_no = o.order_no AND r.status = 'succeeded')
           <> CASE WHEN o.status IN ('completed', 'refunding') THEN o.total_cents ELSE 0 END";
    assert_eq!(servers.number(WRONG_MONEY).await, 0, "the shop has the money of what was bought and kept");
    const WRONG_LOG: &str = "
        SELECT COUNT(*) FROM orders o
        WHERE o.status <> (SELECT to_status FROM order_log l WHERE l.order_no = o.order_no ORDER BY id DESC LIMIT 1)
           OR (SELECT COUNT(*) FROM order_log l WHERE l.order_no = o.order_no AND cause = 'shipped') > 1
           OR (SELECT COUNT(*) FROM order_log l WHERE l.order_no = o.order_no AND cause = 'refunded') > 1";
    assert_eq!(servers.number(WRONG_LOG).await, 0, "each thing happened once, and the log knows");
    const WRONG_MESSAGES: &str = "
        SELECT COUNT(*) FROM order_log l
        WHERE cause IN ('paid', 'shipped', 'cancelled', 'expired', 'refunded')
          AND (SELECT COUNT(*) FROM messages m
               WHERE m.order_no = l.order_no AND m.kind = CONCAT('order_', l.cause)) <> 1";
    assert_eq!(servers.number(WRONG_MESSAGES).await, 0, "each thing was told once");
    let count = servers.number("SELECT COUNT(*) FROM orders").await;
    assert!(count > 20, "only {count} orders: no load to speak of");
    count
}

async fn publish(redis: &mut MultiplexedConnection, channel: &str, message: &[u8]) {
    let _: i64 = redis::cmd("PUBLISH").arg(channel).arg(message).query_async(redis).await.expect("a bell");
}

#[tokio::test]
async fn a_runtime_killed_in_mid_load_is_followed_by_one_that_ends_everything() {
    let servers = Servers::start().await;
    let mut doomed = quick(&servers).start().await;
    let load = Load::of(&doomed, 8).await;
    let kill = async {
        tokio::time::sleep(Duration::from_millis(2500)).await;
        doomed.kill();
    };
    join(load.run(Duration::from_secs(3)), kill).await;
    let _next = quick(&servers).start().await;
    // The leases of the one that was killed have to end first.
    all_ends_well(&servers, Duration::from_secs(45)).await;
}

/// The same in Spin, where there is one: its workers end with it.
#[tokio::test]
async fn a_spin_killed_in_mid_load_is_followed_by_one_that_ends_everything() {
    if Command::new("spin").arg("--version").output().is_err() {
        eprintln!("no `spin` on the PATH: not tried");
        return;
    }
    let servers = Servers::start().await;
    let mut doomed = quick(&servers).in_spin().start().await;
    let load = Load::of(&doomed, 6).await;
    let kill = async {
        tokio::time::sleep(Duration::from_millis(2500)).await;
        doomed.kill();
    };
    join(load.run(Duration::from_secs(3)), kill).await;
    let _next = quick(&servers).in_spin().start().await;
    all_ends_well(&servers, Duration::from_secs(60)).await;
}

#[tokio::test]
async fn three_replicas_do_every_job_once() {
    let servers = Servers::start().await;
    let first = quick(&servers).start().await;
    let (second, third) = join(quick(&servers).start(), quick(&servers).start()).await;
    let load = Load::of(&first, 9).await;
    // A token is another replica's, too, if they share the secret; here each has its own.
    let load = load.at(&[&first, &second, &third]).await;
    load.run(Duration::from_secs(3)).await;
    all_ends_well(&servers, Duration::from_secs(30)).await;
}

#[tokio::test]
async fn a_redis_emptied_and_restarted_in_mid_load_costs_no_order() {
    let mut servers = Servers::start().await;
    let shop = quick(&servers).start().await;
    let load = Load::of(&shop, 8).await;
    let breaks = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut redis = servers.redis().await;
        let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await.expect("emptied");
        tokio::time::sleep(Duration::from_secs(1)).await;
        servers.kill_redis();
        tokio::time::sleep(Duration::from_millis(500)).await;
        servers.start_redis().await;
    };
    join(load.run(Duration::from_secs(5)), breaks).await;
    all_ends_well(&servers, Duration::from_secs(60)).await;
}

#[tokio::test]
async fn a_mysql_stopped_for_ten_seconds_costs_no_order() {
    let servers = Servers::start().await;
    let line = Proxy::before(servers.mysql_url()).await;
    let shop = quick(&servers).mysql(line.url()).start().await;
    let load = Load::of(&shop, 8).await;
    let stops = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        for lose in [Proxy::cut, Proxy::freeze] {
            lose(&line);
            tokio::time::sleep(Duration::from_secs(5)).await;
            line.mend();
        }
    };
    join(load.run(Duration::from_secs(14)), stops).await;
    all_ends_well(&servers, Duration::from_secs(60)).await;
}

/// The connections that listen are cut again and again: bells and expiries are lost. Afterwards there is no traffic but
/// someone who asks whether the shop is ready, as a load balancer does.
#[tokio::test]
async fn without_bells_the_heartbeat_gets_everything_done() {
    let servers = Servers::start().await;
    let shop = quick(&servers).start().await;
    let load = Load::of(&shop, 6).await;
    let deafen = async {
        let mut redis = servers.redis().await;
        let end = Instant::now() + Duration::from_secs(4);
        while Instant::now() < end {
            let kill = redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").query_async::<i64>(&mut redis).await;
            kill.expect("cut");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    join(load.run(Duration::from_secs(4)), deafen).await;
    let mut redis = servers.redis().await;
    let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await.expect("emptied");
    let asks = async {
        loop {
            let _ = shop.get("/ready").lenient().attempt().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    // Sooner than `cargo mall up` would ring by itself.
    tokio::select! {
        count = all_ends_well(&servers, Duration::from_secs(20)) => assert!(count > 20),
        () = asks => {}
    }
}

#[tokio::test]
async fn bells_a_hundred_times_over_with_junk_do_nothing_twice() {
    let servers = Servers::start().await;
    let shop = quick(&servers).start().await;
    let load = Load::of(&shop, 6).await;
    let noise = async {
        let mut redis = servers.redis().await;
        for round in 0..100 {
            for channel in ["mall:fulfil", "mall:notify", "mall:timer", "__keyevent@1__:expired"] {
                let junk = [b"\xff\x00{\"order_no\":\"../..\"}".as_slice(), &vec![b'x'; round * 100]].concat();
                publish(&mut redis, channel, &junk).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    join(load.run(Duration::from_secs(3)), noise).await;
    all_ends_well(&servers, Duration::from_secs(30)).await;
}

fn jobs(servers: &Servers, arguments: &[&str]) -> String {
    let done = Command::new(environment("MALL_BIN"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .arg("jobs")
        .args(arguments)
        .args(["--mysql", servers.mysql_url(), "--redis", &servers.redis_url()])
        .output()
        .expect("MALL_BIN runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

#[tokio::test]
async fn a_poison_job_dies_and_holds_up_nobody() {
    let servers = Servers::start().await;
    let shop = OwnShop::on(&servers).variable("auto_ship", true).start().await;
    let (user, product) = (shop.user().await, shop.product(json!({})).await);
    let mut mysql = servers.mysql().await;
    for payload in ["not JSON", "{\"do\":\"dance\"}", "{\"do\":\"ship\"}"] {
        let poison =
            "INSERT INTO jobs (queue, state, due_at, payload, created_at) VALUES ('fulfil', 'queued', 0, ?, 0)";
        sqlx::query(poison).bind(payload).execute(&mut mysql).await.expect("poison");
    }
    // This one can be read, but there is no such order: it fails until it is given up.
    let hopeless = "
        INSERT INTO jobs (queue, state, due_at, attempts, payload, created_at)
        VALUES ('fulfil', 'queued', 0, 7, '{\"do\":\"refund\",\"order_no\":\"01ARZ3NDEKTSV4RRFFQ69G5FAV\"}', 0)";
    sqlx::query(hopeless).execute(&mut mysql).await.expect("poison");
    let orders = join_all((0..5).map(async |_| user.order(&[(product, 1)]).await)).await;
    for order in &orders {
        user.paying(order).await.is(200);
    }
    eventually("the others are shipped", Duration::from_secs(10), async || {
        let states = join_all(orders.iter().map(|order| user.see(order))).await;
        states.iter().all(|order| order["status"] == "shipped").then_some(())
    })
    .await;
    eventually("the poison is dead", Duration::from_secs(10), async || {
        (servers.number("SELECT COUNT(*) FROM jobs WHERE state = 'dead'").await == 4).then_some(())
    })
    .await;
    let metrics = shop.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(text.contains("mall_jobs{queue=\"fulfil\",state=\"dead\"} 4"), "{text}");
    let list = jobs(&servers, &[]);
    assert!(list.contains("not JSON") && list.contains("dead"), "{list}");

    // A dead job can be tried again, and may succeed then.
    let order = &orders[0];
    let good = format!("{{\"do\":\"complete\",\"order_no\":\"{order}\"}}");
    sqlx::query("UPDATE jobs SET payload = ? WHERE payload = 'not JSON'")
        .bind(&good)
        .execute(&mut mysql)
        .await
        .expect("mended");
    let mended = servers.number("SELECT id FROM jobs WHERE state = 'dead' AND payload LIKE '%complete%'").await;
    jobs(&servers, &["retry", &mended.to_string()]);
    eventually("the mended one is done", Duration::from_secs(10), async || {
        (user.see(order).await["status"] == "completed").then_some(())
    })
    .await;
    assert!(jobs(&servers, &["retry", "--queue", "fulfil"]).contains('3'));
}

#[tokio::test]
async fn orders_are_shipped_together_and_one_that_fails_holds_up_nobody() {
    const SHIP: &str = "
        INSERT INTO jobs (queue, state, due_at, attempts, payload, created_at)
        SELECT 'fulfil', 'queued', ?, 7, CONCAT('{\"do\":\"ship\",\"order_no\":\"', ?, '\"}'), 0";
    let servers = Servers::start().await;
    let by_hand = OwnShop::on(&servers).variable("auto_ship", false).start().await;
    let (user, product) = (by_hand.user().await, by_hand.product(json!({})).await);
    let mut orders = Vec::new();
    for _ in 0..51 {
        let order = user.order(&[(product, 1)]).await;
        user.paying(&order).await.is(200);
        orders.push(order);
    }
    let unwanted = orders.remove(0);
    user.post(&format!("/api/order/{unwanted}/refund")).json(json!({ "reason": "none" })).await.is(202);
    eventually("no order waits for its worker", Duration::from_secs(10), async || {
        (servers.number("SELECT COUNT(*) FROM jobs WHERE queue = 'fulfil'").await == 0).then_some(())
    })
    .await;
    drop(by_hand);

    // All there at once, and more than one batch. In the first are one that is not paid any more and one twice, in the
    // second one that there is not.
    let mut mysql = servers.mysql().await;
    let mut tx = mysql.begin().await.expect("a transaction");
    let unknown = "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned();
    for (due, order) in (0_i64..).zip([&unwanted, &orders[0]].into_iter().chain(&orders).chain([&unknown])) {
        sqlx::query(SHIP).bind(due).bind(order).execute(&mut *tx).await.expect("a job");
    }
    tx.commit().await.expect("committed");
    let _shop = OwnShop::on(&servers).variable("auto_ship", true).start().await;
    eventually("all are shipped", Duration::from_secs(10), async || {
        (servers.number("SELECT COUNT(*) FROM orders WHERE status = 'shipped'").await == 50).then_some(())
    })
    .await;
    eventually("the one that is none is given up", Duration::from_secs(10), async || {
        (servers.number("SELECT COUNT(*) FROM jobs WHERE state = 'dead'").await == 1).then_some(())
    })
    .await;
    for (count, of) in [
        (50, "SELECT COUNT(DISTINCT tracking_no) FROM orders WHERE carrier = 'mall'"),
        (50, "SELECT COUNT(*) FROM order_log WHERE cause = 'shipped' AND from_status = 'paid' AND actor = 'shop'"),
        (50, "SELECT COUNT(*) FROM jobs WHERE queue = 'fulfil' AND payload LIKE '%complete%'"),
    ] {
        assert_eq!(servers.number(of).await, count, "{of}");
    }
    // Not counted exactly: a lease passes over what is locked just then.
    let together = "SELECT MAX(n) FROM (SELECT COUNT(*) AS n FROM orders GROUP BY shipped_at) AS together";
    assert!(servers.number(together).await > 40, "they are not shipped together");
    eventually("the buyer hears of each", Duration::from_secs(10), async || {
        (servers.number("SELECT COUNT(*) FROM messages WHERE kind = 'order_shipped'").await == 50).then_some(())
    })
    .await;
}

#[tokio::test]
async fn metrics_speak_prometheus() {
    let shop = Shop::running();
    let reply = shop.get("/metrics").into_future().await;
    assert_eq!(reply.status, 200, "{reply}");
    assert!(reply.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{reply}");
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    for line in text.lines() {
        if line.starts_with('#') {
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        assert!(name.starts_with("mall_") && name.ends_with('}'), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    for family in ["mall_jobs", "mall_jobs_oldest_due_seconds", "mall_orders", "mall_stock_units"] {
        assert!(text.contains(&format!("# TYPE {family} gauge")), "{family}: {text}");
    }
}
