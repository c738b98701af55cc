//! Flash sales under fire: never one too many, never one too few.

use std::future::IntoFuture;
use std::process::Command;
use std::time::Duration;

use futures::future::{join, join_all};
use futures::stream::{self, StreamExt};
use serde_json::json;

use crate::harness::{Proxy, Servers, Shop, Stock, User, environment, eventually};
use crate::seckill::{buying, in_seconds, ordered};

/// What came of many tries: new tickets, and refusals by code. What the shop could not answer is left out.
async fn tries(users: &[User], rounds: usize, activity: i64, at_once: usize) -> usize {
    let tries = (0..rounds).flat_map(|_| users.iter());
    let accepted = stream::iter(tries)
        .map(async |user| match buying(user, activity).lenient().attempt().await {
            Ok(reply) => {
                let code = reply.code();
                let known = ["", "seckill_sold_out", "seckill_ended", "seckill_limit", "unavailable", "internal"];
                assert!(known.contains(&code.as_str()), "{reply}");
                usize::from(reply.status == 202)
            }
            // Its runtime was killed.
            Err(_) => 0,
        })
        .buffer_unordered(at_once);
    accepted.fold(0, async |sum, one| sum + one).await
}

/// Every accepted ticket is one order; of its user, at the sale's price; and stock adds up.
async fn adds_up(servers: &Servers, shop: &Shop, product: i64, orders: i64) {
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
    let shop = servers.shop().start().await;
    let product = shop.product(json!({ "stock": 80 })).await;
    let activity = shop.sale(product, json!({ "stock": 50 })).await;
    let users = servers.crowd(&shop, 300).await;
    let accepted = tries(&users, 3, activity, 64).await;
    assert_eq!(accepted, 50);
    adds_up(&servers, &shop, product, 50).await;
    assert_eq!(servers.number("SELECT MAX(n) FROM (SELECT COUNT(*) n FROM orders GROUP BY user_id) t").await, 1);
    assert_eq!(shop.stock(product).await, Stock { available: 30, reserved: 50, sold: 0 });
    // A winner's ticket is an order, a loser has none.
    for user in &users[..20] {
        let again = buying(user, activity).await;
        match again.status {
            200 => drop(ordered(user, &again.json()).await),
            _ => drop(again.problem(409, "seckill_sold_out")),
        }
    }
}

#[tokio::test]
async fn twenty_thousand_tries_at_three_replicas_sell_a_thousand_units() {
    let servers = Servers::start().await;
    let first = servers.shop().start().await;
    let (second, third) = join(servers.shop().start(), servers.shop().start()).await;
    let product = first.product(json!({ "stock": 1000 })).await;
    let activity = first.sale(product, json!({ "stock": 1000, "per_user_limit": 3 })).await;
    let users = servers.crowd(&first, 2000).await;
    let shops = [&first, &second, &third];
    let users: Vec<_> = users
        .into_iter()
        .enumerate()
        .map(|(index, user)| User { shop: Shop::clone(shops[index % shops.len()]), ..user })
        .collect();
    let accepted = tries(&users, 10, activity, 96).await;
    assert_eq!(accepted, 1000);
    adds_up(&servers, &first, product, 1000).await;
    let most = servers.number("SELECT MAX(n) FROM (SELECT COUNT(*) n FROM orders GROUP BY user_id) t").await;
    assert!(most <= 3, "{most} orders of one user");
    assert_eq!(first.stock(product).await, Stock { available: 0, reserved: 1000, sold: 0 });
}

#[tokio::test]
async fn a_runtime_killed_in_mid_sale_loses_and_doubles_no_ticket() {
    let servers = Servers::start().await;
    let mut doomed = servers.shop().start().await;
    let product = doomed.product(json!({ "stock": 500 })).await;
    let activity = doomed.sale(product, json!({ "stock": 400 })).await;
    let users = servers.crowd(&doomed, 1000).await;
    // Twice, so that it also happens while tickets are being booked.
    for part in [&users[..300], &users[300..600]] {
        let part: Vec<_> = part.iter().map(|user| User { shop: Shop::clone(&doomed), ..user.clone() }).collect();
        let kill = async {
            tokio::time::sleep(Duration::from_millis(120)).await;
            doomed.kill();
        };
        join(tries(&part, 2, activity, 32), kill).await;
        doomed = servers.shop().start().await;
    }
    let all: Vec<_> = users.iter().map(|user| User { shop: Shop::clone(&doomed), ..user.clone() }).collect();
    tries(&all, 1, activity, 32).await;
    // What Redis let in is what is booked: all units, each once.
    adds_up(&servers, &doomed, product, 400).await;
}

