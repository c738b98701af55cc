//! Reads that cost much are done once, and no read takes more from the databases than it shows.

use std::future::IntoFuture;
use std::time::Duration;

use futures::future::join_all;
use mysql_async::prelude::Queryable;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::harness::{DedicatedShop, Proxy, Reply, Servers, Shop, eventually};

/// Statements of the shop that wait for a table which the test has locked.
const WAITING: &str = "
    SELECT COUNT(*) FROM information_schema.processlist
    WHERE db = DATABASE() AND state LIKE 'Waiting for table%'";

/// Asks for 20 lists of different lengths at once, while the table that they are ranked by is locked. Returns the replies.
/// One statement must wait for the table; `answered` are those that must come although it is locked.
async fn lists_while_locked(servers: &Servers, shop: &Shop, path: &str, table: &str, answered: usize) -> Vec<Reply> {
    let mut mysql = servers.mysql().await;
    mysql.query_drop(format!("LOCK TABLES {table} WRITE")).await.expect("a lock");
    let calls: Vec<_> = (1..=20)
        .map(|limit| {
            let call = shop.get(&format!("{path}?limit={limit}"));
            tokio::spawn(async move { call.into_future().await })
        })
        .collect();
    let done = async || calls.iter().filter(|call| call.is_finished()).count();
    eventually("one list is being ranked", Duration::from_secs(3), async || {
        let waiting = servers.number(WAITING).await;
        assert!(waiting <= 1, "{waiting} statements rank the same list");
        (waiting == 1 && done().await >= answered).then_some(())
    })
    .await;
    // The other requests have had time to come to the database, too.
    for _ in 0..10 {
        assert_eq!(servers.number(WAITING).await, 1);
    }
    mysql.query_drop("UNLOCK TABLES").await.expect("unlocked");
    join_all(calls).await.into_iter().map(|reply| reply.expect("a reply")).collect()
}

#[tokio::test]
async fn lists_are_ranked_once_for_all_lengths() {
    let servers = Servers::start().await;
    // Requests of two runtimes, which share nothing but the databases.
    let (one, two) = (servers.unthrottled_shop().start().await, servers.unthrottled_shop().start().await);
    let user = one.user().await;
    let category = one.category(None).await;
    let mut products = Vec::new();
    for _ in 0..3 {
        products.push(one.product(json!({ "category_id": category })).await);
    }
    let order = user.new_order(&[(products[0], 1), (products[1], 2)]).await;
    user.pay(&order).await.is(200);
    eventually("the pair is counted", Duration::from_secs(20), async || {
        (servers.number("SELECT COUNT(*) FROM product_pairs").await == 2).then_some(())
    })
    .await;

    let related = format!("/api/product/{}/related", products[0]);
    for (path, table, expected) in [
        ("/api/product/hot", "order_items", vec![products[1], products[0]]),
        (related.as_str(), "product_pairs", vec![products[1], products[2]]),
    ] {
        // Nothing was ranked yet: the others wait. Then they use the old ranking.
        for (shop, answered) in [(&*one, 0), (&*two, 19)] {
            for (reply, limit) in lists_while_locked(&servers, shop, path, table, answered).await.iter().zip(1..) {
                let items = reply.is(200)["items"].as_array().expect("items").clone();
                let ids: Vec<_> = items.iter().filter_map(|item| item["product_id"].as_i64()).collect();
                assert_eq!(ids, expected[..expected.len().min(limit)], "{path}");
            }
            let mut redis = servers.redis().await;
            let key = format!(
                "ranking:{}:fresh",
                if path == "/api/product/hot" { "hot".to_owned() } else { format!("related:{}", products[0]) }
            );
            eventually("the ranking is old", Duration::from_secs(60), async || {
                let exists: bool = redis::cmd("EXISTS").arg(&key).query_async(&mut redis).await.expect("Redis");
                (!exists).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_list_of_sales_asks_redis_once() {
    let servers = Servers::start().await;
    let shop = servers.unthrottled_shop().start().await;
    for _ in 0..5 {
        let product = shop.product(json!({})).await;
        shop.flash_sale(product, json!({ "stock": 7 })).await;
    }
    let address = servers.redis_url().trim_start_matches("redis://").to_owned();
    let mut monitor = BufReader::new(tokio::net::TcpStream::connect(address).await.expect("Redis"));
    monitor.write_all(b"MONITOR\r\n").await.expect("sent");
    let mut lines = monitor.lines();
    assert_eq!(lines.next_line().await.expect("a line").as_deref(), Some("+OK"));

    let sales = shop.get("/api/seckill").await.is(200);
    let sales = sales["items"].as_array().expect("items");
    assert_eq!(sales.len(), 5);
    assert!(sales.iter().all(|sale| sale["left"] == 7), "{sales:?}");
    let mut redis = servers.redis().await;
    redis::cmd("ECHO").arg("the end").query_async::<()>(&mut redis).await.expect("Redis");
    let mut commands = Vec::new();
    loop {
        let line = lines.next_line().await.expect("a line").expect("a line");
        if line.contains("the end") {
            break;
        }
        // What a script does is not asked by the shop; what the worker does is about other keys, or no key's value.
        let is_of_a_sale = line.contains(":sale\"") && !line.contains(" lua]") && !line.contains("\"EXISTS\"");
        commands.extend(is_of_a_sale.then_some(line));
    }
    // A script that Redis does not know yet is sent a second time, as text.
    let asked = commands.iter().filter(|line| !line.contains("\"EVAL\"")).count();
    assert_eq!(asked, 1, "{commands:#?}");
}

#[tokio::test]
async fn a_list_of_orders_reads_only_the_items_that_it_shows() {
    let servers = Servers::start().await;
    let proxy = Proxy::to(servers.mysql_url()).await;
    let shop = DedicatedShop::on(&servers).mysql(proxy.url()).start().await;
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    let large = user.new_order(&[(product, 1)]).await;
    let small = user.new_order(&[(product, 1)]).await;
    let mut mysql = servers.mysql().await;
    let insert =
        "INSERT INTO order_items (order_no, line, product_id, name, image_url, price_cents, quantity, amount_cents)
                  VALUES (?, ?, 1, '', REPEAT('x', 2000), 1, 1, 1)";
    for line in 2..=100 {
        mysql.exec_drop(insert, (&large, line)).await.expect("an item");
    }
    let page = async |path: &str| {
        let before = proxy.received();
        (user.get(path).await.is(200), proxy.received() - before)
    };
    let (list, bytes) = page("/api/order?limit=1").await;
    assert_eq!(list["items"][0]["order_no"], small);
    assert!(list["next_cursor"].is_string(), "{list}");
    assert!(bytes < 100_000, "{bytes} bytes were read");
    let next = format!("/api/order?limit=1&cursor={}", list["next_cursor"].as_str().expect("a cursor"));
    let (list, bytes) = page(&next).await;
    assert_eq!(list["items"][0]["items"].as_array().map(Vec::len), Some(100));
    assert!(bytes > 100_000, "the proxy counts what is read: {bytes}");

    // Of one status, without reading the others.
    const INDEX: &str = "
        SELECT COUNT(*) FROM information_schema.STATISTICS
        WHERE TABLE_SCHEMA = DATABASE() AND INDEX_NAME = 'ix_orders_user_status' AND COLUMN_NAME = 'status'
          AND SEQ_IN_INDEX = 2";
    assert_eq!(servers.number(INDEX).await, 1);
}
