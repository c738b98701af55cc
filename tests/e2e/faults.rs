//! Faults: what the shop does without MySQL or Redis, and when it is killed.

use std::future::IntoFuture;
use std::time::{Duration, Instant};

use futures::future::{join, join_all};
use serde_json::json;

use crate::harness::{Call, DedicatedShop, Proxy, Reply, Shop, User, environment, eventually};

/// Returns the reply, which must come within the five seconds of the contract (and half a second more for a busy machine).
async fn within_5_s(call: Call) -> Reply {
    let start = Instant::now();
    let reply = call.await;
    assert!(start.elapsed() < Duration::from_millis(5500), "{:?}: {reply}", start.elapsed());
    reply
}

async fn all_unavailable(calls: Vec<Call>) {
    for reply in join_all(calls.into_iter().map(within_5_s)).await {
        reply.problem(503, "unavailable");
    }
}

async fn recovers(shop: &Shop, user: &User, product: i64) {
    eventually("the shop recovers", Duration::from_secs(10), async || {
        let ready = shop.get("/ready").unchecked().await;
        (ready.status == 200).then_some(())
    })
    .await;
    // Each function has its own connections.
    eventually("every function recovers", Duration::from_secs(10), async || {
        let calls = [
            user.get("/api/cart"),
            user.get("/api/order"),
            user.post("/api/checkout/quote").json(json!({})),
            shop.get("/api/category"),
            shop.get(&format!("/api/product/{product}")),
        ];
        let replies = join_all(calls.map(Call::into_future)).await;
        replies.iter().all(|reply| reply.status == 200).then_some(())
    })
    .await;
    let order = user.new_order(&[(product, 1)]).await;
    user.pay(&order).await.is(200);
    let form = json!({ "username": user.username, "password": user.password });
    shop.post("/api/user/login").json(form).await.is(200);
    shop.user().await;
}

#[tokio::test]
async fn without_mysql_the_shop_answers_503_within_5_s_and_recovers() {
    let mysql = Proxy::to(&environment("MALL_MYSQL_URL")).await;
    let shop = DedicatedShop::builder().mysql(mysql.url()).start().await;
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 100 })).await;
    user.add_to_cart(product, 1).await;
    let order = user.new_order(&[(product, 1)]).await;
    let calls = || {
        let form = json!({ "username": "someone-new", "password": "long enough" });
        vec![
            shop.post("/api/user/register").json(form.clone()),
            shop.post("/api/user/login").json(form),
            shop.post("/api/user/refresh").json(json!({ "refresh_token": "x".repeat(43) })),
            user.get("/api/order"),
            user.get(&format!("/api/order/{order}")),
            user.place_order(&[(product, 1)]),
            user.post("/api/checkout").json(json!({})),
            user.pay(&order),
            user.cancel(&order),
            shop.get("/api/product?q=something+new"),
        ]
    };
    for disconnect in [Proxy::cut, Proxy::freeze] {
        disconnect(&mysql);
        all_unavailable(calls()).await;
        // Again, with connections that the shop knows to be lost.
        all_unavailable(calls()).await;
        shop.get("/health").await.is(200);
        let ready = within_5_s(shop.get("/ready").unchecked()).await;
        assert_eq!(ready.status, 503, "{ready}");
        mysql.restore();
        recovers(&shop, &user, product).await;
    }
    let stock = shop.stock(product).await;
    assert_eq!(stock.sum(), 100, "{stock:?}");
}