#[tokio::test]
async fn a_redis_killed_in_mid_sale_comes_back_with_its_tickets() {
    let mut servers = Servers::start().await;
    let shop = servers.shop().start().await;
    let product = shop.product(json!({ "stock": 300 })).await;
    let activity = shop.sale(product, json!({ "stock": 300 })).await;
    let users = servers.crowd(&shop, 600).await;
    let breaks = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        servers.kill_redis();
        tokio::time::sleep(Duration::from_millis(300)).await;
        servers.start_redis().await;
    };
    join(tries(&users, 1, activity, 16), breaks).await;
    eventually("the shop recovers", Duration::from_secs(20), async || {
        (shop.get("/ready").lenient().await.status == 200).then_some(())
    })
    .await;
    tries(&users, 2, activity, 32).await;
    adds_up(&servers, &shop, product, 300).await;
}

#[tokio::test]
async fn a_mysql_that_is_away_while_tickets_are_booked_loses_none() {
    let servers = Servers::start().await;
    let line = Proxy::before(servers.mysql_url()).await;
    let shop = servers.shop().mysql(line.url()).start().await;
    let product = shop.product(json!({ "stock": 300 })).await;
    let activity = shop.sale(product, json!({ "stock": 200 })).await;
    let users = servers.crowd(&shop, 300).await;
    line.cut();
    // Buying does without MySQL.
    let accepted = tries(&users, 1, activity, 32).await;
    assert_eq!(accepted, 200);
    line.mend();
    adds_up(&servers, &shop, product, 200).await;
}

#[tokio::test]
async fn a_sale_that_redis_has_lost_is_written_anew_and_sells_no_unit_twice() {
    let servers = Servers::start().await;
    let shop = servers.shop().start().await;
    let product = shop.product(json!({ "stock": 100 })).await;
    let activity = shop.sale(product, json!({ "stock": 100 })).await;
    let users = servers.crowd(&shop, 300).await;
    assert_eq!(tries(&users[..60], 1, activity, 16).await, 60);
    adds_up(&servers, &shop, product, 60).await;
    let mut redis = servers.redis().await;
    let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await.expect("emptied");
    let reply = eventually("the sale is there again", Duration::from_secs(10), async || {
        let reply = buying(&users[100], activity).lenient().await;
        (reply.status == 202).then_some(reply)
    })
    .await;
    assert_eq!(reply.status, 202);
    // Who has one has it still.
    let same = buying(&users[0], activity).await.is(200);
    ordered(&users[0], &same).await;
    tries(&users, 1, activity, 32).await;
    adds_up(&servers, &shop, product, 100).await;

    // A count that is wrong is put right by the command.
    let key = format!("{{sk:{activity}}}:sale");
    let _: () = redis::cmd("HSET").arg(&key).arg("left").arg(70).query_async(&mut redis).await.expect("spoilt");
    let done = Command::new(environment("MALL_BIN"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["seckill", "rebuild", &activity.to_string()])
        .args(["--mysql", servers.mysql_url(), "--redis", &servers.redis_url()])
        .output()
        .expect("MALL_BIN runs");
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("0 left"), "{said}");
    assert_eq!(tries(&users, 1, activity, 32).await, 0);
}

/// Redis lost its last writes: it lets in more than there are, and the worker does not book them.
#[tokio::test]
async fn what_redis_sells_too_many_of_fails_and_is_not_booked() {
    let servers = Servers::start().await;
    let shop = servers.shop().start().await;
    let product = shop.product(json!({ "stock": 20 })).await;
    let activity = shop.sale(product, json!({ "stock": 10 })).await;
    let users = servers.crowd(&shop, 30).await;
    assert_eq!(tries(&users[..10], 1, activity, 10).await, 10);
    adds_up(&servers, &shop, product, 10).await;
    let mut redis = servers.redis().await;
    let key = format!("{{sk:{activity}}}:sale");
    let _: () = redis::cmd("HSET").arg(&key).arg("left").arg(3).query_async(&mut redis).await.expect("spoilt");
    let reply = buying(&users[20], activity).await;
    // An instance may still know that it was sold out.
    let reply = if reply.status == 202 {
        reply
    } else {
        tokio::time::sleep(Duration::from_millis(250)).await;
        buying(&users[20], activity).await
    };
    let ticket = reply.is(202);
    let path = format!("/api/seckill/ticket/{}", ticket["ticket"].as_str().expect("a ticket"));
    eventually("the ticket fails", Duration::from_secs(10), async || {
        (users[20].get(&path).await.is(200)["status"] == "failed").then_some(())
    })
    .await;
    adds_up(&servers, &shop, product, 10).await;
}

