//! From a paid order to a completed one, and the log of how it came there.

use serde_json::{Value, json};

use crate::harness::{Call, Shop, User};

fn shipping(admin: &User, order: &str) -> Call {
    let parcel = json!({ "carrier": "SF Express", "tracking_no": "SF1234567890" });
    admin.post(&format!("/api/order/{order}/ship")).json(parcel)
}

fn confirming(user: &User, order: &str) -> Call {
    user.post(&format!("/api/order/{order}/confirm"))
}

async fn paid(shop: &Shop, user: &User) -> String {
    let product = shop.product(json!({})).await;
    let order = user.order(&[(product, 1)]).await;
    user.paying(&order).await.is(200);
    order
}

#[tokio::test]
async fn an_order_is_shipped_and_confirmed() {
    let shop = Shop::running();
    let (user, admin) = (shop.user().await, shop.admin().await);
    let order = paid(&shop, &user).await;
    let shipped = shipping(&admin, &order).await.is(200);
    assert_eq!(shipped["order_no"], order);
    assert_eq!(shipped["status"], "shipped");
    assert_eq!((&shipped["carrier"], &shipped["tracking_no"]), (&json!("SF Express"), &json!("SF1234567890")));
    assert!(shipped["shipped_at"].is_string() && shipped["completed_at"].is_null(), "{shipped}");
    let completed = confirming(&user, &order).await.is(200);
    assert_eq!(completed["status"], "completed");
    assert!(completed["completed_at"].is_string(), "{completed}");
    assert_eq!(user.see(&order).await, completed);
}

#[tokio::test]
async fn what_does_not_follow_is_refused() {
    let shop = Shop::running();
    let (user, admin) = (shop.user().await, shop.admin().await);
    let product = shop.product(json!({})).await;
    let order = user.order(&[(product, 1)]).await;
    shipping(&admin, &order).await.problem(409, "order_state");
    confirming(&user, &order).await.problem(409, "order_state");
    user.paying(&order).await.is(200);
    confirming(&user, &order).await.problem(409, "order_state");
    shipping(&admin, &order).await.is(200);
    shipping(&admin, &order).await.problem(409, "order_state");
    user.cancelling(&order).await.problem(409, "order_state");
    confirming(&user, &order).await.is(200);
    confirming(&user, &order).await.problem(409, "order_state");
}

#[tokio::test]
async fn only_an_admin_ships_and_only_the_buyer_confirms() {
    let shop = Shop::running();
    let (user, other, admin) = (shop.user().await, shop.user().await, shop.admin().await);
    let order = paid(&shop, &user).await;
    shipping(&user, &order).await.problem(403, "forbidden");
    shipping(&admin, "01ARZ3NDEKTSV4RRFFQ69G5FAV").await.problem(404, "not_found");
    shipping(&admin, &order).await.is(200);
    confirming(&other, &order).await.problem(404, "not_found");
    confirming(&admin, &order).await.problem(404, "not_found");
    assert_eq!(user.see(&order).await["status"], "shipped");
}

#[tokio::test]
async fn a_parcel_needs_carrier_and_number() {
    let shop = Shop::running();
    let (user, admin) = (shop.user().await, shop.admin().await);
    let order = paid(&shop, &user).await;
    let ship = |parcel: Value| admin.post(&format!("/api/order/{order}/ship")).json(parcel);
    ship(json!({ "carrier": "", "tracking_no": "1" })).await.invalid("carrier");
    ship(json!({ "carrier": "x".repeat(201), "tracking_no": "1" })).await.invalid("carrier");
    ship(json!({ "carrier": "x" })).await.invalid("tracking_no");
    ship(json!({ "carrier": "x", "tracking_no": "" })).await.invalid("tracking_no");
    assert_eq!(user.see(&order).await["status"], "paid");
}

#[tokio::test]
async fn the_log_tells_how_an_order_came_to_its_state() {
    let shop = Shop::running();
    let (user, other, admin) = (shop.user().await, shop.user().await, shop.admin().await);
    let order = paid(&shop, &user).await;
    shipping(&admin, &order).await.is(200);
    confirming(&user, &order).await.is(200);
    let path = format!("/api/order/{order}/log");
    let log = user.get(&path).await.is(200);
    let changes = log["items"].as_array().expect("items");
    let told: Vec<_> =
        changes.iter().map(|change| json!([change["from"], change["to"], change["cause"], change["actor"]])).collect();
    let expected = [
        json!([null, "pending", "placed", "user"]),
        json!(["pending", "paid", "paid", "user"]),
        json!(["paid", "shipped", "shipped", "admin"]),
        json!(["shipped", "completed", "confirmed", "user"]),
    ];
    assert_eq!(told, expected);
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
    let order = user.order(&[(product, 1)]).await;
    let cancel = user.post(&format!("/api/order/{order}/cancel")).json(json!({ "reason": "changed my mind" }));
    cancel.await.is(200);
    let log = user.get(&format!("/api/order/{order}/log")).await.is(200);
    let last = &log["items"][1];
    assert_eq!((&last["cause"], &last["reason"]), (&json!("cancelled"), &json!("changed my mind")));
}

#[tokio::test]
async fn two_admins_ship_an_order_once() {
    let shop = Shop::running();
    let (user, admin) = (shop.user().await, shop.admin().await);
    let order = paid(&shop, &user).await;
    let replies = futures::join!(shipping(&admin, &order).into_future(), shipping(&admin, &order).into_future());
    let mut statuses = [replies.0.status, replies.1.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
}
