//! Limits of what a user may do, and whose address counts.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Call, DedicatedShop, Reply, Shop, User, unique};

async fn together(calls: impl IntoIterator<Item = Call>) -> Vec<Reply> {
    join_all(calls.into_iter().map(IntoFuture::into_future)).await
}

fn passed(replies: &[Reply]) -> usize {
    replies.iter().filter(|reply| reply.status == 200).count()
}

fn add(user: &User, product: i64) -> Call {
    user.post("/api/cart").json(json!({ "product_id": product, "quantity": 1 }))
}

#[tokio::test]
async fn writes_of_a_user_are_limited_whatever_they_write() {
    // Not the default limit of sign-ups: other shops count this address in the same Redis.
    let shop = DedicatedShop::builder().variable("write_rate", 1).variable("write_burst", 60).start().await;
    let (user, other) = (shop.user().await, shop.user().await);
    let product = shop.product(json!({ "stock": 10 })).await;
    let activity = shop.flash_sale(product, json!({ "stock": 5 })).await;
    let replies = together((0..100).map(|_| add(&user, product))).await;
    let passed = passed(&replies);
    assert!((60..=80).contains(&passed), "{passed} of a burst of 60 and 1 a second passed");
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        reply.problem(429, "rate_limited");
    }
    let address = json!({ "receiver": "A", "phone": "1", "region": "B", "detail": "C" });
    for refused in together([
        user.place_order(&[(product, 1)]),
        user.post("/api/user/address").json(address),
        user.delete("/api/cart/clear"),
        user.post("/api/seckill").json(json!({ "activity_id": activity })),
        shop.post("/api/user/refresh").json(json!({ "refresh_token": user.refresh })),
    ])
    .await
    {
        refused.problem(429, "rate_limited");
    }
    // What reads, and signing out.
    user.get("/api/cart").await.is(200);
    user.post("/api/checkout/quote").json(json!({})).await.is(200);
    add(&other, product).await.is(200);
    assert_eq!(user.post("/api/user/logout").await.status, 204);
}

#[tokio::test]
async fn a_user_has_ten_unpaid_orders_at_most_even_if_they_come_together() {
    let shop = DedicatedShop::builder().variable("max_pending_orders", 10).start().await;
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 100 })).await;
    let activity = shop.flash_sale(product, json!({ "stock": 5 })).await;
    user.post("/api/seckill").json(json!({ "activity_id": activity })).await.is(202);
    let replies = together((0..20).map(|_| user.place_order(&[(product, 1)]))).await;
    let placed: Vec<Value> = replies.iter().filter(|reply| reply.status == 201).map(Reply::json).collect();
    assert_eq!(placed.len(), 10);
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        reply.problem(409, "pending_limit");
    }
    user.add_to_cart(product, 1).await;
    user.post("/api/checkout").json(json!({})).await.problem(409, "pending_limit");
    let order_no = placed[0]["order_no"].as_str().expect("a number");
    user.pay(order_no).await.is(200);
    user.post("/api/checkout").json(json!({})).await.is(201);
}

async fn logins(shop: &Shop, client: &str, count: usize) -> usize {
    let login = |_| {
        let form = json!({ "username": format!("u-{}", unique()), "password": "no password" });
        shop.post("/api/user/login").header("x-forwarded-for", client).json(form)
    };
    together((0..count).map(login)).await.iter().filter(|reply| reply.status == 401).count()
}

#[tokio::test]
async fn only_a_trusted_proxy_tells_the_client_by_its_header() {
    let limited = || DedicatedShop::builder().variable("login_rate", 1).variable("login_burst", 3);
    // The tests call from addresses of their own, so that none is limited by what another did.
    let behind_proxy = limited().variable("trusted_proxies", "127.0.0.0/8, 10.0.0.0/8").start().await;
    let shop = behind_proxy.called_from([127, 77, 2, 1]);
    let [one, other] = [1, 2].map(|_| format!("2001:db8:{:x}:{:x}::", rand(), rand()));
    assert!(logins(&shop, &format!("{one}1, 10.1.1.1"), 6).await < 6);
    // The /64 counts, not the address; nor does what the client put left of it.
    shop.post("/api/user/login")
        .header("x-forwarded-for", format!("{other}9, {one}2"))
        .json(json!({ "username": "someone", "password": "no password" }))
        .await
        .problem(429, "rate_limited");
    assert_eq!(logins(&shop, &format!("{other}1"), 3).await, 3);

    let in_the_open = limited().start().await;
    let shop = in_the_open.called_from([127, 77, 2, 2]);
    logins(&shop, "198.51.100.1", 6).await;
    assert_eq!(logins(&shop, "198.51.100.2", 1).await, 0);
}

fn rand() -> u16 {
    u16::from_str_radix(&unique()[..4], 16).unwrap_or_else(|_| panic!("not hexadecimal: {}", unique()))
}

#[tokio::test]
async fn browsers_are_told_to_use_https_where_the_shop_does() {
    let shop = DedicatedShop::builder().variable("public_url", "https://shop.example").start().await;
    let reply = shop.get("/api/category").await;
    assert!(reply.header("strict-transport-security").is_some_and(|value| value.starts_with("max-age=")), "{reply}");
    assert_eq!(Shop::running().get("/api/category").await.header("strict-transport-security"), None);
}
