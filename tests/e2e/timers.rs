//! Orders that end by themselves.

use std::time::{Duration, SystemTime};

use futures::{StreamExt, future::join_all, stream};
use serde_json::{Value, json};

use crate::harness::{OwnShop, Servers, Stock, User, eventually};

/// How long after its `expires_at` an order was cancelled.
fn lateness(order: &Value) -> Duration {
    let (cancelled, expires) = (time(&order["cancelled_at"]), time(&order["expires_at"]));
    cancelled.duration_since(expires).unwrap_or_else(|_| panic!("too early: {order}"))
}

fn time(value: &Value) -> SystemTime {
    humantime::parse_rfc3339(value.as_str().unwrap_or_default()).unwrap_or_else(|error| panic!("{value}: {error}"))
}

async fn ended(user: &User, order: &str) -> Value {
    eventually("the order ends", Duration::from_secs(30), async || {
        let order = user.see(order).await;
        (order["status"] != "pending").then_some(order)
    })
    .await
}

#[tokio::test]
async fn an_order_that_nobody_pays_ends_within_two_seconds() {
    // Elsewhere a runtime that another test kills may hold the job.
    let servers = Servers::start().await;
    let shop = OwnShop::on(&servers).variable("order_ttl_seconds", 1).start().await;
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 20 })).await;
    let orders = join_all((0..10).map(async |_| user.order(&[(product, 2)]).await)).await;
    assert_eq!(shop.stock(product).await.sum(), 20);
    for order in &orders {
        let order = ended(&user, order).await;
        assert_eq!(order["status"], "cancelled");
        assert!(order["cancel_reason"].is_string(), "{order}");
        assert!(lateness(&order) < Duration::from_secs(2), "{order}");
    }
    assert_eq!(shop.stock(product).await, Stock { available: 20, reserved: 0, sold: 0 });
    user.paying(&orders[0]).await.problem(409, "order_state");
    let log = user.get(&format!("/api/order/{}/log", orders[0])).await.is(200);
    assert_eq!((&log["items"][1]["cause"], &log["items"][1]["actor"]), (&json!("expired"), &json!("shop")));
}

#[tokio::test]
async fn a_paid_order_does_not_expire() {
    let shop = OwnShop::with().variable("order_ttl_seconds", 2).start().await;
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 2 })).await;
    let (paid, unpaid) = (user.order(&[(product, 1)]).await, user.order(&[(product, 1)]).await);
    user.paying(&paid).await.is(200);
    ended(&user, &unpaid).await;
    assert_eq!(user.see(&paid).await["status"], "paid");
    assert_eq!(shop.stock(product).await, Stock { available: 1, reserved: 0, sold: 1 });
}

#[tokio::test]
async fn of_a_payment_and_the_timer_one_wins_a_thousand_times() {
    let shop = OwnShop::with().variable("order_ttl_seconds", 2).start().await;
    let users = join_all((0..10).map(|_| shop.user())).await;
    let outcomes = join_all(users.iter().map(async |user| {
        let product = shop.product(json!({ "stock": 100 })).await;
        let mut paid = 0;
        for _ in 0..4 {
            // Not all at once: they wait for one another's stock.
            let orders = stream::iter(0..25).map(|_| user.ordering(&[(product, 1)]).into_future()).buffer_unordered(5);
            let races = orders.collect::<Vec<_>>().await.into_iter().enumerate().map(async |(index, placed)| {
                let placed = placed.is(201);
                let order = placed["order_no"].as_str().expect("a number");
                let expires = time(&placed["expires_at"]);
                // From a little before the end until after the timer has come.
                let wait = expires.duration_since(SystemTime::now()).unwrap_or_default();
                tokio::time::sleep(
                    (wait + Duration::from_millis(index as u64 * 10)).saturating_sub(Duration::from_millis(60)),
                )
                .await;
                let payment = user.paying(order).await;
                let order = ended(user, order).await;
                match payment.status {
                    200 => assert_eq!(order["status"], "paid", "{payment}"),
                    _ => {
                        payment.problem(409, "order_state");
                        assert_eq!(order["status"], "cancelled", "{payment}");
                    }
                }
                i64::from(payment.status == 200)
            });
            paid += join_all(races).await.iter().sum::<i64>();
        }
        assert_eq!(shop.stock(product).await, Stock { available: 100 - paid, reserved: 0, sold: paid });
        paid
    }))
    .await;
    let paid: i64 = outcomes.iter().sum();
    assert!(paid > 0 && paid < 1000, "{paid}: no race to speak of");
}

#[tokio::test]
async fn a_shop_ships_and_completes_by_itself() {
    let servers = Servers::start().await;
    let shop = OwnShop::on(&servers).variable("auto_ship", true).variable("auto_confirm_seconds", 1).start().await;
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    let order = user.order(&[(product, 1)]).await;
    user.paying(&order).await.is(200);
    let completed = eventually("the order completes", Duration::from_secs(20), async || {
        let order = user.see(&order).await;
        (order["status"] == "completed").then_some(order)
    })
    .await;
    assert!(completed["tracking_no"].as_str().is_some_and(|no| !no.is_empty()), "{completed}");
    let log = user.get(&format!("/api/order/{order}/log")).await.is(200);
    let actors: Vec<_> = log["items"].as_array().expect("items").iter().map(|c| c["actor"].clone()).collect();
    assert_eq!(actors, ["user", "user", "shop", "shop"]);
}

/// A Redis that does not tell of keys that expire: the traffic of orders, and `tick`, ring for what is overdue.
#[tokio::test]
async fn without_events_of_expiry_orders_end_by_traffic_and_by_tick() {
    let servers = Servers::start().await;
    let shop = OwnShop::on(&servers).variable("order_ttl_seconds", 1).start().await;
    let mut redis = servers.redis().await;
    let _: () = redis::cmd("CONFIG")
        .arg("SET")
        .arg("notify-keyspace-events")
        .arg("")
        .query_async(&mut redis)
        .await
        .expect("set");
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 1000 })).await;
    let first = user.order(&[(product, 1)]).await;
    let order = eventually("traffic ends the order", Duration::from_secs(20), async || {
        user.ordering(&[(product, 1)]).await.is(201);
        let order = user.see(&first).await;
        (order["status"] == "cancelled").then_some(order)
    })
    .await;
    assert_eq!(order["status"], "cancelled");
    // No more traffic: what is left waits for a tick.
    tokio::time::sleep(Duration::from_millis(1300)).await;
    // As cron does: a job that another worker's claim held for a moment is found by the next one.
    eventually("ticks end the rest", Duration::from_secs(20), async || {
        let tick = std::process::Command::new(crate::harness::environment("MALL_BIN"))
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .args(["tick", "--mysql", servers.mysql_url(), "--redis", &servers.redis_url()])
            .output()
            .expect("MALL_BIN runs");
        assert!(tick.status.success(), "{}", String::from_utf8_lossy(&tick.stderr));
        (shop.stock(product).await == Stock { available: 1000, reserved: 0, sold: 0 }).then_some(())
    })
    .await;
}
