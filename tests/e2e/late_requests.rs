//! A request that was answered with 503 or 408 has no effect, then or later.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Access, AtCommit, DedicatedShop, Endpoints, Proxy, Servers, environment, eventually, unique};

/// Sends the headers, waits for the reply, and only then sends the body. Returns the status.
async fn send_body_late(authority: &str, head: &str, body: &str) -> u16 {
    let mut stream = TcpStream::connect(authority).await.expect("the shop listens");
    stream.write_all(head.as_bytes()).await.expect("the shop reads");
    let mut buffer = [0; 4096];
    let read = stream.read(&mut buffer).await.expect("a reply");
    let reply = String::from_utf8_lossy(&buffer[..read]).into_owned();
    let status = reply.split(' ').nth(1).and_then(|status| status.parse().ok());
    // The shop may have closed the connection.
    let _ = stream.write_all(body.as_bytes()).await;
    let _ = stream.shutdown().await;
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    status.unwrap_or_else(|| panic!("no status: {reply}"))
}

#[tokio::test]
async fn a_body_that_comes_after_the_reply_has_no_effect() {
    let servers = Servers::start().await;
    let own = DedicatedShop::on(&servers).start().await;
    let endpoints = Endpoints::of(&own).await;
    eventually("the ticket of the flash sale is booked", Duration::from_secs(10), async || {
        (servers.number("SELECT COUNT(*) FROM seckill_tickets").await == 1).then_some(())
    })
    .await;
    let quantities = async || {
        let cart = endpoints.user.cart().await;
        let items = cart["items"].as_array().expect("items").iter();
        items.map(|item| (item["product_id"].clone(), item["quantity"].clone())).collect::<Vec<_>>()
    };
    let cart = quantities().await;
    let tables = servers.checksums().await;
    let late = endpoints.with_body().map(|endpoint| {
        let token = match endpoint.access {
            Access::Public => String::new(),
            Access::User => format!("authorization: Bearer {}\r\n", endpoints.user.access),
            Access::Staff(_) => format!("authorization: Bearer {}\r\n", endpoints.admin.access),
        };
        let body = endpoint.body.as_ref().expect("a body").to_string();
        let head = format!(
            "{} {} HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n{token}content-length: {}\r\n\r\n",
            endpoint.method,
            endpoint.path,
            body.len()
        );
        let authority = own.authority();
        async move { (endpoint, send_body_late(authority, &head, &body).await) }
    });
    for (endpoint, status) in join_all(late).await {
        assert!(matches!(status, 408 | 503), "{endpoint}: {status}");
    }
    assert_eq!(quantities().await, cart);
    assert_eq!(servers.checksums().await, tables);
}

#[tokio::test]
async fn a_sign_up_that_mysql_kept_waiting_does_not_happen() {
    let mysql = Proxy::to(&environment("MALL_MYSQL_URL")).await;
    let shop = DedicatedShop::builder().mysql(mysql.url()).start().await;
    let form = json!({ "username": format!("u-{}", unique()), "password": "long enough" });
    mysql.freeze();
    shop.post("/api/user/register").json(form.clone()).await.problem(503, "unavailable");
    mysql.restore();
    eventually("the shop recovers", Duration::from_secs(10), async || {
        let ready = shop.get("/ready").unchecked().await;
        (ready.status == 200).then_some(())
    })
    .await;
    shop.post("/api/user/login").json(form.clone()).await.problem(401, "invalid_credentials");
    shop.post("/api/user/register").json(form).await.is(201);
}

/// Spin gives a function the request before its body, so that the time there is the function's own.
#[tokio::test]
async fn the_time_that_a_body_takes_is_part_of_the_request() {
    let mysql = Proxy::to(&environment("MALL_MYSQL_URL")).await;
    let shop = DedicatedShop::builder().mysql(mysql.url()).start().await;
    mysql.freeze();
    let body = json!({ "username": format!("u-{}", unique()), "password": "long enough" }).to_string();
    let head = format!(
        "POST /api/user/register HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let started = Instant::now();
    let mut stream = TcpStream::connect(shop.authority()).await.expect("the shop listens");
    stream.write_all(head.as_bytes()).await.expect("the shop reads");
    tokio::time::sleep(Duration::from_secs(3)).await;
    stream.write_all(body.as_bytes()).await.expect("the shop reads");
    let mut buffer = [0; 4096];
    let read = stream.read(&mut buffer).await.expect("a reply");
    let reply = String::from_utf8_lossy(&buffer[..read]);
    assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_change_of_the_cart_that_redis_kept_waiting_does_not_happen() {
    let redis = Proxy::to(&environment("MALL_REDIS_URL")).await;
    let shop = DedicatedShop::builder().redis(redis.url()).start().await;
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    let activity = shop.flash_sale(product, json!({ "stock": 5 })).await;
    let cart = user.add_to_cart(product, 1).await;
    redis.freeze();
    let item = json!({ "product_id": product, "quantity": 2 });
    let calls = [
        user.post("/api/cart").json(item.clone()),
        user.put("/api/cart").json(item),
        user.delete("/api/cart/clear"),
        user.delete(&format!("/api/cart?product_id={product}")),
        user.post("/api/seckill").json(json!({ "activity_id": activity })),
    ];
    for reply in join_all(calls.map(IntoFuture::into_future)).await {
        reply.problem(503, "unavailable");
    }
    redis.restore();
    let now = eventually("the shop recovers", Duration::from_secs(10), async || {
        let cart = user.get("/api/cart").await;
        (cart.status == 200).then(|| cart.json())
    })
    .await;
    assert_eq!(now, cart);
    let sale = shop.get(&format!("/api/seckill/{activity}")).await.is(200);
    assert_eq!(sale["left"], 5, "{sale}");
}

#[tokio::test]
async fn an_order_whose_commit_lost_its_connection_is_looked_up() {
    let mysql = Proxy::to(&environment("MALL_MYSQL_URL")).await;
    let shop = DedicatedShop::builder().mysql(mysql.url()).start().await;
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    mysql.at_commit("INSERT INTO orders", AtCommit::Close);
    let order = user.place_order(&[(product, 1)]).await.is(201);
    let order_no = order["order_no"].as_str().expect("a number");
    user.get(&format!("/api/order/{order_no}")).await.is(200);
}

#[tokio::test]
async fn an_unknown_outcome_is_told_later_to_the_same_key() {
    let mysql = Proxy::to(&environment("MALL_MYSQL_URL")).await;
    let shop = DedicatedShop::builder().mysql(mysql.url()).start().await;
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    mysql.at_commit("INSERT INTO orders", AtCommit::Cut);
    let key = unique();
    user.place_order(&[(product, 1)]).key(&key).await.problem(503, "outcome_unknown");
    mysql.restore();
    let reply = eventually("the shop recovers", Duration::from_secs(10), async || {
        let reply = user.place_order(&[(product, 1)]).key(&key).await;
        (reply.status != 503).then_some(reply)
    })
    .await;
    reply.is(201);
    assert!(reply.replayed(), "{reply}");
    assert_eq!(shop.stock(product).await.reserved, 1);
}

#[tokio::test]
async fn an_order_is_confirmed_even_if_redis_hangs_after_the_commit() {
    let mysql = Proxy::to(&environment("MALL_MYSQL_URL")).await;
    let redis = Proxy::to(&environment("MALL_REDIS_URL")).await;
    let shop = DedicatedShop::builder().mysql(mysql.url()).redis(redis.url()).start().await;
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    mysql.at_commit("INSERT INTO orders", AtCommit::Freeze(redis.clone()));
    user.place_order(&[(product, 1)]).await.is(201);
    redis.restore();
}
