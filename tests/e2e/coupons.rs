//! Coupons: claimed, redeemed once, given back.

use std::time::{Duration, SystemTime};

use futures::future::{join, join_all};
use serde_json::{Value, json};

use crate::harness::{Call, DedicatedShop, Reply, Servers, Shop, Stock, User, encode, eventually, hostile, unique};

// What the `detail` of a refusal says: `coupon_invalid` has no other field for the reason.
const BELOW_MINIMUM: &str = "do not reach its minimum";
const LIMIT_OF_USER: &str = "reached this coupon's limit";
const NO_DISCOUNT: &str = "would not lower the price";
const NO_PRODUCT: &str = "does not apply to any";
const OVER: &str = "has expired";
const TOO_EARLY: &str = "not valid yet";
const UNKNOWN: &str = "no coupon with this code";
const USED_UP: &str = "fully claimed";

fn from_now(seconds: u64) -> String {
    humantime::format_rfc3339_millis(SystemTime::now() + Duration::from_secs(seconds)).to_string()
}

fn off(amount: i64) -> Value {
    json!({ "effect": { "kind": "amount_off", "amount_cents": amount } })
}

fn order_with_coupon(user: &User, product: i64, code: &str) -> Call {
    let item = json!({ "product_id": product, "quantity": 1 });
    user.post("/api/order").json(json!({ "items": [item], "coupon_code": code }))
}

fn quote(user: &User, code: &str) -> Call {
    user.post("/api/checkout/quote").json(json!({ "coupon_code": code }))
}

fn claim(user: &User, code: &str) -> Call {
    user.post(&format!("/api/user/coupon/{}/claim", encode(code)))
}

fn order_no(order: &Value) -> &str {
    order["order_no"].as_str().unwrap_or_else(|| panic!("no order: {order}"))
}

async fn coupons_of(user: &User) -> Vec<Value> {
    user.get("/api/user/coupon").await.is(200)["items"].as_array().expect("items").clone()
}

/// How many of a coupon have been claimed or redeemed.
async fn taken(shop: &Shop, code: &str) -> i64 {
    let admin = shop.admin().await;
    let mut cursor = String::new();
    loop {
        let page = admin.get(&format!("/api/admin/coupon?limit=100{cursor}")).await.is(200);
        let found = page["items"].as_array().expect("items").iter().find(|coupon| coupon["code"] == code);
        if let Some(coupon) = found {
            return coupon["taken"].as_i64().expect("a count");
        }
        cursor = format!("&cursor={}", page["next_cursor"].as_str().expect("the coupon is in the list"));
    }
}

#[track_caller]
fn assert_refused(reply: &Reply, reason: &str) {
    let problem = reply.problem(409, "coupon_invalid");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(reason)), "{reason}: {reply}");
}

#[tokio::test]
async fn a_claimed_coupon_is_used_once_whatever_the_case_of_its_code() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    let code = shop.coupon(json!({ "name": "Three off", "rule": off(300) })).await;
    let claimed = claim(&user, &code.to_lowercase()).await.is(201);
    assert_eq!(
        (&claimed["code"], &claimed["state"], &claimed["order_no"]),
        (&json!(code), &json!("unused"), &Value::Null)
    );
    assert_eq!(coupons_of(&user).await, [claimed]);
    assert_refused(&claim(&user, &code).await, LIMIT_OF_USER);

    user.add_to_cart(product, 2).await;
    let cart = user.cart().await;
    let quote = quote(&user, &code.to_lowercase()).await.is(200);
    let discount = json!({ "name": "Three off", "amount_cents": 300, "coupon_code": code });
    assert_eq!((&quote["discounts"], &quote["total_cents"]), (&json!([discount]), &json!(1700)), "{quote}");
    assert_eq!(user.cart().await, cart, "a quote does not change the cart");
    assert_eq!(coupons_of(&user).await[0]["state"], "unused");

    let order = user.post("/api/checkout").json(json!({ "coupon_code": code.to_lowercase() })).await.is(201);
    assert_eq!((&order["discounts"], &order["total_cents"]), (&json!([discount]), &json!(1700)), "{order}");
    assert_eq!(order["items"][0]["discount_cents"], 300, "{order}");
    let used = coupons_of(&user).await;
    assert_eq!((used.len(), &used[0]["state"], &used[0]["order_no"]), (1, &json!("used"), &order["order_no"]));
    assert!(used[0]["used_at"].is_string());
    assert_refused(&order_with_coupon(&user, product, &code).await, LIMIT_OF_USER);
    assert_eq!(user.pay(order_no(&order)).await.is(200)["amount_cents"], 1700);
}