#[tokio::test]
async fn without_redis_the_shop_answers_503_within_5_s_and_recovers() {
    let redis = Proxy::to(&environment("MALL_REDIS_URL")).await;
    let shop = DedicatedShop::builder().redis(redis.url()).start().await;
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 100 })).await;
    user.add_to_cart(product, 1).await;
    let item = json!({ "product_id": product, "quantity": 1 });
    for disconnect in [Proxy::cut, Proxy::freeze] {
        disconnect(&redis);
        for _ in 0..2 {
            all_unavailable(vec![
                user.get("/api/cart"),
                user.post("/api/cart").json(item.clone()),
                user.put("/api/cart").json(item.clone()),
                user.delete("/api/cart/clear"),
                user.post("/api/checkout").json(json!({})),
                user.post("/api/checkout/quote").json(json!({})),
            ])
            .await;
        }
        // These may do without Redis; if they can't, they answer 503.
        let others = vec![
            shop.get("/api/product"),
            shop.get(&format!("/api/product/{product}")),
            shop.get("/api/category"),
            user.get("/api/order"),
            user.place_order(&[(product, 1)]),
            shop.post("/api/user/login").json(json!({ "username": user.username, "password": user.password })),
        ];
        for reply in join_all(others.into_iter().map(within_5_s)).await {
            assert!(matches!(reply.status, 200 | 201 | 503), "{reply}");
        }
        shop.get("/health").await.is(200);
        let ready = within_5_s(shop.get("/ready").unchecked()).await;
        assert_eq!(ready.status, 503, "{ready}");
        redis.restore();
        recovers(&shop, &user, product).await;
    }
    assert_eq!(user.cart().await["items"][0]["quantity"], 1, "the cart is still there");
    let stock = shop.stock(product).await;
    assert_eq!(stock.sum(), 100, "{stock:?}");
}

/// Places orders, pays some and cancels some, until the shop is gone or the time is up.
async fn place_orders(buyers: &[User], products: &[i64], how_long: Duration) {
    let end = Instant::now() + how_long;
    join_all(buyers.iter().enumerate().map(async |(index, buyer)| {
        let mut round = index;
        while Instant::now() < end {
            round += 1;
            let items = [(products[round % 2], 1), (products[(round + 1) % 2], 2)];
            let Ok(placed) = buyer.place_order(&items).try_send().await else {
                return;
            };
            if placed.status != 201 {
                continue;
            }
            let order = placed.json()["order_no"].as_str().unwrap_or_default().to_owned();
            let next = match round % 3 {
                0 => buyer.pay(&order),
                1 => buyer.cancel(&order),
                _ => continue,
            };
            if next.try_send().await.is_err() {
                return;
            }
        }
    }))
    .await;
}

/// Checks that the stock is what the buyers' orders say, and that no order is partial. Returns the number of orders.
async fn orders_and_stock_agree(buyers: &[User], products: &[i64], stocked: i64) -> usize {
    let mut reserved = vec![0; products.len()];
    let mut sold = vec![0; products.len()];
    let mut count = 0;
    for buyer in buyers {
        let mut cursor = String::new();
        loop {
            let list = buyer.get(&format!("/api/order?limit=100{cursor}")).await.is(200);
            for order in list["items"].as_array().expect("items") {
                count += 1;
                let items = order["items"].as_array().expect("items");
                assert_eq!(items.len(), 2, "a partial order: {order}");
                let total: i64 = items.iter().filter_map(|item| item["amount_cents"].as_i64()).sum();
                assert_eq!(order["total_cents"], total, "{order}");
                for item in items {
                    let index =
                        products.iter().position(|product| item["product_id"] == *product).expect("one of them");
                    let quantity = item["quantity"].as_i64().expect("a quantity");
                    match order["status"].as_str() {
                        Some("pending") => reserved[index] += quantity,
                        Some("cancelled" | "refunded") => {}
                        _ => sold[index] += quantity,
                    }
                }
            }
            match list["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={}", crate::harness::encode(next)),
                None => break,
            }
        }
    }
    for (index, product) in products.iter().enumerate() {
        let stock = buyers[0].shop.stock(*product).await;
        assert_eq!((stock.reserved, stock.sold), (reserved[index], sold[index]), "{stock:?}");
        assert_eq!(stock.sum(), stocked, "{stock:?}");
    }
    count
}

