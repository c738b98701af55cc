//! Workers under load and faults: every order is completed or ended, and stock and money add up.

use std::future::IntoFuture;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::future::{join, join_all};
use mysql_async::{TxOpts, prelude::Queryable};
use redis::aio::MultiplexedConnection;
use serde_json::json;

use crate::harness::{DedicatedShop, Proxy, Servers, Shop, ShopBuilder, User, environment, eventually, ledger_check};

const STOCKED: i64 = 1_000_000;

/// A shop on these servers whose orders expire, ship and complete within seconds.
fn fast_shop(servers: &Servers) -> ShopBuilder {
    DedicatedShop::on(servers)
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

    /// The same buyers, signed in at these shops in turn.
    async fn sign_in_at(&self, shops: &[&DedicatedShop]) -> Self {
        let buyers = self.buyers.iter().enumerate().map(|(index, buyer)| buyer.sign_in_at(shops[index % shops.len()]));
        Self { buyers: join_all(buyers).await, products: self.products.clone() }
    }

    /// Places orders: of four, one is cancelled, one left unpaid, one paid, and one paid and refunded. Errors are ignored:
    /// the workers have to bring every order to its end.
    async fn run(&self, how_long: Duration) {
        let end = Instant::now() + how_long;
        join_all(self.buyers.iter().enumerate().map(async |(index, buyer)| {
            let mut round = index;
            while Instant::now() < end {
                round += 1;
                let product = |n: usize| self.products[(round + n) % self.products.len()];
                let Ok(placed) = buyer.place_order(&[(product(0), 1), (product(1), 2)]).unchecked().try_send().await
                else {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                if placed.status != 201 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
                let order = placed.json()["order_no"].as_str().unwrap_or_default().to_owned();
                match round % 4 {
                    0 => drop(buyer.cancel(&order).unchecked().try_send().await),
                    1 => {}
                    2 => drop(buyer.pay(&order).unchecked().try_send().await),
                    _ => {
                        drop(buyer.pay(&order).unchecked().try_send().await);
                        let back = buyer.post(&format!("/api/order/{order}/refund")).json(json!({ "reason": "no" }));
                        drop(back.unchecked().try_send().await);
                    }
                }
            }
        }))
        .await;
    }
}

/// Waits until every order has ended; checks that stock and money are what the orders say, and that every change is
/// logged.
async fn all_orders_end(servers: &Servers, within: Duration) -> i64 {
    // A refund requested after shipping waits for an admin; there is none here.
    const OPEN: &str = "
        SELECT COUNT(*) FROM orders o LEFT JOIN refunds r ON r.refund_no = o.refund_no
        WHERE o.status IN ('pending', 'paid', 'shipped')
           OR (o.status = 'refunding' AND r.status <> 'requested')";
    eventually("every order ends", within, async || (servers.number(OPEN).await == 0).then_some(())).await;
    eventually("no job is left", within, async || {
        (servers.number("SELECT COUNT(*) FROM jobs WHERE queue <> 'retention'").await == 0).then_some(())
    })
    .await;
    const RESERVED: &str = "SELECT CAST(COALESCE(SUM(reserved), 0) AS SIGNED) FROM products";
    assert_eq!(servers.number(RESERVED).await, 0, "ended orders reserve nothing");
    const WRONG_STOCK: &str = "
        SELECT COUNT(*) FROM products p
        WHERE p.available + p.reserved + p.sold <>
                  (SELECT CAST(SUM(delta) AS SIGNED) FROM stock_movements m WHERE m.product_id = p.id)
           OR p.sold <> (SELECT CAST(COALESCE(SUM(i.quantity), 0) AS SIGNED)
                         FROM order_items i JOIN orders o ON o.order_no = i.order_no
                         WHERE i.product_id = p.id AND o.status IN ('completed', 'refunding'))";
    assert_eq!(
        servers.number(WRONG_STOCK).await,
        0,
        "stock is conserved, and the sold units are those of completed and refunding orders"
    );
    const WRONG_MONEY: &str = "
        SELECT COUNT(*) FROM orders o
        WHERE (SELECT CAST(COALESCE(SUM(amount_cents), 0) AS SIGNED) FROM payments p
               WHERE p.order_no = o.order_no AND p.status = 'succeeded')
            - (SELECT CAST(COALESCE(SUM(amount_cents), 0) AS SIGNED) FROM refunds r
               WHERE r.order_no = o.order_no AND r.status = 'succeeded')
           <> CASE WHEN o.status IN ('completed', 'refunding') THEN o.total_cents ELSE 0 END";
    assert_eq!(servers.number(WRONG_MONEY).await, 0, "the shop has the money of completed and refunding orders");
    let (in_order, printed) = ledger_check(servers);
    assert!(in_order, "{printed}");
    const WRONG_LOG: &str = "
        SELECT COUNT(*) FROM orders o
        WHERE o.status <> (SELECT to_status FROM order_log l WHERE l.order_no = o.order_no ORDER BY id DESC LIMIT 1)
           OR (SELECT COUNT(*) FROM order_log l WHERE l.order_no = o.order_no AND cause = 'shipped') > 1
           OR (SELECT COUNT(*) FROM order_log l WHERE l.order_no = o.order_no AND cause = 'refunded') > 1";
    assert_eq!(servers.number(WRONG_LOG).await, 0, "each change happened once and is logged");
    const WRONG_MESSAGES: &str = "
        SELECT COUNT(*) FROM order_log l
        WHERE cause IN ('paid', 'shipped', 'cancelled', 'expired', 'refunded')
          AND (SELECT COUNT(*) FROM messages m
               WHERE m.order_no = l.order_no AND m.kind = CONCAT('order_', l.cause)) <> 1";
    assert_eq!(servers.number(WRONG_MESSAGES).await, 0, "each change has one message");
    let count = servers.number("SELECT COUNT(*) FROM orders").await;
    assert!(count > 20, "only {count} orders: too little load");
    count
}

async fn publish(redis: &mut MultiplexedConnection, channel: &str, message: &[u8]) {
    let _: i64 =
        redis::cmd("PUBLISH").arg(channel).arg(message).query_async(redis).await.expect("the message is published");
}

#[tokio::test]
async fn after_a_runtime_is_killed_the_next_one_completes_every_order() {
    let servers = Servers::start().await;
    let mut first = fast_shop(&servers).start().await;
    let load = Load::of(&first, 8).await;
    let kill = async {
        tokio::time::sleep(Duration::from_millis(2500)).await;
        first.kill();
    };
    join(load.run(Duration::from_secs(3)), kill).await;
    let _next = fast_shop(&servers).start().await;
    // The leases of the killed runtime have to expire first.
    all_orders_end(&servers, Duration::from_secs(45)).await;
}

/// The same in Spin, if it is installed.
#[tokio::test]
async fn after_a_spin_is_killed_the_next_one_completes_every_order() {
    if Command::new("spin").arg("--version").output().is_err() {
        eprintln!("skipped: there is no `spin` on the PATH");
        return;
    }
    let servers = Servers::start().await;
    let mut first = fast_shop(&servers).in_spin().start().await;
    let load = Load::of(&first, 6).await;
    let kill = async {
        tokio::time::sleep(Duration::from_millis(2500)).await;
        first.kill();
    };
    join(load.run(Duration::from_secs(3)), kill).await;
    let _next = fast_shop(&servers).in_spin().start().await;
    all_orders_end(&servers, Duration::from_secs(60)).await;
}

#[tokio::test]
async fn three_replicas_do_every_job_once() {
    let servers = Servers::start().await;
    let first = fast_shop(&servers).start().await;
    let (second, third) = join(fast_shop(&servers).start(), fast_shop(&servers).start()).await;
    let load = Load::of(&first, 9).await;
    // Each replica has its own secret, so the buyers sign in again.
    let load = load.sign_in_at(&[&first, &second, &third]).await;
    load.run(Duration::from_secs(3)).await;
    all_orders_end(&servers, Duration::from_secs(30)).await;
}

#[tokio::test]
async fn a_redis_emptied_and_restarted_under_load_costs_no_order() {
    let mut servers = Servers::start().await;
    let shop = fast_shop(&servers).start().await;
    let load = Load::of(&shop, 8).await;
    let breaks = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut redis = servers.redis().await;
        let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await.expect("Redis is empty");
        tokio::time::sleep(Duration::from_secs(1)).await;
        servers.kill_redis();
        tokio::time::sleep(Duration::from_millis(500)).await;
        servers.start_redis().await;
    };
    join(load.run(Duration::from_secs(5)), breaks).await;
    all_orders_end(&servers, Duration::from_secs(60)).await;
}