#[tokio::test]
async fn a_coupon_can_be_used_without_claiming_it() {
    let shop = Shop::running();
    let (user, other) = (shop.user().await, shop.user().await);
    let product = shop.product(json!({})).await;
    let code = shop.coupon(json!({ "rule": off(300), "total_limit": 1 })).await;
    let order = order_with_coupon(&user, product, &code).await.is(201);
    assert_eq!(order["total_cents"], 700);
    let used = coupons_of(&user).await;
    assert_eq!((&used[0]["state"], &used[0]["claimed_at"]), (&json!("used"), &Value::Null));
    other.add_to_cart(product, 1).await;
    for late in [order_with_coupon(&other, product, &code), quote(&other, &code), claim(&other, &code)] {
        assert_refused(&late.await, USED_UP);
    }
}

#[tokio::test]
async fn a_claimed_coupon_counts_towards_the_limit_and_is_reserved() {
    let shop = Shop::running();
    let (user, other) = (shop.user().await, shop.user().await);
    let product = shop.product(json!({})).await;
    let code = shop.coupon(json!({ "rule": off(300), "total_limit": 1 })).await;
    claim(&user, &code).await.is(201);
    assert_refused(&order_with_coupon(&other, product, &code).await, USED_UP);
    assert_eq!(order_with_coupon(&user, product, &code).await.is(201)["total_cents"], 700);
    assert_eq!(taken(&shop, &code).await, 1);
}

#[tokio::test]
async fn a_coupon_that_does_not_apply_is_refused_with_the_reason() {
    let shop = Shop::running();
    let user = shop.user().await;
    let (product, other) = (shop.product(json!({})).await, shop.product(json!({})).await);
    user.add_to_cart(product, 1).await;
    let scoped = json!({ "effect": { "kind": "percent_off", "percent": 10 }, "product_ids": [other] });
    let dear = json!({ "effect": { "kind": "percent_off", "percent": 10 }, "minimum_cents": 1001 });
    let nothing = json!({ "effect": { "kind": "nth_item", "nth": 2, "percent": 10 } });
    let cases = [
        (json!({ "rule": off(1), "starts_at": from_now(100) }), TOO_EARLY),
        (
            json!({ "rule": off(1), "starts_at": "2020-01-01T00:00:00.000Z", "ends_at": "2021-01-01T00:00:00.000Z" }),
            OVER,
        ),
        (json!({ "rule": scoped }), NO_PRODUCT),
        (json!({ "rule": dear }), BELOW_MINIMUM),
        (json!({ "rule": nothing }), NO_DISCOUNT),
    ];
    for (fields, reason) in cases {
        let code = shop.coupon(fields).await;
        let checkout = user.post("/api/checkout").json(json!({ "coupon_code": code }));
        for call in [quote(&user, &code), checkout, order_with_coupon(&user, product, &code)] {
            assert_refused(&call.await, reason);
        }
        assert_eq!(taken(&shop, &code).await, 0);
    }
    assert_refused(&quote(&user, "NOSUCH").await, UNKNOWN);
    assert_eq!(shop.stock(product).await, Stock { available: 100, reserved: 0, sold: 0 });
    assert_eq!(user.cart().await["items"].as_array().map(Vec::len), Some(1), "the cart stays");
}

