//! Orders: placed without the cart, listed, read, cancelled.

use serde_json::{Value, json};

use crate::checkout::assert_new_order;
use crate::harness::{Shop, Stock, User, encode, rules};

const UNKNOWN: i64 = 9_007_199_254_740_991;

#[tokio::test]
async fn an_order_can_be_placed_without_the_cart() {
    let shop = Shop::running();
    let user = shop.user().await;
    let (one, two) =
        (shop.product(json!({ "price_cents": 10 })).await, shop.product(json!({ "price_cents": 20 })).await);
    user.add_to_cart(one, 9).await;
    let order = user.place_order(&[(two, 2), (one, 1)]).await.is(201);
    assert_new_order(&order);
    assert_eq!(order["total_cents"], 50);
    assert_eq!(order["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(user.cart().await["items"][0]["quantity"], 9, "the cart is unchanged");
}

#[tokio::test]
async fn order_items_are_validated() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 100 })).await;
    let item = |quantity: Value| json!({ "product_id": product, "quantity": quantity });
    for (items, named) in [
        (json!([]), "items"),
        (json!([item(json!(1)), item(json!(2))]), "product_id"),
        (json!([item(json!(0))]), "quantity"),
        (json!([item(json!(1000))]), "quantity"),
        (json!([item(json!(-1))]), "quantity"),
        (json!([item(json!("1"))]), "quantity"),
        (json!([{ "product_id": UNKNOWN, "quantity": 1 }]), "product_id"),
        (json!([{ "product_id": product }]), "quantity"),
        (json!([{ "quantity": 1 }]), "product_id"),
        (json!([{ "product_id": product, "quantity": 1, "price_cents": 1 }]), "price_cents"),
        (json!({ "product_id": product, "quantity": 1 }), "items"),
        (json!([null]), "items"),
    ] {
        let reply = user.post("/api/order").json(json!({ "items": items })).await;
        let problem = reply.problem(422, "invalid");
        let fields: Vec<&str> =
            problem["errors"].as_array().expect("errors").iter().filter_map(|error| error["field"].as_str()).collect();
        assert!(fields.iter().any(|field| field.contains(named)), "{named}: {reply}");
    }
    assert_eq!(shop.stock(product).await.reserved, 0);
}

/// All orders of the list, page by page.
async fn pages(user: &User, path: &str, limit: usize) -> Vec<Value> {
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let list = user.get(&format!("{path}limit={limit}{cursor}")).await.is(200);
        let items = list["items"].as_array().expect("items");
        assert!(items.len() <= limit, "{list}");
        seen.extend(items.iter().cloned());
        match list["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", encode(next)),
            None => return seen,
        }
    }
}

fn order_nos(orders: &[Value]) -> Vec<&str> {
    orders.iter().filter_map(|order| order["order_no"].as_str()).collect()
}

#[tokio::test]
async fn users_list_their_orders_newest_first() {
    let shop = Shop::running();
    let (user, other) = (shop.user().await, shop.user().await);
    let product = shop.product(json!({})).await;
    let mut placed = Vec::new();
    for _ in 0..5 {
        placed.push(user.new_order(&[(product, 1)]).await);
        other.new_order(&[(product, 1)]).await;
    }
    placed.reverse();
    let listed = pages(&user, "/api/order?", 2).await;
    assert_eq!(order_nos(&listed), placed);
    assert_eq!(listed[0], user.get_order(&placed[0]).await, "a listed order is complete");
}

#[tokio::test]
async fn pages_stay_complete_while_orders_are_placed() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 1000 })).await;
    let mut placed = Vec::new();
    for _ in 0..7 {
        placed.push(user.new_order(&[(product, 1)]).await);
    }
    let mut seen: Vec<String> = Vec::new();
    let mut cursor = String::new();
    loop {
        let list = user.get(&format!("/api/order?limit=2{cursor}")).await.is(200);
        let items = list["items"].as_array().expect("items").clone();
        seen.extend(order_nos(&items).into_iter().map(str::to_owned));
        user.new_order(&[(product, 1)]).await;
        match list["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", encode(next)),
            None => break,
        }
    }
    placed.reverse();
    assert_eq!(seen, placed);
}