#[tokio::test]
async fn a_runtime_killed_under_load_leaves_no_partial_order() {
    let running = Shop::running();
    let mut first = DedicatedShop::builder().start().await;
    let buyers = join_all((0..8).map(|_| first.user())).await;
    let products =
        [running.product(json!({ "stock": 1_000_000 })).await, running.product(json!({ "stock": 1_000_000 })).await];
    let load = place_orders(&buyers, &products, Duration::from_secs(10));
    let kill = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        first.kill();
    };
    join(load, kill).await;
    let second = DedicatedShop::builder().start().await;
    let buyers: Vec<User> = join_all(buyers.iter().map(|buyer| buyer.sign_in_at(&second))).await;
    // MySQL rolls open transactions back as soon as it notices that the client is gone.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let count = orders_and_stock_agree(&buyers, &products, 1_000_000).await;
    assert!(count > 10, "only {count} orders: too little load");
    recovers(&second, &buyers[0], products[0]).await;
}

#[tokio::test]
async fn a_database_lost_under_load_leaves_no_partial_order() {
    let running = Shop::running();
    let mysql = Proxy::to(&environment("MALL_MYSQL_URL")).await;
    let shop = DedicatedShop::builder().mysql(mysql.url()).start().await;
    let buyers = join_all((0..8).map(|_| shop.user())).await;
    let products =
        [running.product(json!({ "stock": 1_000_000 })).await, running.product(json!({ "stock": 1_000_000 })).await];
    let load = place_orders(&buyers, &products, Duration::from_secs(4));
    let breaks = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(700)).await;
            mysql.cut();
            tokio::time::sleep(Duration::from_millis(300)).await;
            mysql.restore();
        }
    };
    join(load, breaks).await;
    eventually("the shop recovers", Duration::from_secs(10), async || {
        let replies = join_all(buyers.iter().map(|buyer| buyer.get("/api/order?limit=1").into_future())).await;
        replies.iter().all(|reply| reply.status == 200).then_some(())
    })
    .await;
    let count = orders_and_stock_agree(&buyers, &products, 1_000_000).await;
    assert!(count > 10, "only {count} orders: too little load");
}

#[tokio::test]
async fn clients_that_disconnect_leave_no_partial_order() {
    let shop = Shop::running();
    let buyers = join_all((0..6).map(|_| shop.user())).await;
    let products =
        [shop.product(json!({ "stock": 1_000_000 })).await, shop.product(json!({ "stock": 1_000_000 })).await];
    join_all(buyers.iter().map(async |buyer| {
        for patience in 1..=20 {
            let order = buyer.place_order(&[(products[0], 1), (products[1], 2)]).try_send();
            let patience = Duration::from_millis(patience);
            drop(tokio::time::timeout(patience, order).await);
        }
    }))
    .await;
    // The abandoned requests run to their end. A busy shop may answer 503 to one that waits for them.
    join_all(buyers.iter().map(async |buyer| {
        eventually("an order succeeds", Duration::from_secs(20), async || {
            let reply = buyer.place_order(&[(products[1], 1), (products[0], 1)]).await;
            if reply.status == 503 {
                return None;
            }
            Some(reply.is(201))
        })
        .await
    }))
    .await;
    let stocks = async || (shop.stock(products[0]).await, shop.stock(products[1]).await);
    let mut before = stocks().await;
    eventually("the stock no longer changes", Duration::from_secs(10), async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = stocks().await;
        (std::mem::replace(&mut before, now) == now).then_some(())
    })
    .await;
    orders_and_stock_agree(&buyers, &products, 1_000_000).await;
}

#[tokio::test]
async fn a_shop_without_a_database_exits_with_an_error() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(environment("MALL_BIN"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["up", "--listen", "127.0.0.1:0", "--no-demo"])
        .args(["--mysql", "mysql://nobody:wrong@127.0.0.1:1/nothing", "--redis", &environment("MALL_REDIS_URL")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("MALL_BIN runs");
    let status = eventually("the shop exits", Duration::from_secs(30), async || child.try_wait().ok().flatten()).await;
    assert_eq!(status.code(), Some(1));
    let ended = child.wait_with_output().expect("its output");
    let output = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!output.contains("panicked") && !output.trim().is_empty(), "{output}");
    assert!(!output.contains("wrong@"), "the output has the password: {output}");
}