#[tokio::test]
async fn a_refusal_is_in_the_language_of_the_user_or_else_of_the_request() {
    let shop = Shop::running();
    let user = shop.user().await;
    let detail = async |languages: &str| {
        quote(&user, "NOSUCH").header("accept-language", languages).await.problem(409, "coupon_invalid")["detail"]
            .clone()
    };
    assert_eq!(detail("zh-CN,en;q=0.5").await, "优惠码不存在");
    assert_eq!(detail("fr").await, "There is no coupon with this code");
    user.put("/api/user/profile").json(json!({ "locale": "zh-CN" })).await.is(200);
    assert_eq!(detail("en").await, "优惠码不存在");
}

#[tokio::test]
async fn a_coupon_applies_after_promotions() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    let half = json!({ "effect": { "kind": "percent_off", "percent": 50 }, "product_ids": [product] });
    let promotion = shop.promotion(json!({ "rule": half, "exclusive": true })).await;
    let tenth = json!({ "effect": { "kind": "percent_off", "percent": 10 }, "minimum_cents": 500 });
    let code = shop.coupon(json!({ "rule": tenth })).await;
    let order = order_with_coupon(&user, product, &code).await.is(201);
    let given: Vec<_> =
        order["discounts"].as_array().expect("discounts").iter().map(|d| d["amount_cents"].clone()).collect();
    assert_eq!(given, [500, 50], "{order}");
    assert_eq!(order["discounts"][0]["promotion_id"], promotion);
    assert_eq!(order["items"][0]["discount_cents"], 550);
}

#[tokio::test]
async fn of_fifty_concurrent_buyers_one_gets_the_last_coupon() {
    let shop = Shop::running();
    let buyers = shop.buyers(50).await;
    let product = shop.product(json!({ "stock": 100 })).await;
    for claimed in [false, true] {
        let code = shop.coupon(json!({ "rule": off(300), "total_limit": 1 })).await;
        let calls = buyers.iter().map(|buyer| match claimed {
            true => claim(buyer, &code).into_future(),
            false => order_with_coupon(buyer, product, &code).into_future(),
        });
        let replies = join_all(calls).await;
        let (accepted, rejected): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 201);
        assert_eq!(accepted.len(), 1);
        rejected.iter().for_each(|reply| assert_refused(reply, USED_UP));
        assert_eq!(taken(&shop, &code).await, 1);
    }
    assert_eq!(shop.stock(product).await, Stock { available: 99, reserved: 1, sold: 0 });
}

#[tokio::test]
async fn concurrent_orders_of_one_user_use_the_coupon_once() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    let code = shop.coupon(json!({ "rule": off(300), "total_limit": 100 })).await;
    let replies = join_all((0..20).map(|_| order_with_coupon(&user, product, &code).into_future())).await;
    let (placed, refusals): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 201);
    assert_eq!(placed.len(), 1);
    refusals.iter().for_each(|reply| assert_refused(reply, LIMIT_OF_USER));
    assert_eq!((taken(&shop, &code).await, coupons_of(&user).await.len()), (1, 1));
    assert_eq!(shop.stock(product).await.reserved, 1);

    // With a limit of three, three orders succeed.
    let code = shop.coupon(json!({ "rule": off(300), "per_user_limit": 3 })).await;
    let replies = join_all((0..20).map(|_| order_with_coupon(&user, product, &code).into_future())).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 201).count(), 3);
}

#[tokio::test]
async fn a_repeated_request_redeems_one_coupon() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    let code = shop.coupon(json!({ "rule": off(300), "per_user_limit": 5 })).await;
    let key = unique();
    let first = order_with_coupon(&user, product, &code).key(&key).await;
    let repeated = join_all((0..5).map(|_| order_with_coupon(&user, product, &code).key(&key).into_future())).await;
    for reply in repeated {
        assert_eq!(reply.is(201), first.is(201));
        assert!(reply.replayed());
    }
    assert_eq!((taken(&shop, &code).await, coupons_of(&user).await.len()), (1, 1));
}

