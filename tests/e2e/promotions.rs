//! Promotions. Each test limits its promotions to its own products, because all tests share the shop.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::harness::{DedicatedShop, Servers, Shop, User, eventually};

const SECOND: Duration = Duration::from_secs(1);

fn from_now(seconds: f64) -> String {
    humantime::format_rfc3339_millis(SystemTime::now() + Duration::from_secs_f64(seconds)).to_string()
}

fn amount_off(amount: i64, minimum: i64, products: &[i64]) -> Value {
    json!({ "effect": { "kind": "amount_off", "amount_cents": amount }, "minimum_cents": minimum, "product_ids": products })
}

fn percent_off(percent: i64, products: &[i64]) -> Value {
    json!({ "effect": { "kind": "percent_off", "percent": percent }, "product_ids": products })
}

/// Waits until the cart has this total, at most the second in which a change must be visible.
async fn cart_with_total(user: &User, total: i64) -> Value {
    eventually(&format!("the total of the cart is {total}"), SECOND, async || {
        let cart = user.cart().await;
        (cart["total_cents"] == total).then_some(cart)
    })
    .await
}

/// Checks that the cart, a quote and an order of it have these discounts and this total. Returns the order.
async fn check_totals(user: &User, discounts: &[(i64, i64)], total: i64) -> Value {
    let cart = cart_with_total(user, total).await;
    let quote = eventually("the quote has the same total", SECOND, async || {
        let quote = user.post("/api/checkout/quote").await.is(200);
        (quote["total_cents"] == total).then_some(quote)
    })
    .await;
    let order = user.post("/api/checkout").await.is(201);
    for totals in [&cart, &quote, &order] {
        let given = totals["discounts"].as_array().expect("discounts");
        let given: Vec<_> = given
            .iter()
            .map(|discount| {
                (discount["promotion_id"].as_i64().unwrap_or(0), discount["amount_cents"].as_i64().unwrap_or(0))
            })
            .collect();
        assert_eq!(given, discounts, "{totals}");
        let cents = |name: &str| totals[name].as_i64().expect("an amount");
        assert_eq!(cents("total_cents"), total, "{totals}");
        assert_eq!(cents("subtotal_cents") - cents("discount_cents"), total, "{totals}");
    }
    for priced in [&cart, &order] {
        let items = priced["items"].as_array().expect("items");
        let off: i64 = items.iter().filter_map(|item| item["discount_cents"].as_i64()).sum();
        assert_eq!(priced["discount_cents"], off, "{priced}");
        let amount = |item: &Value| item["price_cents"].as_i64().zip(item["quantity"].as_i64()).map(|(p, q)| p * q);
        assert!(items.iter().all(|item| item["amount_cents"].as_i64() == amount(item)), "{priced}");
    }
    order
}

#[tokio::test]
async fn every_kind_of_rule_gives_the_same_totals_in_cart_quote_and_order() {
    let shop = Shop::running();
    let user = shop.user().await;
    let rules = [
        (json!({ "kind": "amount_off", "amount_cents": 700 }), 9500, 700),
        (json!({ "kind": "amount_off", "amount_cents": 700 }), 9501, 0),
        (json!({ "kind": "amount_off", "amount_cents": 700, "repeating": true }), 3000, 2100),
        (json!({ "kind": "amount_off", "amount_cents": 99_999 }), 0, 9500),
        (json!({ "kind": "percent_off", "percent": 15 }), 0, 1425),
        (json!({ "kind": "percent_off", "percent": 15, "cap_cents": 1000 }), 0, 1000),
        // Of 3000, 3000, 3000, 500: the second and the fourth.
        (json!({ "kind": "nth_item", "nth": 2, "percent": 50 }), 0, 1750),
        (json!({ "kind": "nth_item", "nth": 3, "percent": 100 }), 0, 3000),
    ];
    for (effect, minimum, off) in rules {
        let a = shop.product(json!({ "price_cents": 3000 })).await;
        let b = shop.product(json!({ "price_cents": 500 })).await;
        user.add_to_cart(a, 3).await;
        user.add_to_cart(b, 1).await;
        let rule = json!({ "effect": effect, "minimum_cents": minimum, "product_ids": [a, b] });
        let promotion = shop.promotion(json!({ "rule": rule })).await;
        let given = if off > 0 { vec![(promotion, off)] } else { vec![] };
        check_totals(&user, &given, 9500 - off).await;
    }
}