#[tokio::test]
async fn orders_are_listed_by_status() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    let pending = user.new_order(&[(product, 1)]).await;
    let cancelled = user.new_order(&[(product, 1)]).await;
    user.cancel(&cancelled).await.is(200);
    let listed = async |status: &str| pages(&user, &format!("/api/order?status={status}&"), 100).await;
    assert_eq!(order_nos(&listed("pending").await), [pending.as_str()]);
    assert_eq!(order_nos(&listed("cancelled").await), [cancelled.as_str()]);
    for status in ["paid", "shipped", "completed", "refunding", "refunded"] {
        assert_eq!(order_nos(&listed(status).await), [""; 0]);
    }
    for status in ["", "PENDING", "unknown", "pending,paid", "%25"] {
        user.get(&format!("/api/order?status={status}")).await.invalid("status");
    }
}

#[tokio::test]
async fn admins_list_all_orders() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let product = shop.product(json!({})).await;
    let order = user.new_order(&[(product, 1)]).await;
    user.cancel(&order).await.is(200);
    // Other tests place orders too: this one may be on a later page.
    let mut cursor = String::new();
    for _ in 0..50 {
        let list = admin.get(&format!("/api/order/all?status=cancelled&limit=100{cursor}")).await.is(200);
        let items = list["items"].as_array().expect("items");
        assert!(items.iter().all(|order| order["status"] == "cancelled"), "{list}");
        if order_nos(items).contains(&order.as_str()) {
            return;
        }
        let next = list["next_cursor"].as_str().expect("the order is in the list");
        cursor = format!("&cursor={}", encode(next));
    }
    panic!("the order is not on fifty pages");
}

#[tokio::test]
async fn another_users_order_is_not_found() {
    let shop = Shop::running();
    let (owner, other) = (shop.user().await, shop.user().await);
    let product = shop.product(json!({})).await;
    let order = owner.new_order(&[(product, 1)]).await;
    other.get(&format!("/api/order/{order}")).await.problem(404, "not_found");
    other.cancel(&order).await.problem(404, "not_found");
    other.pay(&order).await.problem(404, "not_found");
    assert_eq!(other.get("/api/order").await.is(200)["items"], json!([]));
    assert_eq!(owner.get_order(&order).await["status"], "pending");
}

#[tokio::test]
async fn an_unknown_order_is_not_found() {
    let user = Shop::running().user().await;
    for number in ["nothing", "0", &"9".repeat(32), &"9".repeat(200)] {
        user.get(&format!("/api/order/{number}")).await.problem(404, "not_found");
        user.cancel(number).await.problem(404, "not_found");
        user.pay(number).await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_cancellation_returns_the_stock() {
    let shop = Shop::running();
    let user = shop.user().await;
    let (one, two) = (shop.product(json!({ "stock": 5 })).await, shop.product(json!({ "stock": 7 })).await);
    let order = user.new_order(&[(one, 2), (two, 7)]).await;
    let call = user.post(&format!("/api/order/{order}/cancel"));
    let cancelled = call.json(json!({ "reason": "changed my mind 🤔" })).await.is(200);
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(cancelled["cancel_reason"], "changed my mind 🤔");
    assert!(rules::is_time(&cancelled["cancelled_at"]), "{cancelled}");
    assert_eq!(cancelled["order_no"], order.as_str());
    assert_eq!(shop.stock(one).await, Stock { available: 5, reserved: 0, sold: 0 });
    assert_eq!(shop.stock(two).await, Stock { available: 7, reserved: 0, sold: 0 });
    assert_eq!(user.get_order(&order).await, cancelled);
}

#[tokio::test]
async fn only_a_pending_order_can_be_cancelled() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 5 })).await;
    let cancelled = user.new_order(&[(product, 1)]).await;
    user.cancel(&cancelled).await.is(200);
    user.cancel(&cancelled).await.problem(409, "order_state");
    let paid = user.new_order(&[(product, 1)]).await;
    user.pay(&paid).await.is(200);
    user.cancel(&paid).await.problem(409, "order_state");
    assert_eq!(shop.stock(product).await, Stock { available: 4, reserved: 0, sold: 1 });
}

#[tokio::test]
async fn a_cancellation_reason_is_at_most_200_characters() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    let order = user.new_order(&[(product, 1)]).await;
    let cancel = |reason: Value| user.post(&format!("/api/order/{order}/cancel")).json(json!({ "reason": reason }));
    cancel(json!("长".repeat(201))).await.invalid("reason");
    cancel(json!(1)).await.invalid("reason");
    let cancelled = cancel(json!("长".repeat(200))).await.is(200);
    assert_eq!(cancelled["cancel_reason"], "长".repeat(200));
}
