//! Flash sales, as the contract describes them.

use std::future::IntoFuture;
use std::time::{Duration, SystemTime};

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Call, DedicatedShop, Servers, Shop, Stock, User, eventually};

pub fn buy(user: &User, activity: i64) -> Call {
    user.post("/api/seckill").json(json!({ "activity_id": activity }))
}

pub fn in_seconds(seconds: f64) -> String {
    let (now, span) = (SystemTime::now(), Duration::from_secs_f64(seconds.abs()));
    humantime::format_rfc3339_millis(if seconds < 0.0 { now - span } else { now + span }).to_string()
}

async fn get_sale(shop: &Shop, activity: i64) -> Value {
    shop.get(&format!("/api/seckill/{activity}")).await.is(200)
}

/// Waits until the ticket is booked, and returns the number of its order.
pub async fn booked_order(user: &User, ticket: &Value) -> String {
    let path = format!("/api/seckill/ticket/{}", ticket["ticket"].as_str().expect("a ticket"));
    let ticket = eventually("the ticket is booked", Duration::from_secs(40), async || {
        let ticket = user.get(&path).await.is(200);
        (ticket["status"] != "queued").then_some(ticket)
    })
    .await;
    assert_eq!(ticket["status"], "ordered", "{ticket}");
    ticket["order_no"].as_str().expect("an order").to_owned()
}

#[tokio::test]
async fn creating_a_sale_reserves_its_units() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let product = shop.product(json!({ "stock": 50, "name": "A phone" })).await;
    let sale = json!({ "product_id": product, "stock": 20, "price_cents": 100, "starts_at": in_seconds(-60.0), "ends_at": in_seconds(600.0) });
    let created = admin.post("/api/seckill/init").json(sale.clone()).await.is(201);
    for (name, value) in [
        ("product_id", json!(product)),
        ("name", json!("A phone")),
        ("price_cents", json!(100)),
        ("stock", json!(20)),
        ("left", json!(20)),
        ("state", json!("running")),
    ] {
        assert_eq!(created[name], value, "{name}: {created}");
    }
    assert!(created["starts_at"].as_str() > Some(in_seconds(-30.0).as_str()), "a start in the past is now: {created}");
    assert_eq!(shop.stock(product).await, Stock { available: 30, reserved: 20, sold: 0 });
    let activity = created["activity_id"].as_i64().expect("an id");
    assert_eq!(get_sale(&shop, activity).await, created);
    let listed = shop.get("/api/seckill?limit=100").await.is(200);
    assert!(listed["items"].as_array().is_some_and(|items| items.contains(&created)), "{created}");
    user.post("/api/seckill/init").json(sale).await.problem(403, "forbidden");
    shop.get("/api/seckill/999999999").await.problem(404, "not_found");
}

#[tokio::test]
async fn invalid_sales_are_refused() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let product = shop.product(json!({ "stock": 5 })).await;
    let valid = json!({ "product_id": product, "stock": 5, "price_cents": 1, "starts_at": in_seconds(0.0), "ends_at": in_seconds(60.0) });
    for (field, invalid) in [
        ("product_id", json!(9_007_199_254_740_991_i64)),
        ("stock", json!(0)),
        ("stock", json!(1_000_000_001)),
        ("price_cents", json!(0)),
        ("ends_at", json!(in_seconds(-1.0))),
        ("ends_at", json!("tomorrow")),
        ("per_user_limit", json!(0)),
    ] {
        let mut sale = valid.clone();
        sale[field] = invalid;
        admin.post("/api/seckill/init").json(sale).await.invalid(field);
    }
    let mut too_many = valid.clone();
    too_many["stock"] = json!(6);
    admin.post("/api/seckill/init").json(too_many).await.problem(409, "out_of_stock");
    assert_eq!(shop.stock(product).await, Stock { available: 5, reserved: 0, sold: 0 });
    let first = admin.post("/api/seckill/init").json(valid.clone()).key(&format!("sale-{product}")).await;
    let second = admin.post("/api/seckill/init").json(valid).key(&format!("sale-{product}")).await;
    assert_eq!(first.is(201), second.is(201));
    assert_eq!(shop.stock(product).await, Stock { available: 0, reserved: 5, sold: 0 });
}

