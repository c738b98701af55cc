//! Refunds.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Call, Shop, Stock, User, eventually};

fn request_refund(user: &User, order: &str) -> Call {
    user.post(&format!("/api/order/{order}/refund")).json(json!({ "reason": "does not fit" }))
}

fn approve(admin: &User, order: &str) -> Call {
    admin.post(&format!("/api/order/{order}/refund/approve"))
}

fn reject(admin: &User, order: &str) -> Call {
    admin.post(&format!("/api/order/{order}/refund/reject")).json(json!({ "reason": "worn" }))
}

async fn paid_order(shop: &Shop, user: &User) -> (String, i64) {
    let product = shop.product(json!({ "stock": 5, "price_cents": 700 })).await;
    let order = user.new_order(&[(product, 2)]).await;
    user.pay(&order).await.is(200);
    (order, product)
}

async fn shipped_order(shop: &Shop, user: &User) -> (String, i64) {
    let (order, product) = paid_order(shop, user).await;
    let shipment = json!({ "carrier": "SF", "tracking_no": "1" });
    shop.admin().await.post(&format!("/api/order/{order}/ship")).json(shipment).await.is(200);
    (order, product)
}

async fn refunded(user: &User, order: &str) -> Value {
    eventually("the refund succeeds", Duration::from_secs(40), async || {
        let order = user.get_order(order).await;
        (order["status"] == "refunded").then_some(order)
    })
    .await
}

const WHOLE: Stock = Stock { available: 5, reserved: 0, sold: 0 };

#[tokio::test]
async fn before_shipping_a_refund_needs_no_approval() {
    let shop = Shop::running();
    let user = shop.user().await;
    let (order, product) = paid_order(&shop, &user).await;
    assert_eq!(user.get_order(&order).await["refund"], Value::Null);
    let requested = request_refund(&user, &order).await.is(202);
    assert_eq!((&requested["order_no"], &requested["status"]), (&json!(order), &json!("refunding")));
    let refund = &requested["refund"];
    assert_eq!((&refund["amount_cents"], &refund["reason"]), (&json!(1400), &json!("does not fit")));
    assert!(refund["refund_no"].as_str().is_some_and(|no| (1..=32).contains(&no.len())), "{refund}");
    let order_after = refunded(&user, &order).await;
    assert_eq!(order_after["refund"]["status"], "succeeded");
    assert_eq!(order_after["refund"]["refund_no"], refund["refund_no"]);
    assert_eq!(shop.stock(product).await, WHOLE);
    request_refund(&user, &order).await.problem(409, "order_state");
}

#[tokio::test]
async fn after_shipping_an_admin_approves_a_refund() {
    let shop = Shop::running();
    let (user, admin) = (shop.user().await, shop.admin().await);
    let (order, product) = shipped_order(&shop, &user).await;
    approve(&admin, &order).await.problem(409, "order_state");
    let requested = request_refund(&user, &order).await.is(202);
    assert_eq!((&requested["status"], &requested["refund"]["status"]), (&json!("refunding"), &json!("requested")));
    user.post(&format!("/api/order/{order}/confirm")).await.problem(409, "order_state");
    approve(&user, &order).await.problem(403, "forbidden");
    let approved = approve(&admin, &order).await.is(200);
    assert_eq!(approved["order_no"], order);
    assert_ne!(approved["refund"]["status"], "requested");
    refunded(&user, &order).await;
    assert_eq!(shop.stock(product).await, WHOLE);
    for call in [approve(&admin, &order), reject(&admin, &order)] {
        call.await.problem(409, "order_state");
    }
}

#[tokio::test]
async fn after_shipping_an_admin_can_reject_a_refund() {
    let shop = Shop::running();
    let (user, admin) = (shop.user().await, shop.admin().await);
    let (order, product) = shipped_order(&shop, &user).await;
    request_refund(&user, &order).await.is(202);
    reject(&user, &order).await.problem(403, "forbidden");
    let rejected = reject(&admin, &order).await.is(200);
    assert_eq!((&rejected["status"], &rejected["refund"]["status"]), (&json!("shipped"), &json!("rejected")));
    assert_eq!(rejected["refund"]["reject_reason"], "worn");
    assert_eq!(shop.stock(product).await, Stock { available: 3, reserved: 0, sold: 2 });
    // A second request makes another refund.
    let again = request_refund(&user, &order).await.is(202);
    assert_ne!(again["refund"]["refund_no"], rejected["refund"]["refund_no"]);
    reject(&admin, &order).await.is(200);
    user.post(&format!("/api/order/{order}/confirm")).await.is(200);
    request_refund(&user, &order).await.problem(409, "order_state");
}

#[tokio::test]
async fn only_the_buyers_paid_order_can_be_refunded() {
    let shop = Shop::running();
    let (user, other) = (shop.user().await, shop.user().await);
    let product = shop.product(json!({})).await;
    let pending = user.new_order(&[(product, 1)]).await;
    request_refund(&user, &pending).await.problem(409, "order_state");
    let (order, _) = paid_order(&shop, &user).await;
    request_refund(&other, &order).await.problem(404, "not_found");
    let path = format!("/api/order/{order}/refund");
    user.post(&path).json(json!({})).await.invalid("reason");
    user.post(&path).json(json!({ "reason": "" })).await.invalid("reason");
    user.post(&path).json(json!({ "reason": "x".repeat(201) })).await.invalid("reason");
    assert_eq!(user.get_order(&order).await["status"], "paid");
}

#[tokio::test]
async fn a_refunding_order_can_not_be_shipped() {
    let shop = Shop::running();
    let (user, admin) = (shop.user().await, shop.admin().await);
    let (order, _) = shipped_order(&shop, &user).await;
    request_refund(&user, &order).await.is(202);
    let shipment = json!({ "carrier": "SF", "tracking_no": "2" });
    admin.post(&format!("/api/order/{order}/ship")).json(shipment).await.problem(409, "order_state");
}

#[tokio::test]
async fn a_refund_repeated_with_its_key_is_one_refund() {
    let shop = Shop::running();
    let user = shop.user().await;
    let (order, product) = paid_order(&shop, &user).await;
    let first = request_refund(&user, &order).key("money").await;
    let second = request_refund(&user, &order).key("money").await;
    assert_eq!(first.is(202), second.is(202));
    assert!(second.replayed() && !first.replayed());
    refunded(&user, &order).await;
    assert_eq!(shop.stock(product).await, WHOLE);
}

#[tokio::test]
async fn concurrent_refund_requests_make_one_refund() {
    let shop = Shop::running();
    let user = shop.user().await;
    let (order, product) = paid_order(&shop, &user).await;
    let replies = futures::future::join_all((0..8).map(|_| request_refund(&user, &order).into_future())).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 202).count(), 1);
    for reply in replies.iter().filter(|reply| reply.status != 202) {
        reply.problem(409, "order_state");
    }
    refunded(&user, &order).await;
    assert_eq!(shop.stock(product).await, WHOLE);
}