#[tokio::test]
async fn a_cancelled_order_gives_its_coupon_back() {
    let shop = Shop::running();
    let (user, other) = (shop.user().await, shop.user().await);
    let product = shop.product(json!({})).await;

    // A claimed coupon goes back to its user.
    let code = shop.coupon(json!({ "rule": off(300), "total_limit": 1 })).await;
    claim(&user, &code).await.is(201);
    let order = order_with_coupon(&user, product, &code).await.is(201);
    user.cancel(order_no(&order)).await.is(200);
    let returned = &coupons_of(&user).await[0];
    assert_eq!(
        (&returned["state"], &returned["order_no"], &returned["used_at"]),
        (&json!("unused"), &Value::Null, &Value::Null)
    );
    assert_refused(&order_with_coupon(&other, product, &code).await, USED_UP);
    order_with_coupon(&user, product, &code).await.is(201);

    // One that was not claimed is available to everyone again.
    let code = shop.coupon(json!({ "rule": off(300), "total_limit": 1 })).await;
    let order = order_with_coupon(&user, product, &code).await.is(201);
    user.cancel(order_no(&order)).await.is(200);
    assert_eq!(taken(&shop, &code).await, 0);
    assert_eq!(
        user.get_order(order_no(&order)).await["discounts"][0]["coupon_code"],
        code,
        "the order still shows its discount"
    );
    order_with_coupon(&other, product, &code).await.is(201);
    assert_refused(&order_with_coupon(&user, product, &code).await, USED_UP);
}

#[tokio::test]
async fn an_expired_order_gives_its_coupon_back() {
    let servers = Servers::start().await;
    let shop = DedicatedShop::on(&servers).variable("order_ttl_seconds", 1).start().await;
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    let code = shop.coupon(json!({ "rule": off(300), "total_limit": 1 })).await;
    claim(&user, &code).await.is(201);
    for _ in 0..2 {
        let order = order_with_coupon(&user, product, &code).await.is(201);
        eventually("the order expires", Duration::from_secs(20), async || {
            (user.get_order(order_no(&order)).await["status"] == "cancelled").then_some(())
        })
        .await;
        assert_eq!(coupons_of(&user).await[0]["state"], "unused");
        assert_eq!(shop.stock(product).await, Stock { available: 100, reserved: 0, sold: 0 });
    }
}

#[tokio::test]
async fn a_refund_returns_the_amount_paid_but_not_the_coupon() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    let code = shop.coupon(json!({ "rule": off(300) })).await;
    let order = order_with_coupon(&user, product, &code).await.is(201);
    user.pay(order_no(&order)).await.is(200);
    let path = format!("/api/order/{}/refund", order_no(&order));
    let requested = user.post(&path).json(json!({ "reason": "no" })).await.is(202);
    assert_eq!(requested["refund"]["amount_cents"], 700);
    eventually("the refund succeeds", Duration::from_secs(40), async || {
        (user.get_order(order_no(&order)).await["status"] == "refunded").then_some(())
    })
    .await;
    assert_refused(&order_with_coupon(&user, product, &code).await, LIMIT_OF_USER);
    assert_eq!(coupons_of(&user).await[0]["state"], "used");
}

#[tokio::test]
async fn a_failed_order_redeems_no_coupon() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 0 })).await;
    let code = shop.coupon(json!({ "rule": off(300) })).await;
    order_with_coupon(&user, product, &code).await.problem(409, "out_of_stock");
    assert_eq!((taken(&shop, &code).await, coupons_of(&user).await.len()), (0, 0));
}