#[tokio::test]
async fn a_buyer_gets_a_ticket_that_becomes_an_order() {
    let shop = Shop::running();
    let (user, other) = (shop.user().await, shop.user().await);
    let product = shop.product(json!({ "stock": 10, "price_cents": 9900 })).await;
    let activity = shop.flash_sale(product, json!({ "stock": 2, "price_cents": 100 })).await;
    let reply = buy(&user, activity).await;
    let ticket = reply.is(202);
    assert_eq!(ticket["status"], "queued");
    assert_eq!(reply.header("location"), ticket["status_url"].as_str());
    assert!(ticket["ticket"].as_str().is_some_and(|text| (1..=32).contains(&text.len())), "{ticket}");
    let order_no = booked_order(&user, &ticket).await;
    let url = ticket["status_url"].as_str().expect("a URL");
    let status = user.get(url).await.is(200);
    assert_eq!((&status["ticket"], &status["order_no"]), (&ticket["ticket"], &json!(order_no)));
    other.get(url).await.problem(404, "not_found");
    shop.get(url).await.problem(401, "unauthenticated");

    let order = user.get_order(&order_no).await;
    assert_eq!((&order["status"], &order["total_cents"]), (&json!("pending"), &json!(100)));
    assert_eq!(order["items"][0]["price_cents"], 100);
    assert_eq!((&order["items"][0]["product_id"], &order["items"][0]["quantity"]), (&json!(product), &json!(1)));
    assert_eq!(shop.stock(product).await, Stock { available: 8, reserved: 2, sold: 0 });
    user.pay(&order_no).await.is(200);
    assert_eq!(shop.stock(product).await, Stock { available: 8, reserved: 1, sold: 1 });
    let log = user.get(&format!("/api/order/{order_no}/log")).await.is(200);
    assert_eq!(log["items"][0]["cause"], "placed");
}

#[tokio::test]
async fn buying_again_gives_the_same_ticket_even_when_sold_out() {
    let shop = Shop::running();
    let (user, other) = (shop.user().await, shop.user().await);
    let product = shop.product(json!({})).await;
    let activity = shop.flash_sale(product, json!({ "stock": 1 })).await;
    let first = buy(&user, activity).await.is(202);
    assert_eq!(buy(&user, activity).await.is(200)["ticket"], first["ticket"]);
    buy(&other, activity).await.problem(409, "seckill_sold_out");
    buy(&other, activity).await.problem(409, "seckill_sold_out");
    assert_eq!(get_sale(&shop, activity).await["state"], "sold_out");
    let again = buy(&user, activity).await.is(200);
    assert_eq!(again["ticket"], first["ticket"]);
    booked_order(&user, &first).await;
}

#[tokio::test]
async fn a_limit_of_three_allows_three_tickets() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    let activity = shop.flash_sale(product, json!({ "stock": 10, "per_user_limit": 3 })).await;
    let tickets = join_all((0..3).map(|_| buy(&user, activity).into_future())).await;
    let tickets: Vec<_> = tickets.iter().map(|reply| reply.is(202)).collect();
    buy(&user, activity).await.problem(409, "seckill_limit");
    let mut orders = join_all(tickets.iter().map(|ticket| booked_order(&user, ticket))).await;
    orders.sort();
    orders.dedup();
    assert_eq!(orders.len(), 3);
    assert_eq!(get_sale(&shop, activity).await["left"], 7);
}

