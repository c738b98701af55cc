//! Flash sales under load and faults: never a unit too many, never one too few.

use std::future::IntoFuture;
use std::process::Command;
use std::time::Duration;

use futures::future::{join, join_all};
use futures::stream::{self, StreamExt};
use mysql_async::prelude::Queryable;
use serde_json::json;

use crate::flash_sale::{booked_order, buy, in_seconds};
use crate::harness::{Proxy, Servers, Shop, Stock, User, environment, eventually};

/// Each user tries to buy, `rounds` times. Returns the number of new tickets; requests without a reply do not count.
async fn try_to_buy(users: &[User], rounds: usize, activity: i64, at_once: usize) -> usize {
    let attempts = (0..rounds).flat_map(|_| users.iter());
    let accepted = stream::iter(attempts)
        .map(async |user| match buy(user, activity).unchecked().try_send().await {
            Ok(reply) => {
                let code = reply.code();
                let known = ["", "seckill_sold_out", "seckill_ended", "seckill_limit", "unavailable", "internal"];
                assert!(known.contains(&code.as_str()), "{reply}");
                usize::from(reply.status == 202)
            }
            // The runtime was killed.
            Err(_) => 0,
        })
        .buffer_unordered(at_once);
    accepted.fold(0, async |sum, one| sum + one).await
}

/// Checks that every accepted ticket became one order, of its user and at the sale's price, and that the stock adds up.
async fn all_booked(servers: &Servers, shop: &Shop, product: i64, orders: i64) {
    eventually("every ticket is booked", Duration::from_secs(30), async || {
        let count = servers.number("SELECT COUNT(*) FROM seckill_tickets WHERE status = 'ordered'").await;
        assert!(count <= orders, "{count} orders of {orders} units");
        (count == orders).then_some(())
    })
    .await;
    assert_eq!(servers.number("SELECT COUNT(*) FROM orders WHERE ticket IS NOT NULL").await, orders);
    assert_eq!(servers.number("SELECT COUNT(DISTINCT ticket) FROM orders").await, orders);
    const WRONG: &str = "
        SELECT COUNT(*) FROM orders o JOIN seckill_tickets t ON t.ticket = o.ticket
        WHERE t.user_id <> o.user_id OR t.order_no <> o.order_no OR o.total_cents <> 500";
    assert_eq!(servers.number(WRONG).await, 0);
    let stock = shop.stock(product).await;
    assert_eq!(
        stock.sum(),
        servers.number("SELECT CAST(SUM(delta) AS SIGNED) FROM stock_movements").await,
        "{stock:?}"
    );
}

#[tokio::test]
async fn three_hundred_users_who_try_three_times_get_fifty_units() {
    let servers = Servers::start().await;
    let shop = servers.unthrottled_shop().start().await;
    let product = shop.product(json!({ "stock": 80 })).await;
    let activity = shop.flash_sale(product, json!({ "stock": 50 })).await;
    let users = servers.insert_users(&shop, 300).await;
    let accepted = try_to_buy(&users, 3, activity, 64).await;
    assert_eq!(accepted, 50);
    all_booked(&servers, &shop, product, 50).await;
    assert_eq!(servers.number("SELECT MAX(n) FROM (SELECT COUNT(*) n FROM orders GROUP BY user_id) t").await, 1);
    assert_eq!(shop.stock(product).await, Stock { available: 30, reserved: 50, sold: 0 });
    // A ticket has become an order; users without one find the sale sold out.
    for user in &users[..20] {
        let again = buy(user, activity).await;
        match again.status {
            200 => drop(booked_order(user, &again.json()).await),
            _ => drop(again.problem(409, "seckill_sold_out")),
        }
    }
}