#[tokio::test]
async fn a_mysql_outage_of_ten_seconds_costs_no_order() {
    let servers = Servers::start().await;
    let proxy = Proxy::to(servers.mysql_url()).await;
    let shop = fast_shop(&servers).mysql(proxy.url()).start().await;
    let load = Load::of(&shop, 8).await;
    let outages = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        for disconnect in [Proxy::cut, Proxy::freeze] {
            disconnect(&proxy);
            tokio::time::sleep(Duration::from_secs(5)).await;
            proxy.restore();
        }
    };
    join(load.run(Duration::from_secs(14)), outages).await;
    all_orders_end(&servers, Duration::from_secs(60)).await;
}

/// The subscribed connections are cut repeatedly, so wake-ups and expiries are lost. Afterwards there is no traffic but
/// a readiness probe, as of a load balancer.
#[tokio::test]
async fn without_wake_ups_the_heartbeat_completes_every_order() {
    let servers = Servers::start().await;
    let shop = fast_shop(&servers).start().await;
    let load = Load::of(&shop, 6).await;
    let disconnects = async {
        let mut redis = servers.redis().await;
        let end = Instant::now() + Duration::from_secs(4);
        while Instant::now() < end {
            let kill = redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").query_async::<i64>(&mut redis).await;
            kill.expect("the connections are cut");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    join(load.run(Duration::from_secs(4)), disconnects).await;
    let mut redis = servers.redis().await;
    let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await.expect("Redis is empty");
    let probes = async {
        loop {
            let _ = shop.get("/ready").unchecked().try_send().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    // Sooner than `cargo mall up` would wake the workers by itself.
    tokio::select! {
        count = all_orders_end(&servers, Duration::from_secs(20)) => assert!(count > 20),
        () = probes => {}
    }
}

#[tokio::test]
async fn hundreds_of_junk_wake_ups_do_nothing_twice() {
    let servers = Servers::start().await;
    let shop = fast_shop(&servers).start().await;
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
    all_orders_end(&servers, Duration::from_secs(30)).await;
}

pub fn jobs(servers: &Servers, arguments: &[&str]) -> String {
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
async fn a_poison_job_dies_without_holding_up_others() {
    let servers = Servers::start().await;
    let shop = DedicatedShop::on(&servers).variable("auto_ship", true).start().await;
    let (user, product) = (shop.user().await, shop.product(json!({})).await);
    let mut mysql = servers.mysql().await;
    for payload in ["not JSON", "{\"do\":\"dance\"}", "{\"do\":\"ship\"}"] {
        let poison =
            "INSERT INTO jobs (queue, state, due_at, payload, created_at) VALUES ('fulfil', 'queued', 0, ?, 0)";
        mysql.exec_drop(poison, (payload,)).await.expect("a poison job");
    }
    // This one is well-formed, but there is no such order: it is refused.
    let unknown_order = "
        INSERT INTO jobs (queue, state, due_at, payload, created_at)
        VALUES ('fulfil', 'queued', 0, '{\"do\":\"refund\",\"order_no\":\"01ARZ3NDEKTSV4RRFFQ69G5FAV\"}', 0)";
    mysql.query_drop(unknown_order).await.expect("a poison job");
    let orders = join_all((0..5).map(async |_| user.new_order(&[(product, 1)]).await)).await;
    for order in &orders {
        user.pay(order).await.is(200);
    }
    eventually("the other orders are shipped", Duration::from_secs(10), async || {
        let states = join_all(orders.iter().map(|order| user.get_order(order))).await;
        states.iter().all(|order| order["status"] == "shipped").then_some(())
    })
    .await;
    eventually("the poison jobs are dead", Duration::from_secs(10), async || {
        (servers.number("SELECT COUNT(*) FROM jobs WHERE state = 'dead'").await == 4).then_some(())
    })
    .await;
    let metrics = shop.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(text.contains("mall_jobs{queue=\"fulfil\",state=\"dead\"} 4"), "{text}");
    let list = jobs(&servers, &[]);
    assert!(list.contains("not JSON") && list.contains("dead"), "{list}");

    // A dead job that is repaired and retried succeeds.
    let order = &orders[0];
    let repaired = format!("{{\"do\":\"complete\",\"order_no\":\"{order}\"}}");
    let repair = "UPDATE jobs SET payload = ? WHERE payload = 'not JSON'";
    mysql.exec_drop(repair, (&repaired,)).await.expect("the job is repaired");
    let job_id = servers.number("SELECT id FROM jobs WHERE state = 'dead' AND payload LIKE '%complete%'").await;
    jobs(&servers, &["retry", &job_id.to_string()]);
    eventually("the repaired job is done", Duration::from_secs(10), async || {
        (user.get_order(order).await["status"] == "completed").then_some(())
    })
    .await;
    assert!(jobs(&servers, &["retry", "--queue", "fulfil"]).contains('3'));
}

#[tokio::test]
async fn orders_are_shipped_in_batches_and_a_failure_does_not_hold_up_others() {
    const SHIP: &str = "
        INSERT INTO jobs (queue, state, due_at, payload, created_at)
        SELECT 'fulfil', 'queued', ?, CONCAT('{\"do\":\"ship\",\"order_no\":\"', ?, '\"}'), 0";
    let servers = Servers::start().await;
    let manual = DedicatedShop::on(&servers).variable("auto_ship", false).start().await;
    let (user, product) = (manual.user().await, manual.product(json!({})).await);
    let mut orders = Vec::new();
    for _ in 0..51 {
        let order = user.new_order(&[(product, 1)]).await;
        user.pay(&order).await.is(200);
        orders.push(order);
    }
    let refunded = orders.remove(0);
    user.post(&format!("/api/order/{refunded}/refund")).json(json!({ "reason": "none" })).await.is(202);
    eventually("no job is left", Duration::from_secs(10), async || {
        (servers.number("SELECT COUNT(*) FROM jobs WHERE queue = 'fulfil'").await == 0).then_some(())
    })
    .await;
    drop(manual);

    // All are due. One order is no longer paid, one is there twice, one is unknown.
    let mut mysql = servers.mysql().await;
    let mut tx = mysql.start_transaction(TxOpts::default()).await.expect("a transaction");
    let unknown = "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned();
    for (due, order) in (0_i64..).zip([&refunded, &orders[0]].into_iter().chain(&orders).chain([&unknown])) {
        tx.exec_drop(SHIP, (due, order)).await.expect("a job");
    }
    tx.commit().await.expect("committed");
    let _shop = DedicatedShop::on(&servers).variable("auto_ship", true).start().await;
    eventually("all orders are shipped", Duration::from_secs(10), async || {
        (servers.number("SELECT COUNT(*) FROM orders WHERE status = 'shipped'").await == 50).then_some(())
    })
    .await;
    eventually("the job of the unknown order is dead", Duration::from_secs(10), async || {
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
    // About half: the unknown order makes the whole batch fail, which is halved.
    let largest_batch = "SELECT MAX(n) FROM (SELECT COUNT(*) AS n FROM orders GROUP BY shipped_at) AS batches";
    assert!(servers.number(largest_batch).await > 20, "the orders are not shipped in batches");
    eventually("the buyer has a message for each order", Duration::from_secs(10), async || {
        (servers.number("SELECT COUNT(*) FROM messages WHERE kind = 'order_shipped'").await == 50).then_some(())
    })
    .await;
}

#[tokio::test]
async fn metrics_are_in_the_prometheus_format() {
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
