//! Whole replies, from sign-up to a refund, compared with `snapshots/`.
//!
//! After an intended change, write them again and read the difference. With a shop that runs as CONTRIBUTING.md says:
//!
//! ```text
//! INSTA_UPDATE=always cargo mall test --base-url http://127.0.0.1:3000
//! ```

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Shop, Transcript, User, eventually, unique};

fn assert_matches_snapshot(name: &str, transcript: &Transcript) {
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!(name, transcript.redacted()));
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("`{name}` in {value}"))
}

async fn new_product(shop: &Shop) -> i64 {
    shop.product(json!({ "name": "Tea 茶", "price_cents": 2500, "stock": 10 })).await
}

/// Waits until the user has this many messages: workers write them after the reply.
async fn messages(user: &User, count: usize) {
    eventually("the messages are there", Duration::from_secs(40), async || {
        let list = user.get("/api/user/message").await.is(200);
        (list["items"].as_array().map(Vec::len) == Some(count)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_order_from_sign_up_to_completion() {
    let (shop, mut transcript) = (Shop::running(), Transcript::default());
    let admin = shop.admin().await;
    let form = json!({ "username": format!("u-{}", unique()), "password": "long enough" });
    transcript.add(shop.post("/api/user/register").json(form.clone()).await, 201);
    let session = transcript.add(shop.post("/api/user/login").json(form).await, 200);
    let user = User {
        shop: shop.clone(),
        user_id: session["user"]["user_id"].as_i64().expect("a user id"),
        username: text(&session["user"], "username").to_owned(),
        password: "long enough".to_owned(),
        access: text(&session, "access_token").to_owned(),
        refresh: text(&session, "refresh_token").to_owned(),
    };

    let new = json!({ "name": "Tea 茶", "description": "Loose leaf.", "image_url": "/img/tea.webp",
                      "price_cents": 2500, "stock": 10 });
    let product = transcript.add(admin.post("/api/product").json(new).await, 201);
    let path = format!("/api/product/{}", product["product_id"]);
    transcript.add(user.get(&path).await, 200);
    let item = json!({ "product_id": product["product_id"], "quantity": 2 });
    transcript.add(user.post("/api/cart").json(item).await, 200);
    transcript.add(user.get("/api/cart").await, 200);
    transcript.add(user.post("/api/checkout/quote").json(json!({})).await, 200);

    let address = json!({ "receiver": "王小明", "phone": "+86 10 1234", "region": "北京", "detail": "长安街 1 号" });
    let address = transcript.add(user.post("/api/user/address").json(address).await, 201);
    let checkout = json!({ "address_id": address["address_id"], "note": "Leave it at the door" });
    let checkout = || user.post("/api/checkout").json(checkout.clone()).key("order-life");
    let order = transcript.add(checkout().await, 201);
    transcript.add(checkout().await, 201);
    let order_no = text(&order, "order_no");
    let path_of = |what: &str| format!("/api/order/{order_no}{what}");
    transcript.add(user.get(&path_of("")).await, 200);
    transcript.add(user.pay(order_no).await, 200);
    messages(&user, 1).await;
    let shipment = json!({ "carrier": "SF Express", "tracking_no": "SF1234567890" });
    transcript.add(admin.post(&path_of("/ship")).json(shipment).await, 200);
    messages(&user, 2).await;
    transcript.add(user.post(&path_of("/confirm")).await, 200);
    transcript.add(user.get(&path_of("/log")).await, 200);
    transcript.add(user.get("/api/user/message").await, 200);
    transcript.add(admin.delete(&path).await, 204);
    assert_matches_snapshot("completed_order", &transcript);
}

#[tokio::test]
async fn an_order_that_is_cancelled() {
    let (shop, mut transcript) = (Shop::running(), Transcript::default());
    let user = shop.user().await;
    let product = new_product(&shop).await;
    let order = transcript.add(user.place_order(&[(product, 1)]).await, 201);
    let path_of = |what: &str| format!("/api/order/{}{what}", text(&order, "order_no"));
    transcript.add(user.post(&path_of("/cancel")).json(json!({ "reason": "changed my mind" })).await, 200);
    messages(&user, 1).await;
    transcript.add(user.get("/api/order").await, 200);
    transcript.add(user.get(&path_of("/log")).await, 200);
    transcript.add(user.get("/api/user/message").await, 200);
    assert_matches_snapshot("cancelled_order", &transcript);
}

#[tokio::test]
async fn an_order_that_is_refunded() {
    let (shop, mut transcript) = (Shop::running(), Transcript::default());
    let user = shop.user().await;
    let product = new_product(&shop).await;
    let order = transcript.add(user.place_order(&[(product, 1)]).await, 201);
    let order_no = text(&order, "order_no");
    let path_of = |what: &str| format!("/api/order/{order_no}{what}");
    transcript.add(user.pay(order_no).await, 200);
    messages(&user, 1).await;
    transcript.add(user.post(&path_of("/refund")).json(json!({ "reason": "does not fit" })).await, 202);
    eventually("the refund succeeds", Duration::from_secs(40), async || {
        (user.get_order(order_no).await["status"] == "refunded").then_some(())
    })
    .await;
    messages(&user, 2).await;
    transcript.add(user.get(&path_of("")).await, 200);
    transcript.add(user.get(&path_of("/log")).await, 200);
    transcript.add(user.get("/api/user/message").await, 200);
    assert_matches_snapshot("refunded_order", &transcript);
}

#[tokio::test]
async fn problems() {
    let (shop, mut transcript) = (Shop::running(), Transcript::default());
    let user = shop.user().await;
    let product = new_product(&shop).await;
    let order = transcript.add(user.place_order(&[(product, 1)]).await, 201);
    let order_no = text(&order, "order_no");
    user.pay(order_no).await.is(200);
    transcript.add(shop.get("/api/cart").await, 401);
    transcript.add(user.get("/api/order/01ARZ3NDEKTSV4RRFFQ69G5FAV").await, 404);
    transcript.add(user.get("/api/order?status=lost&limit=1000").await, 422);
    transcript
        .add(user.post("/api/cart").json(json!({ "product_id": product, "quantity": 0, "colour": "red" })).await, 422);
    transcript.add(user.post("/api/checkout").json(json!({})).await, 422);
    transcript.add(user.post("/api/order").json(json!({ "items": [] })).await, 422);
    let cancel = format!("/api/order/{order_no}/cancel");
    transcript.add(user.post(&cancel).json(json!({})).await, 409);
    assert_matches_snapshot("problems", &transcript);
}