#[tokio::test]
async fn twenty_thousand_tries_at_three_replicas_sell_a_thousand_units() {
    let servers = Servers::start().await;
    let first = servers.unthrottled_shop().start().await;
    let (second, third) = join(servers.unthrottled_shop().start(), servers.unthrottled_shop().start()).await;
    let product = first.product(json!({ "stock": 1000 })).await;
    let activity = first.flash_sale(product, json!({ "stock": 1000, "per_user_limit": 3 })).await;
    let users = servers.insert_users(&first, 2000).await;
    let shops = [&first, &second, &third];
    let users: Vec<_> = users
        .into_iter()
        .enumerate()
        .map(|(index, user)| User { shop: Shop::clone(shops[index % shops.len()]), ..user })
        .collect();
    let accepted = try_to_buy(&users, 10, activity, 96).await;
    assert_eq!(accepted, 1000);
    all_booked(&servers, &first, product, 1000).await;
    let most = servers.number("SELECT MAX(n) FROM (SELECT COUNT(*) n FROM orders GROUP BY user_id) t").await;
    assert!(most <= 3, "{most} orders of one user");
    assert_eq!(first.stock(product).await, Stock { available: 0, reserved: 1000, sold: 0 });
}

#[tokio::test]
async fn a_runtime_killed_during_a_sale_loses_no_ticket_and_books_none_twice() {
    let servers = Servers::start().await;
    let mut shop = servers.unthrottled_shop().start().await;
    let product = shop.product(json!({ "stock": 500 })).await;
    let activity = shop.flash_sale(product, json!({ "stock": 400 })).await;
    let users = servers.insert_users(&shop, 1000).await;
    // Twice, so that it also happens during booking.
    for part in [&users[..300], &users[300..600]] {
        let part: Vec<_> = part.iter().map(|user| User { shop: Shop::clone(&shop), ..user.clone() }).collect();
        let kill = async {
            tokio::time::sleep(Duration::from_millis(120)).await;
            shop.kill();
        };
        join(try_to_buy(&part, 2, activity, 32), kill).await;
        shop = servers.unthrottled_shop().start().await;
    }
    let all: Vec<_> = users.iter().map(|user| User { shop: Shop::clone(&shop), ..user.clone() }).collect();
    try_to_buy(&all, 1, activity, 32).await;
    // Every ticket that Redis gave out is booked, once.
    all_booked(&servers, &shop, product, 400).await;
}

#[tokio::test]
async fn a_redis_killed_during_a_sale_restarts_with_its_tickets() {
    let mut servers = Servers::start().await;
    let shop = servers.unthrottled_shop().start().await;
    let product = shop.product(json!({ "stock": 300 })).await;
    let activity = shop.flash_sale(product, json!({ "stock": 300 })).await;
    let users = servers.insert_users(&shop, 600).await;
    let breaks = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        servers.kill_redis();
        tokio::time::sleep(Duration::from_millis(300)).await;
        servers.start_redis().await;
    };
    join(try_to_buy(&users, 1, activity, 16), breaks).await;
    eventually("the shop recovers", Duration::from_secs(20), async || {
        (shop.get("/ready").unchecked().await.status == 200).then_some(())
    })
    .await;
    try_to_buy(&users, 2, activity, 32).await;
    all_booked(&servers, &shop, product, 300).await;
}

#[tokio::test]
async fn a_mysql_outage_during_booking_loses_no_ticket() {
    let servers = Servers::start().await;
    let proxy = Proxy::to(servers.mysql_url()).await;
    let shop = servers.unthrottled_shop().mysql(proxy.url()).start().await;
    let product = shop.product(json!({ "stock": 300 })).await;
    let activity = shop.flash_sale(product, json!({ "stock": 200 })).await;
    let users = servers.insert_users(&shop, 300).await;
    proxy.cut();
    // Buying does not need MySQL.
    let accepted = try_to_buy(&users, 1, activity, 32).await;
    assert_eq!(accepted, 200);
    proxy.restore();
    all_booked(&servers, &shop, product, 200).await;
}