/// As when the worker dies between its commit and the acknowledgement.
#[tokio::test]
async fn a_ticket_that_comes_again_is_booked_once() {
    let servers = Servers::start().await;
    let shop = servers.shop().start().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    let activity = shop.sale(product, json!({ "stock": 5 })).await;
    let user = &servers.crowd(&shop, 1).await[0];
    let bought = buying(user, activity).await.is(202);
    let order = ordered(user, &bought).await;
    let mut redis = servers.redis().await;
    let stream = format!("{{sk:{activity}}}:stream");
    for _ in 0..3 {
        let mut entry = redis::cmd("XADD");
        entry.arg(&stream).arg("*").arg("ticket").arg(bought["ticket"].as_str()).arg("user").arg(user.user_id);
        let _: String = entry.query_async(&mut redis).await.expect("an entry");
    }
    let _: i64 = redis::cmd("PUBLISH").arg("mall:drain").arg("").query_async(&mut redis).await.expect("a bell");
    eventually("what came again is done with", Duration::from_secs(40), async || {
        let left: i64 = redis::cmd("XLEN").arg(&stream).query_async(&mut redis).await.expect("a length");
        (left == 0).then_some(())
    })
    .await;
    assert_eq!(ordered(user, &bought).await, order);
    adds_up(&servers, &shop, product, 1).await;
    assert_eq!(shop.get(&format!("/api/seckill/{activity}")).await.is(200)["left"], 4);
}

/// A ticket of somebody who is no user can't be booked; those beside it are.
#[tokio::test]
async fn one_bad_ticket_holds_up_nobody() {
    let servers = Servers::start().await;
    let shop = servers.shop().start().await;
    let product = shop.product(json!({ "stock": 40 })).await;
    let activity = shop.sale(product, json!({ "stock": 40 })).await;
    let mut users = servers.crowd(&shop, 31).await;
    let bad = users.remove(15);
    sqlx::query("DELETE FROM users WHERE id = ?")
        .bind(bad.user_id)
        .execute(&mut servers.mysql().await)
        .await
        .expect("gone");
    let both = join(tries(&users, 1, activity, 31), buying(&bad, activity).into_future()).await;
    assert_eq!(both.0, 30);
    let ticket = both.1.is(202);
    adds_up(&servers, &shop, product, 30).await;
    let path = format!("/api/seckill/ticket/{}", ticket["ticket"].as_str().expect("a ticket"));
    eventually("the ticket fails", Duration::from_secs(10), async || {
        (bad.get(&path).await.is(200)["status"] == "failed").then_some(())
    })
    .await;
    let left = shop.get(&format!("/api/seckill/{activity}")).await.is(200)["left"].clone();
    assert_eq!(left, 10, "its unit is on sale again");
}

/// Nothing gets in before the first millisecond or after the last, and nothing is left behind.
#[tokio::test]
async fn at_the_edges_of_a_sale_the_clock_decides() {
    let servers = Servers::start().await;
    let shop = servers.shop().start().await;
    let product = shop.product(json!({ "stock": 100_000 })).await;
    let users = servers.crowd(&shop, 2000).await;
    let (starts, ends) = (in_seconds(1.0), in_seconds(2.0));
    let activity = shop.sale(product, json!({ "stock": 100_000, "starts_at": starts, "ends_at": ends })).await;
    // Four try all the time, each as somebody else once it has a ticket; no lane runs out of users within the second.
    let lanes = users.chunks(500).map(async |lane| {
        let mut replies = Vec::new();
        let mut users = lane.iter();
        let mut user = users.next().expect("a user");
        loop {
            let sent = in_seconds(0.0);
            if sent > in_after(&ends) {
                return replies;
            }
            let reply = buying(user, activity).await;
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
    eventually("the rest goes back", Duration::from_secs(20), async || {
        (shop.stock(product).await == Stock { available: 100_000 - accepted, reserved: accepted, sold: 0 })
            .then_some(())
    })
    .await;
    adds_up(&servers, &shop, product, accepted).await;
}

/// A little after a time.
fn in_after(time: &str) -> String {
    let time = humantime::parse_rfc3339(time).expect("a time") + Duration::from_millis(300);
    humantime::format_rfc3339_millis(time).to_string()
}