#[tokio::test]
async fn concurrent_orders_and_cancellations_keep_count_of_coupons() {
    let shop = Shop::running();
    let buyers = shop.buyers(40).await;
    let (one, two) = (shop.product(json!({ "stock": 1000 })).await, shop.product(json!({ "stock": 1000 })).await);
    let limit = 15;
    let code = shop.coupon(json!({ "rule": off(300), "total_limit": limit, "per_user_limit": 2 })).await;
    let orders = buyers.iter().enumerate().map(async |(index, buyer)| {
        if index % 5 == 0 {
            claim(buyer, &code).await;
        }
        let mut paid = 0;
        for turn in 0..3 {
            let items = if (index + turn) % 2 == 0 { [one, two] } else { [two, one] };
            let items = items.map(|product| json!({ "product_id": product, "quantity": 1 }));
            let order = json!({ "items": items, "coupon_code": code });
            let reply = buyer.post("/api/order").json(order).await;
            if reply.status != 201 {
                reply.problem(409, "coupon_invalid");
                continue;
            }
            let order = reply.json();
            match turn {
                0 => drop(buyer.cancel(order_no(&order)).await.is(200)),
                // Of the two one succeeds.
                _ => {
                    let (pay, cancel) = (buyer.pay(order_no(&order)), buyer.cancel(order_no(&order)));
                    let (pay, cancel) = join(pay.into_future(), cancel.into_future()).await;
                    assert!(matches!((pay.status, cancel.status), (200, 409) | (409, 200)), "{pay}\n{cancel}");
                    paid += i64::from(pay.status == 200);
                }
            }
        }
        paid
    });
    let paid: i64 = join_all(orders).await.into_iter().sum();
    let counts = join_all(buyers.iter().map(async |buyer| {
        let coupons = coupons_of(buyer).await;
        let of_code = coupons.iter().filter(|coupon| coupon["code"] == code.as_str());
        let (used, unused): (Vec<_>, Vec<_>) = of_code.partition(|coupon| coupon["state"] == "used");
        assert!(used.len() + unused.len() <= 2);
        (used.len() as i64, unused.len() as i64)
    }))
    .await;
    let used: i64 = counts.iter().map(|count| count.0).sum();
    let unused: i64 = counts.iter().map(|count| count.1).sum();
    assert_eq!(used, paid);
    let taken = taken(&shop, &code).await;
    assert_eq!(taken, used + unused);
    assert!(taken <= limit, "{taken}");
    for product in [one, two] {
        assert_eq!(shop.stock(product).await, Stock { available: 1000 - paid, reserved: 0, sold: paid });
    }
}

#[tokio::test]
async fn a_users_coupons_are_private_and_paginated() {
    let shop = Shop::running();
    let (user, other) = (shop.user().await, shop.user().await);
    let mut codes = Vec::new();
    for _ in 0..3 {
        let code = shop.coupon(json!({ "rule": off(1) })).await;
        claim(&user, &code).await.is(201);
        codes.insert(0, code);
    }
    let first = user.get("/api/user/coupon?limit=2").await.is(200);
    let cursor = first["next_cursor"].as_str().expect("more").to_owned();
    let second = user.get(&format!("/api/user/coupon?limit=2&cursor={cursor}")).await.is(200);
    let all = [&first, &second].into_iter().flat_map(|page| page["items"].as_array().expect("items"));
    assert_eq!(all.map(|coupon| coupon["code"].clone()).collect::<Vec<_>>(), codes);
    assert_eq!(second["next_cursor"], Value::Null);
    assert_eq!(coupons_of(&other).await, [] as [Value; 0]);
    user.get("/api/user/coupon?limit=0").await.invalid("limit");
    user.get("/api/user/coupon?cursor=nonsense").await.invalid("cursor");
}