#[tokio::test]
async fn a_discount_is_distributed_to_the_last_cent() {
    let shop = Shop::running();
    let user = shop.user().await;
    let mut products = Vec::new();
    for _ in 0..3 {
        products.push(shop.product(json!({ "price_cents": 100 })).await);
    }
    let promotion = shop.promotion(json!({ "rule": amount_off(100, 0, &products) })).await;
    for product in products.iter().rev() {
        user.add_to_cart(*product, 1).await;
    }
    let order = check_totals(&user, &[(promotion, 100)], 200).await;
    let off = |product: i64| {
        let items = order["items"].as_array().expect("items");
        items.iter().find(|item| item["product_id"] == product).map(|item| item["discount_cents"].clone())
    };
    assert_eq!(
        products.iter().map(|id| off(*id)).collect::<Vec<_>>(),
        [Some(json!(34)), Some(json!(33)), Some(json!(33))]
    );
}

#[tokio::test]
async fn a_category_promotion_includes_subcategories() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let mut categories = vec![shop.category(None).await];
    for _ in 1..5 {
        categories.push(shop.category(categories.last().copied()).await);
    }
    let (top, bottom) = (categories[0], categories[4]);
    let sibling = shop.category(None).await;
    let inside = shop.product(json!({ "category_id": bottom })).await;
    let outside = shop.product(json!({ "category_id": sibling })).await;
    let none = shop.product(json!({})).await;
    for product in [inside, outside, none] {
        user.add_to_cart(product, 1).await;
    }
    let rule = json!({ "effect": { "kind": "percent_off", "percent": 50 }, "category_ids": [top] });
    shop.promotion(json!({ "rule": rule })).await;
    let cart = cart_with_total(&user, 2500).await;
    assert_eq!(cart["items"][0]["discount_cents"], 500, "{cart}");
    // A product or a category that moves belongs to its new parent.
    let moved = json!({ "category_id": categories[2] });
    admin.put(&format!("/api/product/{outside}")).json(moved).await.is(200);
    cart_with_total(&user, 2000).await;
    let moved = json!({ "parent_id": sibling });
    admin.put(&format!("/api/category/{}", categories[3])).json(moved).await.is(200);
    cart_with_total(&user, 2500).await;
    assert_eq!(user.place_order(&[(inside, 1), (outside, 1)]).await.is(201)["total_cents"], 1500);
}

#[tokio::test]
async fn changes_reach_carts_within_a_second_and_orders_at_once() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let product = shop.product(json!({ "stock": 1000 })).await;
    user.add_to_cart(product, 1).await;
    let promotion = shop.promotion(json!({ "rule": percent_off(10, &[product]) })).await;
    let path = format!("/api/admin/promotion/{promotion}");
    for percent in [10, 20, 35, 50] {
        let change = json!({ "name": "Less", "rule": percent_off(percent, &[product]) });
        admin.put(&path).json(change).await.is(200);
        let order = user.place_order(&[(product, 1)]).await.is(201);
        assert_eq!(order["total_cents"], 1000 - 10 * percent, "{order}");
        cart_with_total(&user, 1000 - 10 * percent).await;
    }
    admin.delete(&path).await.is(204);
    assert_eq!(user.place_order(&[(product, 1)]).await.is(201)["total_cents"], 1000);
    cart_with_total(&user, 1000).await;
}

#[tokio::test]
async fn promotions_start_and_end_on_time() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    user.add_to_cart(product, 1).await;
    let (starts_at, ends_at) = (from_now(2.0), from_now(4.0));
    let window = json!({ "rule": percent_off(50, &[product]), "starts_at": starts_at, "ends_at": ends_at });
    shop.promotion(window).await;
    let at = |time: &str| humantime::parse_rfc3339(time).expect("a time");
    let mut seen = [0, 0, 0];
    while SystemTime::now() < at(&ends_at) + Duration::from_millis(500) {
        let before = SystemTime::now();
        let cart = user.cart().await;
        let order = user.post("/api/checkout/quote").await.is(200);
        let after = SystemTime::now();
        // A request that runs at the start or the end may see either price.
        for total in [&cart["total_cents"], &order["total_cents"]] {
            if after < at(&starts_at) || before >= at(&ends_at) {
                assert_eq!(*total, 1000);
                seen[if after < at(&starts_at) { 0 } else { 2 }] += 1;
            } else if before >= at(&starts_at) && after < at(&ends_at) {
                assert_eq!(*total, 500);
                seen[1] += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

#[tokio::test]
async fn stackable_promotions_combine_and_exclusive_ones_do_not() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "price_cents": 1000, "stock": 1000 })).await;
    let rule = |rule: Value, priority: i64, exclusive: bool| json!({ "rule": rule, "priority": priority, "exclusive": exclusive });
    let half = shop.promotion(rule(percent_off(50, &[product]), 1, false)).await;
    let amount = shop.promotion(rule(amount_off(200, 0, &[product]), 0, false)).await;
    user.add_to_cart(product, 1).await;
    // First 200 off, then half of the rest.
    check_totals(&user, &[(amount, 200), (half, 400)], 400).await;
    let weak = shop.promotion(rule(amount_off(600, 0, &[product]), -9, true)).await;
    user.add_to_cart(product, 1).await;
    check_totals(&user, &[(amount, 200), (half, 400)], 400).await;
    let strong = shop.promotion(rule(amount_off(601, 0, &[product]), 9, true)).await;
    assert_ne!(weak, strong);
    user.add_to_cart(product, 1).await;
    check_totals(&user, &[(strong, 601)], 399).await;
}