#[tokio::test]
async fn nobody_buys_before_or_after_a_sale() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 30 })).await;
    let times = json!({ "starts_at": in_seconds(2.0), "ends_at": in_seconds(3.5) });
    let activity = shop.flash_sale(product, times).await;
    assert_eq!(get_sale(&shop, activity).await["state"], "upcoming");
    buy(&user, activity).await.problem(409, "seckill_not_started");
    let bought = eventually("the sale starts", Duration::from_secs(5), async || {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let reply = buy(&user, activity).await;
        (reply.status == 202).then_some(reply)
    })
    .await;
    booked_order(&user, &bought.json()).await;
    let other = shop.user().await;
    eventually("the sale ends", Duration::from_secs(10), async || {
        (get_sale(&shop, activity).await["state"] == "ended").then_some(())
    })
    .await;
    buy(&other, activity).await.problem(409, "seckill_ended");
    // The remaining units go back to the product.
    eventually("the remaining units go back", Duration::from_secs(40), async || {
        (shop.stock(product).await == Stock { available: 29, reserved: 1, sold: 0 }).then_some(())
    })
    .await;
    let sale = get_sale(&shop, activity).await;
    assert_eq!((&sale["state"], &sale["left"]), (&json!("ended"), &json!(0)));
    assert_eq!(buy(&user, activity).await.is(200)["ticket"], bought.json()["ticket"]);
    buy(&user, 999_999_999).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_ticket_stops_counting_when_its_order_is_cancelled() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    let activity = shop.flash_sale(product, json!({ "stock": 9 })).await;
    let mut tickets = Vec::new();
    for _ in 0..4 {
        let ticket = buy(&user, activity).await.is(202);
        let order = booked_order(&user, &ticket).await;
        user.cancel(&order).await.is(200);
        tickets.push(ticket["ticket"].to_string());
    }
    tickets.dedup();
    assert_eq!(tickets.len(), 4);
}

#[tokio::test]
async fn a_unit_whose_order_is_cancelled_is_on_sale_again() {
    let shop = Shop::running();
    let (user, other) = (shop.user().await, shop.user().await);
    let product = shop.product(json!({ "stock": 5 })).await;
    let activity = shop.flash_sale(product, json!({ "stock": 1 })).await;
    let ticket = buy(&user, activity).await.is(202);
    buy(&other, activity).await.problem(409, "seckill_sold_out");
    let order = booked_order(&user, &ticket).await;
    user.cancel(&order).await.is(200);
    assert_eq!(shop.stock(product).await, Stock { available: 4, reserved: 1, sold: 0 });
    let second = eventually("the unit is on sale again", Duration::from_secs(40), async || {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let reply = buy(&user, activity).await;
        (reply.status == 202).then_some(reply)
    })
    .await;
    let second = second.json();
    assert_ne!(second["ticket"], ticket["ticket"], "the same user may buy again");
    // Refunded while the sale runs, the unit is on sale a third time.
    let order = booked_order(&user, &second).await;
    user.pay(&order).await.is(200);
    user.post(&format!("/api/order/{order}/refund")).json(json!({ "reason": "no" })).await.is(202);
    let third = eventually("the unit is on sale again", Duration::from_secs(40), async || {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let reply = buy(&other, activity).await;
        (reply.status == 202).then_some(reply)
    })
    .await;
    booked_order(&other, &third.json()).await;
    assert_eq!(shop.stock(product).await, Stock { available: 4, reserved: 1, sold: 0 });
}

#[tokio::test]
async fn after_the_sale_units_go_back_to_the_product() {
    let shop = Shop::running();
    let (user, other) = (shop.user().await, shop.user().await);
    let product = shop.product(json!({ "stock": 5 })).await;
    let activity = shop.flash_sale(product, json!({ "stock": 3, "ends_at": in_seconds(1.5) })).await;
    let (one, two) = (buy(&user, activity).await.is(202), buy(&other, activity).await.is(202));
    let (one, two) = (booked_order(&user, &one).await, booked_order(&other, &two).await);
    eventually("the sale closes", Duration::from_secs(40), async || {
        (shop.stock(product).await == Stock { available: 3, reserved: 2, sold: 0 }).then_some(())
    })
    .await;
    user.cancel(&one).await.is(200);
    assert_eq!(shop.stock(product).await, Stock { available: 4, reserved: 1, sold: 0 });
    other.pay(&two).await.is(200);
    other.post(&format!("/api/order/{two}/refund")).json(json!({ "reason": "no" })).await.is(202);
    eventually("the refunded unit goes back", Duration::from_secs(40), async || {
        (shop.stock(product).await == Stock { available: 5, reserved: 0, sold: 0 }).then_some(())
    })
    .await;
    assert_eq!(get_sale(&shop, activity).await["left"], 0);
}

