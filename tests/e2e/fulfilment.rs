//! Shipping, confirmation, and the log of an order.

use serde_json::{Value, json};

use crate::harness::{Call, Shop, User};

fn ship(admin: &User, order: &str) -> Call {
    let shipment = json!({ "carrier": "SF Express", "tracking_no": "SF1234567890" });
    admin.post(&format!("/api/order/{order}/ship")).json(shipment)
}

fn confirm(user: &User, order: &str) -> Call {
    user.post(&format!("/api/order/{order}/confirm"))
}

async fn paid_order(shop: &Shop, user: &User) -> String {
    let product = shop.product(json!({})).await;
    let order = user.new_order(&[(product, 1)]).await;
    user.pay(&order).await.is(200);
    order
}

#[tokio::test]
async fn an_order_is_shipped_and_confirmed() {
    let shop = Shop::running();
    let (user, admin) = (shop.user().await, shop.admin().await);
    let order = paid_order(&shop, &user).await;
    let shipped = ship(&admin, &order).await.is(200);
    assert_eq!(shipped["order_no"], order);
    assert_eq!(shipped["status"], "shipped");
    assert_eq!((&shipped["carrier"], &shipped["tracking_no"]), (&json!("SF Express"), &json!("SF1234567890")));
    assert!(shipped["shipped_at"].is_string() && shipped["completed_at"].is_null(), "{shipped}");
    let completed = confirm(&user, &order).await.is(200);
    assert_eq!(completed["status"], "completed");
    assert!(completed["completed_at"].is_string(), "{completed}");
    assert_eq!(user.get_order(&order).await, completed);
}

#[tokio::test]
async fn invalid_state_transitions_are_refused() {
    let shop = Shop::running();
    let (user, admin) = (shop.user().await, shop.admin().await);
    let product = shop.product(json!({})).await;
    let order = user.new_order(&[(product, 1)]).await;
    ship(&admin, &order).await.problem(409, "order_state");
    confirm(&user, &order).await.problem(409, "order_state");
    user.pay(&order).await.is(200);
    confirm(&user, &order).await.problem(409, "order_state");
    ship(&admin, &order).await.is(200);
    ship(&admin, &order).await.problem(409, "order_state");
    user.cancel(&order).await.problem(409, "order_state");
    confirm(&user, &order).await.is(200);
    confirm(&user, &order).await.problem(409, "order_state");
}

#[tokio::test]
async fn only_admins_ship_and_only_the_buyer_confirms() {
    let shop = Shop::running();
    let (user, other, admin) = (shop.user().await, shop.user().await, shop.admin().await);
    let order = paid_order(&shop, &user).await;
    ship(&user, &order).await.problem(403, "forbidden");
    ship(&admin, "01ARZ3NDEKTSV4RRFFQ69G5FAV").await.problem(404, "not_found");
    ship(&admin, &order).await.is(200);
    confirm(&other, &order).await.problem(404, "not_found");
    confirm(&admin, &order).await.problem(404, "not_found");
    assert_eq!(user.get_order(&order).await["status"], "shipped");
}

#[tokio::test]
async fn a_shipment_needs_a_carrier_and_a_tracking_number() {
    let shop = Shop::running();
    let (user, admin) = (shop.user().await, shop.admin().await);
    let order = paid_order(&shop, &user).await;
    let ship_with = |shipment: Value| admin.post(&format!("/api/order/{order}/ship")).json(shipment);
    ship_with(json!({ "carrier": "", "tracking_no": "1" })).await.invalid("carrier");
    ship_with(json!({ "carrier": "x".repeat(201), "tracking_no": "1" })).await.invalid("carrier");
    ship_with(json!({ "carrier": "x" })).await.invalid("tracking_no");
    ship_with(json!({ "carrier": "x", "tracking_no": "" })).await.invalid("tracking_no");
    assert_eq!(user.get_order(&order).await["status"], "paid");
}

#[tokio::test]
async fn the_log_lists_every_change_of_state() {
    let shop = Shop::running();
    let (user, other, admin) = (shop.user().await, shop.user().await, shop.admin().await);
    let order = paid_order(&shop, &user).await;
    ship(&admin, &order).await.is(200);
    confirm(&user, &order).await.is(200);
    let path = format!("/api/order/{order}/log");
    let log = user.get(&path).await.is(200);
    let changes = log["items"].as_array().expect("items");
    let entries: Vec<_> =
        changes.iter().map(|change| json!([change["from"], change["to"], change["cause"], change["actor"]])).collect();
    let expected = [
        json!([null, "pending", "placed", "user"]),
        json!(["pending", "paid", "paid", "user"]),
        json!(["paid", "shipped", "shipped", "admin"]),
        json!(["shipped", "completed", "confirmed", "user"]),
    ];
    assert_eq!(entries, expected);
    assert!(changes.windows(2).all(|pair| pair[0]["at"].as_str() <= pair[1]["at"].as_str()), "{log}");
    assert_eq!(log["next_cursor"], Value::Null);
    other.get(&path).await.problem(404, "not_found");
    assert_eq!(admin.get(&path).await.is(200), log);

    let first = user.get(&format!("{path}?limit=3")).await.is(200);
    let cursor = first["next_cursor"].as_str().expect("a cursor");
    let rest = user.get(&format!("{path}?limit=3&cursor={cursor}")).await.is(200);
    assert_eq!(rest["items"], json!([changes[3]]));
}

#[tokio::test]
async fn a_cancellation_is_logged_with_its_reason() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    let order = user.new_order(&[(product, 1)]).await;
    let cancel = user.post(&format!("/api/order/{order}/cancel")).json(json!({ "reason": "changed my mind" }));
    cancel.await.is(200);
    let log = user.get(&format!("/api/order/{order}/log")).await.is(200);
    let last = &log["items"][1];
    assert_eq!((&last["cause"], &last["reason"]), (&json!("cancelled"), &json!("changed my mind")));
}

#[tokio::test]
async fn two_concurrent_shipments_ship_an_order_once() {
    let shop = Shop::running();
    let (user, admin) = (shop.user().await, shop.admin().await);
    let order = paid_order(&shop, &user).await;
    let replies = futures::join!(ship(&admin, &order).into_future(), ship(&admin, &order).into_future());
    let mut statuses = [replies.0.status, replies.1.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
}
