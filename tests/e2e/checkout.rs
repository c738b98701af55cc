//! Quotes and checkouts.

use std::future::IntoFuture;
use std::time::Duration;

use futures::future::join_all;
use mysql_async::{TxOpts, prelude::Queryable};
use serde_json::{Value, json};

use crate::harness::{Call, Servers, Shop, Stock, User, eventually, rules};

const UNKNOWN: i64 = 9_007_199_254_740_991;

fn quote(user: &User) -> Call {
    user.post("/api/checkout/quote").json(json!({}))
}

fn check_out(user: &User) -> Call {
    user.post("/api/checkout").json(json!({}))
}

#[tokio::test]
async fn a_quote_for_an_empty_cart_is_zero() {
    let user = Shop::running().user().await;
    let quote = quote(&user).await.is(200);
    for total in ["subtotal_cents", "discount_cents", "total_cents"] {
        assert_eq!(quote[total], 0, "{quote}");
    }
    assert_eq!(quote["currency"], "CNY");
    assert_eq!(quote["discounts"], json!([]));
}

#[tokio::test]
async fn a_quote_has_the_totals_of_the_cart() {
    let shop = Shop::running();
    let user = shop.user().await;
    let (one, two) =
        (shop.product(json!({ "price_cents": 123 })).await, shop.product(json!({ "price_cents": 4567 })).await);
    user.add_to_cart(one, 3).await;
    user.add_to_cart(two, 2).await;
    let unselected = json!({ "product_id": one, "selected": false });
    for change in [json!({ "product_id": two, "quantity": 5 }), unselected] {
        let cart = user.put("/api/cart").json(change).await.is(200);
        let quote = quote(&user).await.is(200);
        for total in ["subtotal_cents", "discount_cents", "total_cents", "currency", "discounts"] {
            assert_eq!(quote[total], cart[total], "{total}");
        }
    }
}

#[tokio::test]
async fn a_quote_reserves_nothing() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 3 })).await;
    let cart = user.add_to_cart(product, 2).await;
    quote(&user).await.is(200);
    assert_eq!(user.cart().await, cart);
    assert_eq!(shop.stock(product).await, Stock { available: 3, reserved: 0, sold: 0 });
}

#[tokio::test]
async fn unknown_coupon_codes_are_refused() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 3 })).await;
    user.add_to_cart(product, 1).await;
    let coupon = json!({ "coupon_code": "NOSUCH" });
    for path in ["/api/checkout/quote", "/api/checkout"] {
        user.post(path).json(coupon.clone()).await.problem(409, "coupon_invalid");
        for code in ["", &"X".repeat(33)] {
            let call = user.post(path).json(json!({ "coupon_code": code }));
            call.await.invalid("coupon_code");
        }
    }
    let item = json!({ "product_id": product, "quantity": 1 });
    let order = json!({ "items": [item], "coupon_code": "NOSUCH" });
    user.post("/api/order").json(order).await.problem(409, "coupon_invalid");
    assert_eq!(shop.stock(product).await.available, 3, "nothing is reserved");
    assert_eq!(user.cart().await["items"][0]["quantity"], 1);
}

/// Checks that this is an order as the contract has it, just placed.
#[track_caller]
pub fn assert_new_order(order: &Value) {
    let number = order["order_no"].as_str().unwrap_or_default();
    assert!((1..=32).contains(&number.len()), "{order}");
    assert_eq!(order["status"], "pending", "{order}");
    let mut subtotal = 0;
    for item in order["items"].as_array().expect("items") {
        for field in ["product_id", "name", "image_url", "price_cents", "quantity", "amount_cents"] {
            assert!(item.get(field).is_some(), "{field} of {item}");
        }
        let amount = item["price_cents"].as_i64().unwrap_or(-1) * item["quantity"].as_i64().unwrap_or(-1);
        assert_eq!(item["amount_cents"], amount, "{item}");
        subtotal += amount;
    }
    assert_eq!(order["subtotal_cents"], subtotal, "{order}");
    assert_eq!((&order["discount_cents"], &order["discounts"]), (&json!(0), &json!([])), "{order}");
    assert_eq!(order["total_cents"], subtotal, "{order}");
    assert_eq!(order["currency"], "CNY", "{order}");
    for time in ["created_at", "expires_at"] {
        assert!(rules::is_time(&order[time]), "{time} of {order}");
    }
    assert!(order["created_at"].as_str() < order["expires_at"].as_str(), "{order}");
    for later in ["paid_at", "shipped_at", "completed_at", "cancelled_at", "cancel_reason", "carrier", "tracking_no"] {
        assert_eq!(order.get(later), Some(&Value::Null), "{later} of {order}");
    }
    for field in ["address", "note"] {
        assert!(order.get(field).is_some(), "{field} of {order}");
    }
}