#[tokio::test]
async fn orders_keep_their_discounts_and_refunds_return_the_amount_paid() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let product = shop.product(json!({ "price_cents": 999 })).await;
    let promotion = shop.promotion(json!({ "name": "Ten off 十", "rule": percent_off(10, &[product]) })).await;
    let order = user.place_order(&[(product, 3)]).await.is(201);
    let discount = json!({ "name": "Ten off 十", "amount_cents": 299, "promotion_id": promotion });
    assert_eq!(order["discounts"], json!([discount]), "{order}");
    admin.delete(&format!("/api/admin/promotion/{promotion}")).await.is(204);
    let order_no = order["order_no"].as_str().expect("a number");
    assert_eq!(user.get_order(order_no).await, order);
    assert_eq!(user.pay(order_no).await.is(200)["amount_cents"], 2698);
    let requested = user.post(&format!("/api/order/{order_no}/refund")).json(json!({ "reason": "no" })).await.is(202);
    assert_eq!(requested["refund"]["amount_cents"], 2698, "{requested}");
}

#[tokio::test]
async fn a_free_order_is_paid_and_refunded_like_any_other() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 5 })).await;
    shop.promotion(json!({ "rule": percent_off(100, &[product]) })).await;
    let order = user.place_order(&[(product, 2)]).await.is(201);
    assert_eq!((&order["total_cents"], &order["status"]), (&json!(0), &json!("pending")));
    let order_no = order["order_no"].as_str().expect("a number");
    let paid = user.pay(order_no).await.is(200);
    assert_eq!((&paid["amount_cents"], &paid["status"]), (&json!(0), &json!("succeeded")));
    user.post(&format!("/api/order/{order_no}/refund")).json(json!({ "reason": "no" })).await.is(202);
    eventually("the order is refunded", Duration::from_secs(40), async || {
        (user.get_order(order_no).await["status"] == "refunded").then_some(())
    })
    .await;
    assert_eq!(shop.stock(product).await.available, 5);
}

#[tokio::test]
async fn a_promotion_for_all_products_excludes_flash_sales() {
    let servers = Servers::start().await;
    let shop = DedicatedShop::on(&servers).start().await;
    let user = shop.user().await;
    let (a, b) = (shop.product(json!({})).await, shop.product(json!({ "price_cents": 500 })).await);
    let rule = json!({ "effect": { "kind": "percent_off", "percent": 10 } });
    let promotion = shop.promotion(json!({ "rule": rule })).await;
    user.add_to_cart(a, 1).await;
    user.add_to_cart(b, 1).await;
    check_totals(&user, &[(promotion, 150)], 1350).await;
    let sale = shop.flash_sale(a, json!({ "price_cents": 300 })).await;
    let accepted = user.post("/api/seckill").json(json!({ "activity_id": sale })).await.is(202);
    let path = format!("/api/seckill/ticket/{}", accepted["ticket"].as_str().expect("a ticket"));
    let order_no = eventually("the ticket is an order", Duration::from_secs(20), async || {
        user.get(&path).await.is(200)["order_no"].as_str().map(str::to_owned)
    })
    .await;
    let order = user.get_order(&order_no).await;
    assert_eq!((&order["total_cents"], &order["discounts"]), (&json!(300), &json!([])), "{order}");
}

#[tokio::test]
async fn unselected_items_do_not_count_towards_promotions() {
    let shop = Shop::running();
    let user = shop.user().await;
    let (a, b) = (shop.product(json!({})).await, shop.product(json!({})).await);
    shop.promotion(json!({ "rule": amount_off(300, 2000, &[a, b]) })).await;
    user.add_to_cart(a, 1).await;
    user.add_to_cart(b, 1).await;
    cart_with_total(&user, 1700).await;
    let cart = user.put("/api/cart").json(json!({ "product_id": b, "selected": false })).await.is(200);
    assert_eq!((&cart["total_cents"], &cart["discounts"]), (&json!(1000), &json!([])), "{cart}");
    assert_eq!((&cart["items"][1]["amount_cents"], &cart["items"][1]["discount_cents"]), (&json!(1000), &json!(0)));
}