#[tokio::test]
async fn staff_change_and_delete_coupons() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let product = shop.product(json!({})).await;
    let code = format!("W-{}", unique()).to_uppercase();
    let coupon = json!({ "name": "First", "code": code.to_lowercase(), "rule": off(100), "total_limit": 9 });
    let created = admin.post("/api/admin/coupon").json(coupon.clone()).await.is(201);
    assert_eq!((&created["code"], &created["taken"], &created["per_user_limit"]), (&json!(code), &json!(0), &json!(1)));
    let path = format!("/api/admin/coupon/{}", created["coupon_id"]);
    assert_eq!(admin.get(&path).await.is(200), created);
    admin.post("/api/admin/coupon").json(coupon.clone()).await.invalid("code");

    claim(&user, &code).await.is(201);
    let change = json!({ "name": "Second", "code": code, "rule": off(250), "ends_at": from_now(1000) });
    let changed = admin.put(&path).json(change).await.is(200);
    assert_eq!(
        (&changed["name"], &changed["total_limit"], &changed["taken"]),
        (&json!("Second"), &Value::Null, &json!(1))
    );
    let order = order_with_coupon(&user, product, &code).await.is(201);
    assert_eq!((&order["total_cents"], &order["discounts"][0]["name"]), (&json!(750), &json!("Second")));

    admin.delete(&path).await.is(204);
    for call in [admin.get(&path), admin.put(&path).json(coupon.clone()), admin.delete(&path)] {
        call.await.problem(404, "not_found");
    }
    claim(&user, &code).await.problem(404, "not_found");
    // The cancelled order gives back a coupon that no longer exists.
    user.cancel(order_no(&order)).await.is(200);
    let left = &coupons_of(&user).await[0];
    assert_eq!((&left["state"], &left["code"], &left["name"]), (&json!("expired"), &Value::Null, &json!("Second")));
    assert_refused(&order_with_coupon(&user, product, &code).await, UNKNOWN);
    // The code is free for another coupon.
    admin.post("/api/admin/coupon").json(coupon).await.is(201);
    assert_eq!(order_with_coupon(&user, product, &code).await.is(201)["total_cents"], 900);
}

#[tokio::test]
async fn an_expired_coupon_can_not_be_claimed_or_used() {
    let shop = Shop::running();
    let user = shop.user().await;
    let early = shop.coupon(json!({ "rule": off(1), "starts_at": from_now(100) })).await;
    assert_eq!(claim(&user, &early).await.is(201)["state"], "unused", "it can be claimed before it starts");
    let code = shop.coupon(json!({ "rule": off(1), "ends_at": from_now(2) })).await;
    claim(&user, &code).await.is(201);
    let other = shop.user().await;
    eventually("the coupon expires", Duration::from_secs(10), async || {
        (coupons_of(&user).await[0]["state"] == "expired").then_some(())
    })
    .await;
    assert_refused(&claim(&other, &code).await, OVER);
}

#[tokio::test]
async fn hostile_coupon_codes_are_refused() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let product = shop.product(json!({})).await;
    user.add_to_cart(product, 1).await;
    for text in hostile() {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        for call in [quote(&user, &text), order_with_coupon(&user, product, &text)] {
            let reply = call.await;
            assert!(matches!(reply.code().as_str(), "coupon_invalid" | "invalid"), "{reply}");
        }
        if !plain {
            claim(&user, &text).await.problem(404, "not_found");
            let coupon = json!({ "name": "Less", "code": text, "rule": off(1) });
            admin.post("/api/admin/coupon").json(coupon).await.invalid("code");
        }
    }
    let whole = |change: Value| {
        let mut coupon = json!({ "name": "Less", "code": format!("C-{}", unique()), "rule": off(1) });
        for (name, value) in change.as_object().expect("fields") {
            coupon[name] = value.clone();
        }
        admin.post("/api/admin/coupon").json(coupon)
    };
    whole(json!({ "code": "X".repeat(33) })).await.invalid("code");
    whole(json!({ "total_limit": 0 })).await.invalid("total_limit");
    whole(json!({ "per_user_limit": 0 })).await.invalid("per_user_limit");
    whole(json!({ "per_user_limit": 1001 })).await.invalid("per_user_limit");
    whole(json!({ "rule": off(0) })).await.invalid("rule.effect.amount_cents");
}
