//! Timers: orders that expire, are shipped and complete automatically.

use std::time::{Duration, SystemTime};

use futures::{StreamExt, future::join_all, stream};
use serde_json::{Value, json};

use crate::harness::{DedicatedShop, Servers, Stock, User, eventually};

/// How long after its `expires_at` an order was cancelled.
fn lateness(order: &Value) -> Duration {
    let (cancelled, expires) = (time(&order["cancelled_at"]), time(&order["expires_at"]));
    cancelled.duration_since(expires).unwrap_or_else(|_| panic!("too early: {order}"))
}

fn time(value: &Value) -> SystemTime {
    humantime::parse_rfc3339(value.as_str().unwrap_or_default()).unwrap_or_else(|error| panic!("{value}: {error}"))
}

async fn no_longer_pending(user: &User, order: &str) -> Value {
    eventually("the order is no longer pending", Duration::from_secs(30), async || {
        let order = user.get_order(order).await;
        (order["status"] != "pending").then_some(order)
    })
    .await
}

#[tokio::test]
async fn an_unpaid_order_is_cancelled_within_two_seconds() {
    // On servers of its own: on shared ones a runtime that another test kills may hold the job.
    let servers = Servers::start().await;
    let shop = DedicatedShop::on(&servers).variable("order_ttl_seconds", 1).start().await;
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 20 })).await;
    let orders = join_all((0..10).map(async |_| user.new_order(&[(product, 2)]).await)).await;
    assert_eq!(shop.stock(product).await.sum(), 20);
    for order in &orders {
        let order = no_longer_pending(&user, order).await;
        assert_eq!(order["status"], "cancelled");
        assert!(order["cancel_reason"].is_string(), "{order}");
        assert!(lateness(&order) < Duration::from_secs(2), "{order}");
    }
    assert_eq!(shop.stock(product).await, Stock { available: 20, reserved: 0, sold: 0 });
    user.pay(&orders[0]).await.problem(409, "order_state");
    let log = user.get(&format!("/api/order/{}/log", orders[0])).await.is(200);
    assert_eq!((&log["items"][1]["cause"], &log["items"][1]["actor"]), (&json!("expired"), &json!("shop")));
}

#[tokio::test]
async fn a_paid_order_does_not_expire() {
    let shop = DedicatedShop::builder().variable("order_ttl_seconds", 2).start().await;
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 2 })).await;
    let (paid, unpaid) = (user.new_order(&[(product, 1)]).await, user.new_order(&[(product, 1)]).await);
    user.pay(&paid).await.is(200);
    no_longer_pending(&user, &unpaid).await;
    assert_eq!(user.get_order(&paid).await["status"], "paid");
    assert_eq!(shop.stock(product).await, Stock { available: 1, reserved: 0, sold: 1 });
}

#[tokio::test]
async fn a_payment_and_the_timer_never_both_succeed() {
    let shop = DedicatedShop::builder().variable("order_ttl_seconds", 2).start().await;
    let users = join_all((0..10).map(|_| shop.user())).await;
    let outcomes = join_all(users.iter().map(async |user| {
        let product = shop.product(json!({ "stock": 100 })).await;
        let mut paid = 0;
        for _ in 0..4 {
            // Five at a time: all of them lock the same product.
            let orders =
                stream::iter(0..25).map(|_| user.place_order(&[(product, 1)]).into_future()).buffer_unordered(5);
            let races = orders.collect::<Vec<_>>().await.into_iter().enumerate().map(async |(index, placed)| {
                let placed = placed.is(201);
                let order = placed["order_no"].as_str().expect("a number");
                let expires = time(&placed["expires_at"]);
                // From shortly before the order expires until after the timer has run.
                let wait = expires.duration_since(SystemTime::now()).unwrap_or_default();
                tokio::time::sleep(
                    (wait + Duration::from_millis(index as u64 * 10)).saturating_sub(Duration::from_millis(60)),
                )
                .await;
                let payment = user.pay(order).await;
                let order = no_longer_pending(user, order).await;
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
    assert!(paid > 0 && paid < 1000, "{paid} of 1000 were paid: no race");
}

#[tokio::test]
async fn orders_are_shipped_and_completed_automatically() {
    let servers = Servers::start().await;
    let shop =
        DedicatedShop::on(&servers).variable("auto_ship", true).variable("auto_confirm_seconds", 1).start().await;
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    let order = user.new_order(&[(product, 1)]).await;
    user.pay(&order).await.is(200);
    let completed = eventually("the order completes", Duration::from_secs(20), async || {
        let order = user.get_order(&order).await;
        (order["status"] == "completed").then_some(order)
    })
    .await;
    assert!(completed["tracking_no"].as_str().is_some_and(|no| !no.is_empty()), "{completed}");
    let log = user.get(&format!("/api/order/{order}/log")).await.is(200);
    let actors: Vec<_> = log["items"].as_array().expect("items").iter().map(|c| c["actor"].clone()).collect();
    assert_eq!(actors, ["user", "user", "shop", "shop"]);
}

/// Without keyspace notifications of Redis, requests that place orders, and `cargo mall tick`, wake the workers for overdue jobs.
#[tokio::test]
async fn without_keyspace_notifications_orders_expire_by_traffic_and_by_tick() {
    let servers = Servers::start().await;
    let shop = DedicatedShop::on(&servers).variable("order_ttl_seconds", 1).start().await;
    let mut redis = servers.redis().await;
    let _: () = redis::cmd("CONFIG")
        .arg("SET")
        .arg("notify-keyspace-events")
        .arg("")
        .query_async(&mut redis)
        .await
        .expect("the setting is changed");
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 1000 })).await;
    let first = user.new_order(&[(product, 1)]).await;
    let order = eventually("traffic cancels the order", Duration::from_secs(20), async || {
        user.place_order(&[(product, 1)]).await.is(201);
        let order = user.get_order(&first).await;
        (order["status"] == "cancelled").then_some(order)
    })
    .await;
    assert_eq!(order["status"], "cancelled");
    // No more traffic: the other orders wait for a tick.
    tokio::time::sleep(Duration::from_millis(1300)).await;
    // Repeatedly, as cron does: a tick passes over a job that is locked at that moment.
    eventually("ticks cancel the other orders", Duration::from_secs(20), async || {
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