#[tokio::test]
async fn staff_read_change_and_delete_promotions() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let product = shop.product(json!({})).await;
    let (starts_at, ends_at) = (from_now(100.0), from_now(200.0));
    let rule = json!({ "effect": { "kind": "percent_off", "percent": 7, "cap_cents": 90 }, "minimum_cents": 5,
                       "category_ids": [], "product_ids": [product] });
    let whole = json!({ "name": "Seven 七", "rule": rule, "exclusive": true, "priority": -3, "starts_at": starts_at,
                        "ends_at": ends_at });
    let created = admin.post("/api/admin/promotion").json(whole.clone()).await.is(201);
    for (name, value) in whole.as_object().expect("fields") {
        assert_eq!(&created[name], value, "{name}");
    }
    let path = format!("/api/admin/promotion/{}", created["promotion_id"]);
    assert_eq!(admin.get(&path).await.is(200), created);
    let other = json!({ "name": "Other", "rule": amount_off(1, 0, &[product]) });
    let changed = admin.put(&path).json(other).await.is(200);
    assert_eq!(
        (&changed["name"], &changed["exclusive"], &changed["starts_at"]),
        (&json!("Other"), &json!(false), &Value::Null)
    );
    // Page by page, the newest first, until it is found.
    let mut cursor = String::new();
    loop {
        let page = admin.get(&format!("/api/admin/promotion?limit=2{cursor}")).await.is(200);
        assert!(page["items"].as_array().is_some_and(|items| (1..=2).contains(&items.len())), "{page}");
        if page["items"].as_array().expect("items").contains(&changed) {
            break;
        }
        cursor = format!("&cursor={}", page["next_cursor"].as_str().expect("more"));
    }
    admin.get("/api/admin/promotion?cursor=nonsense").await.invalid("cursor");
    admin.delete(&path).await.is(204);
    for call in [admin.get(&path), admin.put(&path).json(whole), admin.delete(&path)] {
        call.await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn invalid_promotions_are_refused() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let refused = async |field: &str, change: Value| {
        let mut whole = json!({ "name": "Less", "rule": percent_off(10, &[]) });
        for (name, value) in change.as_object().expect("fields") {
            whole[name] = value.clone();
        }
        admin.post("/api/admin/promotion").json(whole).await.invalid(field);
    };
    refused("name", json!({ "name": "" })).await;
    refused("name", json!({ "name": "x".repeat(65) })).await;
    refused("priority", json!({ "priority": 1001 })).await;
    refused("ends_at", json!({ "starts_at": from_now(2.0), "ends_at": from_now(1.0) })).await;
    refused("starts_at", json!({ "starts_at": "tomorrow" })).await;
    refused("rule", json!({ "rule": 1 })).await;
    refused("rule.effect", json!({ "rule": {} })).await;
    let effect = |effect: Value| json!({ "rule": { "effect": effect } });
    refused("rule.effect.percent", effect(json!({ "kind": "percent_off", "percent": 0 }))).await;
    refused("rule.effect.percent", effect(json!({ "kind": "percent_off", "percent": 101 }))).await;
    refused("rule.effect.cap_cents", effect(json!({ "kind": "percent_off", "percent": 1, "cap_cents": -1 }))).await;
    refused("rule.effect.amount_cents", effect(json!({ "kind": "amount_off", "amount_cents": -5 }))).await;
    refused("rule.minimum_cents", effect(json!({ "kind": "amount_off", "amount_cents": 5, "repeating": true }))).await;
    refused("rule.effect.nth", effect(json!({ "kind": "nth_item", "nth": 1, "percent": 5 }))).await;
    refused("rule.product_ids", json!({ "rule": percent_off(1, &[9_007_199_254_740_991]) })).await;
    refused("rule.product_ids", json!({ "rule": percent_off(1, &(1..=101).collect::<Vec<_>>()) })).await;
    let nowhere =
        json!({ "effect": { "kind": "percent_off", "percent": 1 }, "category_ids": [9_007_199_254_740_991_i64] });
    refused("rule.category_ids", json!({ "rule": nowhere })).await;
    for kind in ["gift", "", "AMOUNT_OFF"] {
        let unknown = json!({ "name": "Less", "rule": { "effect": { "kind": kind, "percent": 1 } } });
        admin.post("/api/admin/promotion").json(unknown).await.problem(422, "invalid");
    }
}
