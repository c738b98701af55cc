//! What breaks, and what may not break with it.

use std::future::IntoFuture;
use std::time::{Duration, Instant};

use futures::future::{join, join_all};
use serde_json::json;

use crate::harness::{Call, OwnShop, Proxy, Reply, Shop, User, environment, eventually};

/// A reply within the five seconds that the contract gives (and half of one for a busy machine).
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

async fn all_well_again(shop: &Shop, user: &User, product: i64) {
    eventually("the shop recovers", Duration::from_secs(10), async || {
        let ready = shop.get("/ready").lenient().await;
        (ready.status == 200).then_some(())
    })
    .await;
    // Each function has lost connections of its own.
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
    let order = user.order(&[(product, 1)]).await;
    user.paying(&order).await.is(200);
    let form = json!({ "username": user.username, "password": user.password });
    shop.post("/api/user/login").json(form).await.is(200);
    shop.user().await;
}

#[tokio::test]
async fn without_mysql_the_shop_says_so_within_5_s_and_recovers() {
    let mysql = Proxy::before(&environment("MALL_MYSQL_URL")).await;
    let shop = OwnShop::with().mysql(mysql.url()).start().await;
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 100 })).await;
    user.add(product, 1).await;
    let order = user.order(&[(product, 1)]).await;
    let needing = || {
        let form = json!({ "username": "someone-new", "password": "long enough" });
        vec![
            shop.post("/api/user/register").json(form.clone()),
            shop.post("/api/user/login").json(form),
            shop.post("/api/user/refresh").json(json!({ "refresh_token": "x".repeat(43) })),
            user.get("/api/order"),
            user.get(&format!("/api/order/{order}")),
            user.ordering(&[(product, 1)]),
            user.post("/api/checkout").json(json!({})),
            user.paying(&order),
            user.cancelling(&order),
            shop.get("/api/product?q=something+new"),
        ]
    };
    for lose in [Proxy::cut, Proxy::freeze] {
        lose(&mysql);
        all_unavailable(needing()).await;
        // Again, with connections that are known to be lost.
        all_unavailable(needing()).await;
        shop.get("/health").await.is(200);
        let ready = within_5_s(shop.get("/ready").lenient()).await;
        assert_eq!(ready.status, 503, "{ready}");
        mysql.mend();
        all_well_again(&shop, &user, product).await;
    }
    let stock = shop.stock(product).await;
    assert_eq!(stock.sum(), 100, "{stock:?}");
}

#[tokio::test]
async fn without_redis_the_shop_says_so_within_5_s_and_recovers() {
    let redis = Proxy::before(&environment("MALL_REDIS_URL")).await;
    let shop = OwnShop::with().redis(redis.url()).start().await;
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 100 })).await;
    user.add(product, 1).await;
    let item = json!({ "product_id": product, "quantity": 1 });
    for lose in [Proxy::cut, Proxy::freeze] {
        lose(&redis);
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
        // Whatever can do without it may; whatever can't says so.
        let others = vec![
            shop.get("/api/product"),
            shop.get(&format!("/api/product/{product}")),
            shop.get("/api/category"),
            user.get("/api/order"),
            user.ordering(&[(product, 1)]),
            shop.post("/api/user/login").json(json!({ "username": user.username, "password": user.password })),
        ];
        for reply in join_all(others.into_iter().map(within_5_s)).await {
            assert!(matches!(reply.status, 200 | 201 | 503), "{reply}");
        }
        shop.get("/health").await.is(200);
        let ready = within_5_s(shop.get("/ready").lenient()).await;
        assert_eq!(ready.status, 503, "{ready}");
        redis.mend();
        all_well_again(&shop, &user, product).await;
    }
    assert_eq!(user.cart().await["items"][0]["quantity"], 1, "the cart was kept");
    let stock = shop.stock(product).await;
    assert_eq!(stock.sum(), 100, "{stock:?}");
}

/// Buys and buys, cancels some, pays some, until the shop is gone or the time is up.
async fn buy_on(buyers: &[User], products: &[i64], how_long: Duration) {
    let end = Instant::now() + how_long;
    join_all(buyers.iter().enumerate().map(async |(index, buyer)| {
        let mut round = index;
        while Instant::now() < end {
            round += 1;
            let items = [(products[round % 2], 1), (products[(round + 1) % 2], 2)];
            let Ok(placed) = buyer.ordering(&items).attempt().await else {
                return;
            };
            if placed.status != 201 {
                continue;
            }
            let order = placed.json()["order_no"].as_str().unwrap_or_default().to_owned();
            let next = match round % 3 {
                0 => buyer.paying(&order),
                1 => buyer.cancelling(&order),
                _ => continue,
            };
            if next.attempt().await.is_err() {
                return;
            }
        }
    }))
    .await;
}

