//! Many orders whose time ends together: they are cancelled in bulk, and nothing of them is lost.

use std::time::Duration;

use futures::stream::{self, StreamExt};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

use crate::flash_sale::{booked_order, buy};
use crate::harness::{DedicatedShop, Servers, Stock, User, eventually};

const PENDING: &str = "SELECT COUNT(*) FROM orders WHERE status = 'pending'";
const WRONG_STOCK: &str = "
    SELECT COUNT(*) FROM products p
    WHERE available + reserved + sold <>
          (SELECT CAST(SUM(delta) AS SIGNED) FROM stock_movements m WHERE m.product_id = p.id)";
const WITHOUT_LOG: &str = "
    SELECT COUNT(*) FROM orders o
    WHERE status = 'cancelled' AND 1 <> (SELECT COUNT(*) FROM order_log l WHERE l.order_no = o.order_no AND cause = 'expired')";
const WITHOUT_MESSAGE: &str = "
    SELECT COUNT(*) FROM orders o
    WHERE status = 'cancelled' AND 1 <> (SELECT COUNT(*) FROM messages m WHERE m.order_no = o.order_no AND kind = 'order_expired')";

/// Places orders, ten at a time; returns their numbers.
async fn place(orders: impl IntoIterator<Item = (&User, Value)>) -> Vec<String> {
    let placed = stream::iter(orders).map(async |(user, order)| {
        let order = user.post("/api/order").json(order).await.is(201);
        order["order_no"].as_str().expect("a number").to_owned()
    });
    placed.buffered(10).collect().await
}

fn one_of(product: i64) -> Value {
    json!({ "items": [{ "product_id": product, "quantity": 1 }] })
}

async fn no_order_is_pending(servers: &Servers) {
    eventually("no order is pending", Duration::from_secs(20), async || {
        (servers.number(PENDING).await == 0).then_some(())
    })
    .await;
}