#[tokio::test]
async fn a_sale_lost_by_redis_is_rebuilt_and_sells_no_unit_twice() {
    let servers = Servers::start().await;
    let shop = servers.unthrottled_shop().start().await;
    let product = shop.product(json!({ "stock": 100 })).await;
    let activity = shop.flash_sale(product, json!({ "stock": 100 })).await;
    let users = servers.insert_users(&shop, 300).await;
    assert_eq!(try_to_buy(&users[..60], 1, activity, 16).await, 60);
    all_booked(&servers, &shop, product, 60).await;
    let mut redis = servers.redis().await;
    let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await.expect("Redis is empty");
    let reply = eventually("the sale is rebuilt", Duration::from_secs(10), async || {
        let reply = buy(&users[100], activity).unchecked().await;
        (reply.status == 202).then_some(reply)
    })
    .await;
    assert_eq!(reply.status, 202);
    // A ticket from before is still valid.
    let same = buy(&users[0], activity).await.is(200);
    booked_order(&users[0], &same).await;
    try_to_buy(&users, 1, activity, 32).await;
    all_booked(&servers, &shop, product, 100).await;

    // `cargo mall seckill rebuild` corrects a wrong count.
    let key = format!("{{sk:{activity}}}:sale");
    let _: () =
        redis::cmd("HSET").arg(&key).arg("left").arg(70).query_async(&mut redis).await.expect("the count is changed");
    let done = Command::new(environment("MALL_BIN"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["seckill", "rebuild", &activity.to_string()])
        .args(["--mysql", servers.mysql_url(), "--redis", &servers.redis_url()])
        .output()
        .expect("MALL_BIN runs");
    let output = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && output.contains("0 left"), "{output}");
    assert_eq!(try_to_buy(&users, 1, activity, 32).await, 0);
}

/// As when Redis loses its last writes: it gives out more tickets than there are units, and the worker does not book them.
#[tokio::test]
async fn tickets_beyond_the_stock_fail_and_are_not_booked() {
    let servers = Servers::start().await;
    let shop = servers.unthrottled_shop().start().await;
    let product = shop.product(json!({ "stock": 20 })).await;
    let activity = shop.flash_sale(product, json!({ "stock": 10 })).await;
    let users = servers.insert_users(&shop, 30).await;
    assert_eq!(try_to_buy(&users[..10], 1, activity, 10).await, 10);
    all_booked(&servers, &shop, product, 10).await;
    let mut redis = servers.redis().await;
    let key = format!("{{sk:{activity}}}:sale");
    let _: () =
        redis::cmd("HSET").arg(&key).arg("left").arg(3).query_async(&mut redis).await.expect("the count is changed");
    let reply = buy(&users[20], activity).await;
    // An instance may still have the sale cached as sold out.
    let reply = if reply.status == 202 {
        reply
    } else {
        tokio::time::sleep(Duration::from_millis(250)).await;
        buy(&users[20], activity).await
    };
    let ticket = reply.is(202);
    let path = format!("/api/seckill/ticket/{}", ticket["ticket"].as_str().expect("a ticket"));
    eventually("the ticket fails", Duration::from_secs(10), async || {
        (users[20].get(&path).await.is(200)["status"] == "failed").then_some(())
    })
    .await;
    all_booked(&servers, &shop, product, 10).await;
}

/// As when the worker dies between its commit and the acknowledgement.
#[tokio::test]
async fn a_ticket_delivered_again_is_booked_once() {
    let servers = Servers::start().await;
    let shop = servers.unthrottled_shop().start().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    let activity = shop.flash_sale(product, json!({ "stock": 5 })).await;
    let user = &servers.insert_users(&shop, 1).await[0];
    let bought = buy(user, activity).await.is(202);
    let order = booked_order(user, &bought).await;
    let mut redis = servers.redis().await;
    let stream = format!("{{sk:{activity}}}:stream");
    for _ in 0..3 {
        let mut entry = redis::cmd("XADD");
        entry.arg(&stream).arg("*").arg("ticket").arg(bought["ticket"].as_str()).arg("user").arg(user.user_id);
        let _: String = entry.query_async(&mut redis).await.expect("an entry");
    }
    let _: i64 = redis::cmd("PUBLISH")
        .arg("mall:drain")
        .arg("")
        .query_async(&mut redis)
        .await
        .expect("the message is published");
    eventually("the repeated tickets are done", Duration::from_secs(40), async || {
        let left: i64 = redis::cmd("XLEN").arg(&stream).query_async(&mut redis).await.expect("a length");
        (left == 0).then_some(())
    })
    .await;
    assert_eq!(booked_order(user, &bought).await, order);
    all_booked(&servers, &shop, product, 1).await;
    assert_eq!(shop.get(&format!("/api/seckill/{activity}")).await.is(200)["left"], 4);
}

