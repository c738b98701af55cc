//! Money back.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Call, Shop, Stock, User, eventually};

fn asking(user: &User, order: &str) -> Call {
    user.post(&format!("/api/order/{order}/refund")).json(json!({ "reason": "does not fit" }))
}

fn approving(admin: &User, order: &str) -> Call {
    admin.post(&format!("/api/order/{order}/refund/approve"))
}

fn rejecting(admin: &User, order: &str) -> Call {
    admin.post(&format!("/api/order/{order}/refund/reject")).json(json!({ "reason": "worn" }))
}

async fn paid(shop: &Shop, user: &User) -> (String, i64) {
    let product = shop.product(json!({ "stock": 5, "price_cents": 700 })).await;
    let order = user.order(&[(product, 2)]).await;
    user.paying(&order).await.is(200);
    (order, product)
}

async fn shipped(shop: &Shop, user: &User) -> (String, i64) {
    let (order, product) = paid(shop, user).await;
    let parcel = json!({ "carrier": "SF", "tracking_no": "1" });
    shop.admin().await.post(&format!("/api/order/{order}/ship")).json(parcel).await.is(200);
    (order, product)
}

async fn refunded(user: &User, order: &str) -> Value {
    eventually("the money comes back", Duration::from_secs(40), async || {
        let order = user.see(order).await;
        (order["status"] == "refunded").then_some(order)
    })
    .await
}

const WHOLE: Stock = Stock { available: 5, reserved: 0, sold: 0 };

#[tokio::test]
async fn before_shipping_the_money_comes_back_by_itself() {
    let shop = Shop::running();
    let user = shop.user().await;
    let (order, product) = paid(&shop, &user).await;
    assert_eq!(user.see(&order).await["refund"], Value::Null);
    let asked = asking(&user, &order).await.is(202);
    assert_eq!((&asked["order_no"], &asked["status"]), (&json!(order), &json!("refunding")));
    let refund = &asked["refund"];
    assert_eq!((&refund["amount_cents"], &refund["reason"]), (&json!(1400), &json!("does not fit")));
    assert!(refund["refund_no"].as_str().is_some_and(|no| (1..=32).contains(&no.len())), "{refund}");
    let order_then = refunded(&user, &order).await;
    assert_eq!(order_then["refund"]["status"], "succeeded");
    assert_eq!(order_then["refund"]["refund_no"], refund["refund_no"]);
    assert_eq!(shop.stock(product).await, WHOLE);
    asking(&user, &order).await.problem(409, "order_state");
}

#[tokio::test]
async fn after_shipping_an_admin_grants_it() {
    let shop = Shop::running();
    let (user, admin) = (shop.user().await, shop.admin().await);
    let (order, product) = shipped(&shop, &user).await;
    approving(&admin, &order).await.problem(409, "order_state");
    let asked = asking(&user, &order).await.is(202);
    assert_eq!((&asked["status"], &asked["refund"]["status"]), (&json!("refunding"), &json!("requested")));
    user.post(&format!("/api/order/{order}/confirm")).await.problem(409, "order_state");
    approving(&user, &order).await.problem(403, "forbidden");
    let granted = approving(&admin, &order).await.is(200);
    assert_eq!(granted["order_no"], order);
    assert_ne!(granted["refund"]["status"], "requested");
    refunded(&user, &order).await;
    assert_eq!(shop.stock(product).await, WHOLE);
    for late in [approving(&admin, &order), rejecting(&admin, &order)] {
        late.await.problem(409, "order_state");
    }
}

#[tokio::test]
async fn after_shipping_an_admin_rejects_it() {
    let shop = Shop::running();
    let (user, admin) = (shop.user().await, shop.admin().await);
    let (order, product) = shipped(&shop, &user).await;
    asking(&user, &order).await.is(202);
    rejecting(&user, &order).await.problem(403, "forbidden");
    let rejected = rejecting(&admin, &order).await.is(200);
    assert_eq!((&rejected["status"], &rejected["refund"]["status"]), (&json!("shipped"), &json!("rejected")));
    assert_eq!(rejected["refund"]["reject_reason"], "worn");
    assert_eq!(shop.stock(product).await, Stock { available: 3, reserved: 0, sold: 2 });
    // Asked again, it is another refund.
    let again = asking(&user, &order).await.is(202);
    assert_ne!(again["refund"]["refund_no"], rejected["refund"]["refund_no"]);
    rejecting(&admin, &order).await.is(200);
    user.post(&format!("/api/order/{order}/confirm")).await.is(200);
    asking(&user, &order).await.problem(409, "order_state");
}

#[tokio::test]
async fn what_is_not_paid_or_not_ones_own_is_not_refunded() {
    let shop = Shop::running();
    let (user, other) = (shop.user().await, shop.user().await);
    let product = shop.product(json!({})).await;
    let pending = user.order(&[(product, 1)]).await;
    asking(&user, &pending).await.problem(409, "order_state");
    let (order, _) = paid(&shop, &user).await;
    asking(&other, &order).await.problem(404, "not_found");
    let path = format!("/api/order/{order}/refund");
    user.post(&path).json(json!({})).await.invalid("reason");
    user.post(&path).json(json!({ "reason": "" })).await.invalid("reason");
    user.post(&path).json(json!({ "reason": "x".repeat(201) })).await.invalid("reason");
    assert_eq!(user.see(&order).await["status"], "paid");
}

#[tokio::test]
async fn a_refunding_order_is_not_shipped() {
    let shop = Shop::running();
    let (user, admin) = (shop.user().await, shop.admin().await);
    let (order, _) = shipped(&shop, &user).await;
    asking(&user, &order).await.is(202);
    let parcel = json!({ "carrier": "SF", "tracking_no": "2" });
    admin.post(&format!("/api/order/{order}/ship")).json(parcel).await.problem(409, "order_state");
}

#[tokio::test]
async fn a_refund_asked_for_twice_with_a_key_is_one() {
    let shop = Shop::running();
    let user = shop.user().await;
    let (order, product) = paid(&shop, &user).await;
    let first = asking(&user, &order).key("money").await;
    let second = asking(&user, &order).key("money").await;
    assert_eq!(first.is(202), second.is(202));
    assert!(second.replayed() && !first.replayed());
    refunded(&user, &order).await;
    assert_eq!(shop.stock(product).await, WHOLE);
}

#[tokio::test]
async fn of_many_who_ask_at_once_one_is_heard() {
    let shop = Shop::running();
    let user = shop.user().await;
    let (order, product) = paid(&shop, &user).await;
    let replies = futures::future::join_all((0..8).map(|_| asking(&user, &order).into_future())).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 202).count(), 1);
    for reply in replies.iter().filter(|reply| reply.status != 202) {
        reply.problem(409, "order_state");
    }
    refunded(&user, &order).await;
    assert_eq!(shop.stock(product).await, WHOLE);
}