async fn nothing_is_lost(servers: &Servers) {
    for law in [WRONG_STOCK, WITHOUT_LOG] {
        assert_eq!(servers.number(law).await, 0, "{law}");
    }
    eventually("each order has a message", Duration::from_secs(20), async || {
        (servers.number(WITHOUT_MESSAGE).await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn orders_that_end_together_are_cancelled_in_bulk() {
    let servers = Servers::start().await;
    let shop = servers.unthrottled_shop().start().await;
    let users = servers.insert_users(&shop, 60).await;
    let (common, other, on_sale) = (
        shop.product(json!({ "stock": 1000 })).await,
        shop.product(json!({ "stock": 1000 })).await,
        shop.product(json!({ "stock": 50 })).await,
    );
    let rule = json!({ "effect": { "kind": "amount_off", "amount_cents": 100 } });
    let (claimed, unclaimed) = (shop.coupon(json!({ "rule": rule })).await, shop.coupon(json!({ "rule": rule })).await);
    let activity = shop.flash_sale(on_sale, json!({ "stock": 40 })).await;

    // Four kinds of orders of each user: of one product, of two, with a claimed coupon, with one that was not claimed.
    for user in &users {
        user.post(&format!("/api/user/coupon/{claimed}/claim")).await.is(201);
    }
    let orders = users.iter().flat_map(|user| {
        let two = json!([{ "product_id": other, "quantity": 2 }, { "product_id": common, "quantity": 1 }]);
        let with = |code: &str| {
            let mut order = one_of(common);
            order["coupon_code"] = json!(code);
            (user, order)
        };
        [(user, one_of(common)), (user, json!({ "items": two })), with(&claimed), with(&unclaimed)]
    });
    let placed = place(orders).await;
    let mut tickets = Vec::new();
    for user in &users[..40] {
        tickets.push(buy(user, activity).await.is(202));
    }
    for (user, ticket) in users.iter().zip(&tickets) {
        booked_order(user, ticket).await;
    }
    // The first user pays for one of them.
    users[0].pay(&placed[0]).await.is(200);
    assert_eq!(shop.get(&format!("/api/seckill/{activity}")).await.is(200)["left"], 0);

    servers.expire_all_orders().await;
    no_order_is_pending(&servers).await;
    assert_eq!(users[0].get_order(&placed[0]).await["status"], "paid");
    // Two hundred at a time.
    assert!(servers.number("SELECT COUNT(DISTINCT cancelled_at) FROM orders").await <= 4, "not in bulk");
    assert_eq!(shop.stock(common).await, Stock { available: 999, reserved: 0, sold: 1 });
    assert_eq!(shop.stock(other).await, Stock { available: 1000, reserved: 0, sold: 0 });
    assert_eq!(shop.stock(on_sale).await, Stock { available: 10, reserved: 40, sold: 0 });
    nothing_is_lost(&servers).await;

    // The units are on sale again, and who had one may buy again.
    eventually("the units are on sale again", Duration::from_secs(5), async || {
        let sale = shop.get(&format!("/api/seckill/{activity}")).await.is(200);
        (sale["left"] == 40).then_some(())
    })
    .await;
    let again = buy(&users[39], activity).await.is(202);
    booked_order(&users[39], &again).await;
    assert_eq!(servers.number("SELECT booked FROM seckill_activities").await, 1);
    assert_eq!(servers.number("SELECT COUNT(*) FROM seckill_tickets WHERE live = 1").await, 1);

    // A claimed coupon is the user's again, another one nobody's.
    const OF_CLAIMED: &str = "SELECT COUNT(*) FROM user_coupons WHERE order_no IS NULL AND used_at IS NULL";
    assert_eq!(servers.number(OF_CLAIMED).await, 60);
    assert_eq!(servers.number("SELECT COUNT(*) FROM user_coupons").await, 60);
    assert_eq!(servers.number("SELECT CAST(SUM(taken) AS SIGNED) FROM coupons").await, 60);
    eventually("no job is left", Duration::from_secs(10), async || {
        let left = "SELECT COUNT(*) FROM jobs WHERE queue IN ('notify', 'fulfil') AND state <> 'dead'";
        (servers.number(left).await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_poison_order_among_a_hundred_holds_up_no_other() {
    let servers = Servers::start().await;
    let shop = servers.unthrottled_shop().start().await;
    let users = servers.insert_users(&shop, 20).await;
    let product = shop.product(json!({ "stock": 1000 })).await;
    let orders = place(users.iter().cycle().take(100).map(|user| (user, one_of(product)))).await;
    // More than is reserved: the stock's constraint refuses to give it back.
    let mut mysql = servers.mysql().await;
    let poison = "UPDATE order_items SET quantity = 1000000 WHERE order_no = ?";
    mysql.exec_drop(poison, (&orders[57],)).await.expect("an item");
    // There is no such order: it is refused, which no retry changes.
    let unknown = "INSERT INTO jobs (queue, state, due_at, payload, created_at)
                   VALUES ('timer', 'queued', 0, '{\"order_no\":\"01ARZ3NDEKTSV4RRFFQ69G5FAV\"}', 0)";
    mysql.query_drop(unknown).await.expect("a job");
    servers.expire_all_orders().await;
    eventually("the others are cancelled", Duration::from_secs(10), async || {
        (servers.number(PENDING).await == 1).then_some(())
    })
    .await;
    // Halved seven times for each, not done one by one.
    let batches = servers.number("SELECT COUNT(DISTINCT cancelled_at) FROM orders").await;
    assert!(batches <= 16, "{batches} batches");
    eventually("the job of the unknown order is dead", Duration::from_secs(10), async || {
        (servers.number("SELECT COUNT(*) FROM jobs WHERE state = 'dead'").await == 1).then_some(())
    })
    .await;
    assert_eq!(servers.number("SELECT attempts FROM jobs WHERE state = 'dead'").await, 1);

    // The poison order was tried, and is tried again.
    mysql.query_drop("UPDATE order_items SET quantity = 1").await.expect("an item");
    no_order_is_pending(&servers).await;
    assert_eq!(shop.stock(product).await, Stock { available: 1000, reserved: 0, sold: 0 });
    nothing_is_lost(&servers).await;
}

/// A job that fails is tried until a day has passed since its first attempt, however often that is.
#[tokio::test]
async fn a_job_is_tried_for_a_day() {
    const HOUR_MS: i64 = 3_600_000;
    let servers = Servers::start().await;
    let shop = DedicatedShop::on(&servers).start().await;
    let (user, product) = (shop.user().await, shop.product(json!({})).await);
    user.new_order(&[(product, 1)]).await;
    let mut mysql = servers.mysql().await;
    mysql.query_drop("UPDATE order_items SET quantity = 1000000").await.expect("an item");
    for (hours, attempts, state) in [(0, 1, "queued"), (23, 31, "queued"), (25, 41, "dead")] {
        let age = "
            UPDATE jobs SET due_at = 0, attempts = ? - 1, last_error = NULL,
                            first_tried_at = IF(? = 0, NULL, UNIX_TIMESTAMP() * 1000 - ?)
            WHERE queue = 'timer' AND state = 'queued'";
        mysql.exec_drop(age, (attempts, hours, hours * HOUR_MS)).await.expect("a job");
        servers.wake("timer").await;
        let found = eventually("it has failed again", Duration::from_secs(20), async || {
            let job = "SELECT state FROM jobs WHERE queue = 'timer' AND last_error IS NOT NULL AND attempts >= ?";
            servers.mysql().await.exec_first::<String, _, _>(job, (attempts,)).await.expect("a job")
        })
        .await;
        assert_eq!(found, state, "{hours} hours after its first attempt");
    }
    // `retry` gives it another day.
    mysql.query_drop("UPDATE order_items SET quantity = 1").await.expect("an item");
    crate::workers::jobs(&servers, &["retry", "--queue", "timer"]);
    no_order_is_pending(&servers).await;
}

/// What follows a payment is done in bulk, too.
#[tokio::test]
async fn shipped_orders_complete_in_bulk_and_their_pairs_are_counted() {
    let servers = Servers::start().await;
    let shop = servers.unthrottled_shop().variable("auto_ship", true).start().await;
    let users = servers.insert_users(&shop, 20).await;
    let (a, b) = (shop.product(json!({ "stock": 1000 })).await, shop.product(json!({ "stock": 1000 })).await);
    let both = json!({ "items": [{ "product_id": b, "quantity": 1 }, { "product_id": a, "quantity": 1 }] });
    let orders = place(users.iter().cycle().take(60).map(|user| (user, both.clone()))).await;
    stream::iter(users.iter().cycle().zip(&orders))
        .for_each_concurrent(10, async |(user, order)| drop(user.pay(order).await.is(200)))
        .await;
    eventually("all are shipped and counted", Duration::from_secs(20), async || {
        let open = "SELECT (SELECT COUNT(*) FROM orders WHERE status <> 'shipped')
                         + (SELECT COUNT(*) FROM jobs WHERE payload LIKE '%relate%')";
        (servers.number(open).await == 0).then_some(())
    })
    .await;
    assert_eq!(servers.number("SELECT MIN(times) FROM product_pairs").await, 60);
    assert_eq!(servers.number("SELECT COUNT(*) FROM product_pairs").await, 2);
    // One is received, and so completed, before.
    users[7].post(&format!("/api/order/{}/confirm", orders[7])).await.is(200);
    let mut mysql = servers.mysql().await;
    let due = "UPDATE jobs SET due_at = 0 WHERE queue = 'fulfil' AND payload LIKE '%complete%'";
    mysql.query_drop(due).await.expect("jobs");
    servers.wake("fulfil").await;
    eventually("all complete", Duration::from_secs(20), async || {
        (servers.number("SELECT COUNT(*) FROM orders WHERE status <> 'completed'").await == 0).then_some(())
    })
    .await;
    assert!(servers.number("SELECT COUNT(DISTINCT completed_at) FROM orders").await <= 4, "not in bulk");
    let confirmed = "SELECT COUNT(*) FROM order_log WHERE cause = 'confirmed'";
    assert_eq!(servers.number(confirmed).await, 60);
    assert_eq!(shop.stock(a).await, Stock { available: 940, reserved: 0, sold: 60 });
}