#[tokio::test]
async fn a_checkout_orders_the_selected_items() {
    let shop = Shop::running();
    let user = shop.user().await;
    let image = "/img/pen.png";
    let pen = shop.product(json!({ "name": "Pen 笔", "price_cents": 199, "image_url": image, "stock": 10 })).await;
    let other = shop.product(json!({})).await;
    user.add_to_cart(pen, 4).await;
    user.add_to_cart(other, 1).await;
    let unselected = json!({ "product_id": other, "selected": false });
    user.put("/api/cart").json(unselected).await.is(200);
    let order = user.post("/api/checkout").json(json!({ "note": "Ring twice 🔔" })).await.is(201);
    assert_new_order(&order);
    assert_eq!(order["items"].as_array().map(Vec::len), Some(1));
    let item = &order["items"][0];
    assert_eq!((&item["product_id"], &item["quantity"]), (&json!(pen), &json!(4)));
    assert_eq!((&item["name"], &item["image_url"]), (&json!("Pen 笔"), &json!(image)));
    assert_eq!(order["total_cents"], 796);
    assert_eq!(order["note"], "Ring twice 🔔");
    assert_eq!(shop.stock(pen).await, Stock { available: 6, reserved: 4, sold: 0 });
    let order_no = order["order_no"].as_str().expect("a number");
    assert_eq!(user.get_order(order_no).await, order);

    let cart = user.cart().await;
    let left = cart["items"].as_array().expect("items");
    assert_eq!(left.len(), 1, "the items bought left the cart: {cart}");
    assert_eq!(left[0]["product_id"], other, "the others stay: {cart}");
}

#[tokio::test]
async fn an_order_expires_after_half_an_hour() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    let order = user.place_order(&[(product, 1)]).await.is(201);
    let minutes = |name: &str| {
        let text = order[name].as_str().expect("a time");
        let part = |from: usize| text[from..from + 2].parse::<i64>().expect("a number");
        part(11) * 60 + part(14)
    };
    let wait = (minutes("expires_at") - minutes("created_at")).rem_euclid(24 * 60);
    assert_eq!(wait, 30, "{order}");
}

#[tokio::test]
async fn concurrent_checkouts_of_one_cart_make_one_order() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 100 })).await;
    for round in 1..=3 {
        user.add_to_cart(product, 2).await;
        let replies = join_all((0..8).map(|_| user.post("/api/checkout").json(json!({})).into_future())).await;
        assert_eq!(replies.iter().filter(|reply| reply.status == 201).count(), 1);
        for reply in replies.iter().filter(|reply| reply.status != 201) {
            // During the checkout, and after it, when the cart is empty.
            let code = reply.code();
            assert!(["idempotency_in_progress", "invalid"].contains(&code.as_str()), "{reply}");
        }
        assert_eq!(shop.stock(product).await.reserved, 2 * round);
        // A refused checkout does not block the next one.
        user.post("/api/checkout").json(json!({})).await.problem(422, "invalid");
    }
}

#[tokio::test]
async fn checking_out_without_selected_items_is_invalid() {
    let shop = Shop::running();
    let user = shop.user().await;
    check_out(&user).await.problem(422, "invalid");
    let product = shop.product(json!({})).await;
    user.add_to_cart(product, 1).await;
    let unselected = json!({ "product_id": product, "selected": false });
    user.put("/api/cart").json(unselected).await.is(200);
    check_out(&user).await.problem(422, "invalid");
    assert_eq!(user.cart().await["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn products_out_of_stock_are_listed_and_nothing_is_reserved() {
    let shop = Shop::running();
    let user = shop.user().await;
    let plenty = shop.product(json!({ "stock": 10 })).await;
    let few = shop.product(json!({ "stock": 1 })).await;
    let none = shop.product(json!({ "stock": 0 })).await;
    for (product, quantity) in [(plenty, 5), (few, 2), (none, 1)] {
        user.add_to_cart(product, quantity).await;
    }
    let cart = user.cart().await;
    let direct = user.place_order(&[(plenty, 5), (few, 2), (none, 1)]);
    for call in [check_out(&user), direct] {
        let reply = call.await;
        let problem = reply.problem(409, "out_of_stock");
        let errors = problem["errors"].as_array().expect("errors");
        let names = |product: i64| {
            let id = format!("{product}: ");
            errors.iter().any(|error| error["message"].as_str().is_some_and(|message| message.starts_with(&id)))
        };
        assert_eq!(errors.len(), 2, "{reply}");
        assert!(names(few) && names(none) && !names(plenty), "{reply}");
    }
    assert_eq!(shop.stock(plenty).await, Stock { available: 10, reserved: 0, sold: 0 });
    assert_eq!(shop.stock(few).await, Stock { available: 1, reserved: 0, sold: 0 });
    assert_eq!(user.cart().await, cart, "the cart stays");
    assert_eq!(user.get("/api/order").await.is(200)["items"], json!([]));
}

#[tokio::test]
async fn a_checkout_uses_the_current_price() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let product = shop.product(json!({ "price_cents": 100 })).await;
    for price in [250, 90] {
        user.add_to_cart(product, 2).await;
        quote(&user).await.is(200);
        let change = json!({ "price_cents": price });
        admin.put(&format!("/api/product/{product}")).json(change).await.is(200);
        // At once: an order never has a cached price.
        let order = check_out(&user).await.is(201);
        assert_eq!(order["total_cents"], 2 * price);
    }
}

#[tokio::test]
async fn an_order_keeps_its_price_and_name() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let product = shop.product(json!({ "name": "Old name", "price_cents": 100 })).await;
    let order = user.new_order(&[(product, 1)]).await;
    let change = json!({ "name": "New name", "price_cents": 900 });
    admin.put(&format!("/api/product/{product}")).json(change).await.is(200);
    let seen = user.get_order(&order).await;
    assert_eq!(seen["items"][0]["name"], "Old name");
    assert_eq!(seen["total_cents"], 100);
    assert_eq!(user.pay(&order).await.is(200)["amount_cents"], 100);
}

