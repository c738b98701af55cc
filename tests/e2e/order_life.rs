//! Whole replies, from sign-up to a refund, compared with `snapshots/`.
//!
//! After a change that is meant, write them anew with
//! `INSTA_UPDATE=always cargo mall test --base-url http://127.0.0.1:3000`, and read the difference.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Shop, Story, User, eventually, unique};

/// Compares a story with its file.
fn matches_snapshot(name: &str, story: &Story) {
    let mut settings = insta::Settings::clone_current();
    settings.set_sort_maps(true);
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_json_snapshot!(name, story.redacted()));
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("`{name}` in {value}"))
}

async fn tea(shop: &Shop) -> i64 {
    shop.product(json!({ "name": "Tea 茶", "price_cents": 2500, "stock": 10 })).await
}

/// Waits until the customer has so many messages: they come after the reply.
async fn messages(user: &User, count: usize) {
    eventually("the messages come", Duration::from_secs(40), async || {
        let list = user.get("/api/user/message").await.is(200);
        (list["items"].as_array().map(Vec::len) == Some(count)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_order_from_sign_up_to_completion() {
    let (shop, mut story) = (Shop::running(), Story::default());
    let admin = shop.admin().await;
    let form = json!({ "username": format!("u-{}", unique()), "password": "long enough" });
    story.add(shop.post("/api/user/register").json(form.clone()).await, 201);
    let session = story.add(shop.post("/api/user/login").json(form).await, 200);
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
    let product = story.add(admin.post("/api/product").json(new).await, 201);
    let path = format!("/api/product/{}", product["product_id"]);
    story.add(user.get(&path).await, 200);
    let item = json!({ "product_id": product["product_id"], "quantity": 2 });
    story.add(user.post("/api/cart").json(item).await, 200);
    story.add(user.get("/api/cart").await, 200);
    story.add(user.post("/api/checkout/quote").json(json!({})).await, 200);

    let address = json!({ "receiver": "王小明", "phone": "+86 10 1234", "region": "北京", "detail": "长安街 1 号" });
    let address = story.add(user.post("/api/user/address").json(address).await, 201);
    let checkout = json!({ "address_id": address["address_id"], "note": "Leave it at the door" });
    let checkout = || user.post("/api/checkout").json(checkout.clone()).key("order-life");
    let order = story.add(checkout().await, 201);
    story.add(checkout().await, 201);
    let order_no = text(&order, "order_no");
    let path_of = |what: &str| format!("/api/order/{order_no}{what}");
    story.add(user.get(&path_of("")).await, 200);
    story.add(user.paying(order_no).await, 200);
    messages(&user, 1).await;
    let shipment = json!({ "carrier": "SF Express", "tracking_no": "SF1234567890" });
    story.add(admin.post(&path_of("/ship")).json(shipment).await, 200);
    messages(&user, 2).await;
    story.add(user.post(&path_of("/confirm")).await, 200);
    story.add(user.get(&path_of("/log")).await, 200);
    story.add(user.get("/api/user/message").await, 200);
    story.add(admin.delete(&path).await, 204);
    matches_snapshot("completed_order", &story);
}

#[tokio::test]
async fn an_order_that_is_cancelled() {
    let (shop, mut story) = (Shop::running(), Story::default());
    let user = shop.user().await;
    let product = tea(&shop).await;
    let order = story.add(user.ordering(&[(product, 1)]).await, 201);
    let path_of = |what: &str| format!("/api/order/{}{what}", text(&order, "order_no"));
    story.add(user.post(&path_of("/cancel")).json(json!({ "reason": "changed my mind" })).await, 200);
    messages(&user, 1).await;
    story.add(user.get("/api/order").await, 200);
    story.add(user.get(&path_of("/log")).await, 200);
    story.add(user.get("/api/user/message").await, 200);
    matches_snapshot("cancelled_order", &story);
}

#[tokio::test]
async fn an_order_that_is_refunded() {
    let (shop, mut story) = (Shop::running(), Story::default());
    let user = shop.user().await;
    let product = tea(&shop).await;
    let order = story.add(user.ordering(&[(product, 1)]).await, 201);
    let order_no = text(&order, "order_no");
    let path_of = |what: &str| format!("/api/order/{order_no}{what}");
    story.add(user.paying(order_no).await, 200);
    messages(&user, 1).await;
    story.add(user.post(&path_of("/refund")).json(json!({ "reason": "does not fit" })).await, 202);
    eventually("the refund succeeds", Duration::from_secs(40), async || {
        (user.see(order_no).await["status"] == "refunded").then_some(())
    })
    .await;
    messages(&user, 2).await;
    story.add(user.get(&path_of("")).await, 200);
    story.add(user.get(&path_of("/log")).await, 200);
    story.add(user.get("/api/user/message").await, 200);
    matches_snapshot("refunded_order", &story);
}

#[tokio::test]
async fn problems() {
    let (shop, mut story) = (Shop::running(), Story::default());
    let user = shop.user().await;
    let product = tea(&shop).await;
    let order = story.add(user.ordering(&[(product, 1)]).await, 201);
    let order_no = text(&order, "order_no");
    user.paying(order_no).await.is(200);
    story.add(shop.get("/api/cart").await, 401);
    story.add(user.get("/api/order/01ARZ3NDEKTSV4RRFFQ69G5FAV").await, 404);
    story.add(user.get("/api/order?status=lost&limit=1000").await, 422);
    story.add(user.post("/api/cart").json(json!({ "product_id": product, "quantity": 0, "colour": "red" })).await, 422);
    story.add(user.post("/api/checkout").json(json!({})).await, 422);
    story.add(user.post("/api/order").json(json!({ "items": [] })).await, 422);
    let cancel = format!("/api/order/{order_no}/cancel");
    story.add(user.post(&cancel).json(json!({})).await, 409);
    matches_snapshot("problems", &story);
}