#[tokio::test]
async fn requests_of_one_user_are_rate_limited() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    let activity = shop.flash_sale(product, json!({ "stock": 5 })).await;
    let replies = join_all((0..14).map(|_| buy(&user, activity).into_future())).await;
    let (accepted, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status < 300);
    assert!((10..=12).contains(&accepted.len()), "{} of 14 were accepted", accepted.len());
    for reply in refused {
        reply.problem(429, "rate_limited");
        assert!(reply.header("retry-after").is_some());
    }
}

#[tokio::test]
async fn buying_needs_a_session() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    let activity = shop.flash_sale(product, json!({ "stock": 5 })).await;
    user.post("/api/user/logout").await.is(204);
    buy(&user, activity).await.problem(401, "unauthenticated");
    shop.post("/api/seckill").json(json!({ "activity_id": activity })).await.problem(401, "unauthenticated");
    assert_eq!(get_sale(&shop, activity).await["left"], 5);
}

#[tokio::test]
async fn a_unit_whose_order_expired_is_on_sale_again() {
    let servers = Servers::start().await;
    let shop = DedicatedShop::on(&servers).variable("order_ttl_seconds", 1).start().await;
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 3 })).await;
    let activity = shop.flash_sale(product, json!({ "stock": 1 })).await;
    let ticket = buy(&user, activity).await.is(202);
    let order = booked_order(&user, &ticket).await;
    eventually("the order expires", Duration::from_secs(10), async || {
        (user.get_order(&order).await["status"] == "cancelled").then_some(())
    })
    .await;
    eventually("the unit is on sale again", Duration::from_secs(40), async || {
        (get_sale(&shop, activity).await["left"] == 1).then_some(())
    })
    .await;
    assert_eq!(shop.stock(product).await, Stock { available: 2, reserved: 1, sold: 0 });
}

/// Redis may have lost what a user has bought, and admit them again.
#[tokio::test]
async fn the_limit_is_checked_again_when_tickets_are_booked() {
    let servers = Servers::start().await;
    let shop = servers.unthrottled_shop().start().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    let activity = shop.flash_sale(product, json!({ "stock": 5, "per_user_limit": 2 })).await;
    let user = shop.user().await;
    for _ in 0..2 {
        let ticket = buy(&user, activity).await.is(202);
        booked_order(&user, &ticket).await;
    }
    let mut redis = servers.redis().await;
    let mut forget = redis::cmd("DEL");
    forget.arg(format!("{{sk:{activity}}}:buyers")).query_async::<()>(&mut redis).await.expect("Redis");
    for _ in 0..2 {
        let ticket = buy(&user, activity).await.is(202);
        let path = format!("/api/seckill/ticket/{}", ticket["ticket"].as_str().expect("a ticket"));
        eventually("the ticket has failed", Duration::from_secs(10), async || {
            let ticket = user.get(&path).await.is(200);
            assert_ne!(ticket["status"], "ordered", "{ticket}");
            (ticket["status"] == "failed").then_some(())
        })
        .await;
    }
    eventually("their units are on sale again", Duration::from_secs(10), async || {
        (get_sale(&shop, activity).await["left"] == 3).then_some(())
    })
    .await;
    assert_eq!(servers.number("SELECT COUNT(*) FROM orders").await, 2);
    assert_eq!(shop.stock(product).await, Stock { available: 5, reserved: 5, sold: 0 });
    let other = shop.user().await;
    let ticket = buy(&other, activity).await.is(202);
    booked_order(&other, &ticket).await;
}