#[tokio::test]
async fn order_fields_are_validated() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    user.add_to_cart(product, 1).await;
    let item = json!([{ "product_id": product, "quantity": 1 }]);
    for (field, value) in [
        ("note", json!("长".repeat(501))),
        ("note", json!(7)),
        ("address_id", json!(UNKNOWN)),
        ("address_id", json!(0)),
        ("address_id", json!("1")),
    ] {
        let checkout = json!({ field: value });
        user.post("/api/checkout").json(checkout).await.invalid(field);
        let direct = json!({ "items": item, field: value });
        user.post("/api/order").json(direct).await.invalid(field);
    }
    assert_eq!(shop.stock(product).await.available, 10);
    let long = json!({ "items": item, "note": "长".repeat(500) });
    user.post("/api/order").json(long).await.is(201);
}

#[tokio::test]
async fn products_taken_off_the_shelf_can_not_be_ordered() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let product = shop.product(json!({ "stock": 5 })).await;
    user.add_to_cart(product, 1).await;
    admin.delete(&format!("/api/product/{product}")).await.is(204);
    for call in [check_out(&user), user.place_order(&[(product, 1)])] {
        let reply = call.await;
        assert!(matches!(reply.status, 409 | 422), "{reply}");
    }
    assert_eq!(shop.stock(product).await, Stock { available: 5, reserved: 0, sold: 0 });
}

#[tokio::test]
async fn ordered_units_are_no_longer_available() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 5 })).await;
    shop.get(&format!("/api/product/{product}")).await.is(200);
    user.new_order(&[(product, 5)]).await;
    eventually("the product is sold out", Duration::from_secs(1), async || {
        let seen = shop.get(&format!("/api/product/{product}")).await.is(200);
        (seen["available"] == 0).then_some(())
    })
    .await;
    user.place_order(&[(product, 1)]).await.problem(409, "out_of_stock");
}

/// A checkout that takes longer than its lock lives must not release the lock of the one that came after it.
#[tokio::test]
async fn only_its_owner_releases_the_lock_of_a_checkout() {
    let servers = Servers::start().await;
    let shop = servers.unthrottled_shop().start().await;
    let user = shop.user().await;
    let (mut mysql, mut redis) = (servers.mysql().await, servers.redis().await);
    let lock = format!("checkout:{}", user.user_id);
    for (left, status) in [(5, 201), (0, 409)] {
        let product = shop.product(json!({ "stock": 5 })).await;
        user.add_to_cart(product, 1).await;
        // Holds up the checkout.
        let mut held = mysql.start_transaction(TxOpts::default()).await.expect("a transaction");
        let hold = "SELECT id FROM products WHERE id = ? FOR UPDATE";
        held.exec_drop(hold, (product,)).await.expect("the product");
        let checkout = tokio::spawn(check_out(&user).into_future());
        eventually("the checkout has its lock", Duration::from_secs(5), async || {
            let replaced = redis::cmd("SET").arg(&lock).arg("another").arg("XX").query_async(&mut redis).await;
            let replaced: bool = replaced.expect("Redis");
            replaced.then_some(())
        })
        .await;
        let sell = "UPDATE products SET available = ? WHERE id = ?";
        held.exec_drop(sell, (left, product)).await.expect("the product");
        held.commit().await.expect("committed");
        let reply = checkout.await.expect("a reply");
        assert_eq!(reply.status, status, "{reply}");
        let owner: String = redis::cmd("GET").arg(&lock).query_async(&mut redis).await.expect("the lock");
        assert_eq!(owner, "another");
        check_out(&user).await.problem(409, "idempotency_in_progress");
        redis::cmd("DEL").arg(&lock).query_async::<()>(&mut redis).await.expect("Redis");
    }
    // Its own lock, each of them releases.
    user.call(reqwest::Method::DELETE, "/api/cart/clear").await.is(200);
    for status in [422, 422] {
        assert_eq!(check_out(&user).await.status, status);
    }
}