/// What is reserved and sold is what the buyers' orders say: no half order, no unit lost.
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
                assert_eq!(items.len(), 2, "half an order: {order}");
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
async fn a_runtime_killed_in_mid_load_leaves_no_half_order() {
    let running = Shop::running();
    let mut doomed = OwnShop::with().start().await;
    let buyers = join_all((0..8).map(|_| doomed.user())).await;
    let products =
        [running.product(json!({ "stock": 1_000_000 })).await, running.product(json!({ "stock": 1_000_000 })).await];
    let load = buy_on(&buyers, &products, Duration::from_secs(10));
    let kill = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        doomed.kill();
    };
    join(load, kill).await;
    let again = OwnShop::with().start().await;
    let buyers: Vec<User> = join_all(buyers.iter().map(|buyer| buyer.at(&again))).await;
    // MySQL rolls back what was under way when it notices that the client is gone.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let count = orders_and_stock_agree(&buyers, &products, 1_000_000).await;
    assert!(count > 10, "only {count} orders: no load to speak of");
    all_well_again(&again, &buyers[0], products[0]).await;
}

#[tokio::test]
async fn a_database_lost_in_mid_load_leaves_no_half_order() {
    let running = Shop::running();
    let mysql = Proxy::before(&environment("MALL_MYSQL_URL")).await;
    let shop = OwnShop::with().mysql(mysql.url()).start().await;
    let buyers = join_all((0..8).map(|_| shop.user())).await;
    let products =
        [running.product(json!({ "stock": 1_000_000 })).await, running.product(json!({ "stock": 1_000_000 })).await];
    let load = buy_on(&buyers, &products, Duration::from_secs(4));
    let breaks = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(700)).await;
            mysql.cut();
            tokio::time::sleep(Duration::from_millis(300)).await;
            mysql.mend();
        }
    };
    join(load, breaks).await;
    eventually("the shop recovers", Duration::from_secs(10), async || {
        let replies = join_all(buyers.iter().map(|buyer| buyer.get("/api/order?limit=1").into_future())).await;
        replies.iter().all(|reply| reply.status == 200).then_some(())
    })
    .await;
    let count = orders_and_stock_agree(&buyers, &products, 1_000_000).await;
    assert!(count > 10, "only {count} orders: no load to speak of");
}

#[tokio::test]
async fn clients_that_hang_up_leave_no_half_order() {
    let shop = Shop::running();
    let buyers = join_all((0..6).map(|_| shop.user())).await;
    let products =
        [shop.product(json!({ "stock": 1_000_000 })).await, shop.product(json!({ "stock": 1_000_000 })).await];
    join_all(buyers.iter().map(async |buyer| {
        for patience in 1..=20 {
            let order = buyer.ordering(&[(products[0], 1), (products[1], 2)]).attempt();
            let patience = Duration::from_millis(patience);
            drop(tokio::time::timeout(patience, order).await);
        }
    }))
    .await;
    // What they asked for runs to its end; then these are the last. A busy shop may say no to who waits for it too long.
    join_all(buyers.iter().map(async |buyer| {
        eventually("an order after them", Duration::from_secs(20), async || {
            let reply = buyer.ordering(&[(products[1], 1), (products[0], 1)]).await;
            if reply.status == 503 {
                return None;
            }
            Some(reply.is(201))
        })
        .await
    }))
    .await;
    let settled = async || (shop.stock(products[0]).await, shop.stock(products[1]).await);
    let mut before = settled().await;
    eventually("nothing moves any more", Duration::from_secs(10), async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = settled().await;
        (std::mem::replace(&mut before, now) == now).then_some(())
    })
    .await;
    orders_and_stock_agree(&buyers, &products, 1_000_000).await;
}

#[tokio::test]
async fn a_shop_that_finds_no_database_says_so_and_ends() {
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
    let ended = eventually("it gives up", Duration::from_secs(30), async || child.try_wait().ok().flatten()).await;
    assert_eq!(ended.code(), Some(1));
    let output = child.wait_with_output().expect("its words");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("panicked") && !said.trim().is_empty(), "{said}");
    assert!(!said.contains("wrong@"), "it shows the password: {said}");
}