/// The ticket of a user who does not exist can't be booked; the others of its batch are.
#[tokio::test]
async fn a_bad_ticket_does_not_hold_up_others() {
    let servers = Servers::start().await;
    let shop = servers.unthrottled_shop().start().await;
    let product = shop.product(json!({ "stock": 40 })).await;
    let activity = shop.flash_sale(product, json!({ "stock": 40 })).await;
    let mut users = servers.insert_users(&shop, 31).await;
    let bad = users.remove(15);
    let delete = "DELETE FROM users WHERE id = ?";
    servers.mysql().await.exec_drop(delete, (bad.user_id,)).await.expect("the user is deleted");
    let both = join(try_to_buy(&users, 1, activity, 31), buy(&bad, activity).into_future()).await;
    assert_eq!(both.0, 30);
    let ticket = both.1.is(202);
    all_booked(&servers, &shop, product, 30).await;
    let path = format!("/api/seckill/ticket/{}", ticket["ticket"].as_str().expect("a ticket"));
    eventually("the ticket fails", Duration::from_secs(10), async || {
        (bad.get(&path).await.is(200)["status"] == "failed").then_some(())
    })
    .await;
    let left = shop.get(&format!("/api/seckill/{activity}")).await.is(200)["left"].clone();
    assert_eq!(left, 10, "the unit is on sale again");
}

/// No ticket before the first millisecond or after the last, and every remaining unit goes back.
#[tokio::test]
async fn a_sale_starts_and_ends_to_the_millisecond() {
    let servers = Servers::start().await;
    let shop = servers.unthrottled_shop().start().await;
    let product = shop.product(json!({ "stock": 100_000 })).await;
    let users = servers.insert_users(&shop, 2000).await;
    let (starts, ends) = (in_seconds(1.0), in_seconds(2.0));
    let activity = shop.flash_sale(product, json!({ "stock": 100_000, "starts_at": starts, "ends_at": ends })).await;
    // Four lanes try all the time, each with its next user after a ticket; none runs out of users within the second.
    let lanes = users.chunks(500).map(async |lane| {
        let mut replies = Vec::new();
        let mut users = lane.iter();
        let mut user = users.next().expect("a user");
        loop {
            let sent = in_seconds(0.0);
            if sent > shortly_after(&ends) {
                return replies;
            }
            let reply = buy(user, activity).await;
            if reply.status == 202 {
                user = users.next().expect("another user");
            }
            replies.push((sent, reply, in_seconds(0.0)));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let replies = join_all(lanes).await.concat();
    let mut accepted = 0;
    for (sent, reply, received) in &replies {
        match reply.code().as_str() {
            "seckill_not_started" => assert!(*sent <= starts, "{sent}: {reply}"),
            "seckill_ended" => assert!(*received >= ends, "{received}: {reply}"),
            _ => {
                reply.is(202);
                assert!(*received >= starts && *sent < ends, "{sent} {received}: {reply}");
                accepted += 1;
            }
        }
    }
    assert!(accepted > 10, "{accepted} of {}", replies.len());
    eventually("the remaining units go back", Duration::from_secs(20), async || {
        (shop.stock(product).await == Stock { available: 100_000 - accepted, reserved: accepted, sold: 0 })
            .then_some(())
    })
    .await;
    all_booked(&servers, &shop, product, accepted).await;
}

/// 300 ms after this time.
fn shortly_after(time: &str) -> String {
    let time = humantime::parse_rfc3339(time).expect("a time") + Duration::from_millis(300);
    humantime::format_rfc3339_millis(time).to_string()
}
