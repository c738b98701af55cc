//! The cart.

use std::future::IntoFuture;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Call, Shop, User, eventually};

const UNKNOWN: i64 = 9_007_199_254_740_991;

fn add(user: &User, product_id: i64, quantity: i64) -> Call {
    user.post("/api/cart").json(json!({ "product_id": product_id, "quantity": quantity }))
}

fn set_item(user: &User, change: Value) -> Call {
    user.put("/api/cart").json(change)
}

fn remove(user: &User, product_id: i64) -> Call {
    user.delete(&format!("/api/cart?product_id={product_id}"))
}

/// Products and quantities, sorted by product id.
fn content(cart: &Value) -> Vec<(i64, i64)> {
    let items = cart["items"].as_array().expect("items");
    let number = |item: &Value, name: &str| item[name].as_i64().unwrap_or_else(|| panic!("{name}: {item}"));
    let mut content: Vec<_> = items.iter().map(|item| (number(item, "product_id"), number(item, "quantity"))).collect();
    content.sort_unstable();
    content
}

/// Checks that the totals are those of the selected items.
#[track_caller]
fn adds_up(cart: &Value) {
    let mut subtotal = 0;
    for item in cart["items"].as_array().expect("items") {
        let amount = item["price_cents"].as_i64().unwrap_or(-1) * item["quantity"].as_i64().unwrap_or(-1);
        assert_eq!(item["amount_cents"], amount, "{item}");
        if item["selected"] == true {
            subtotal += amount;
        }
    }
    let discounts = cart["discounts"].as_array().expect("discounts");
    let discount: i64 = discounts.iter().filter_map(|discount| discount["amount_cents"].as_i64()).sum();
    assert_eq!(cart["subtotal_cents"], subtotal, "{cart}");
    assert_eq!(cart["discount_cents"], discount, "{cart}");
    assert_eq!(cart["total_cents"], subtotal - discount, "{cart}");
    assert_eq!(cart["currency"], "CNY", "{cart}");
}

#[tokio::test]
async fn a_new_cart_is_empty() {
    let cart = Shop::running().user().await.cart().await;
    assert_eq!(cart["items"], json!([]));
    for total in ["subtotal_cents", "discount_cents", "total_cents"] {
        assert_eq!(cart[total], 0, "{cart}");
    }
    adds_up(&cart);
}

#[tokio::test]
async fn a_cart_shows_changes_of_its_products_at_once() {
    let shop = Shop::running();
    let (admin, user, other) = (shop.admin().await, shop.user().await, shop.user().await);
    let product = shop.product(json!({ "price_cents": 500, "stock": 10 })).await;
    user.add_to_cart(product, 2).await;
    let path = format!("/api/product/{product}");
    admin.put(&path).json(json!({ "price_cents": 400, "name": "Renamed" })).await.is(200);
    let cart = user.cart().await;
    assert_eq!((&cart["items"][0]["price_cents"], &cart["total_cents"]), (&json!(400), &json!(800)), "{cart}");
    assert_eq!(cart["items"][0]["name"], "Renamed");

    let available = async || user.cart().await["items"][0]["available"].clone();
    let order = other.new_order(&[(product, 3)]).await;
    assert_eq!(available().await, 7);
    other.cancel(&order).await.is(200);
    assert_eq!(available().await, 10);
    other.add_to_cart(product, 1).await;
    other.post("/api/checkout").json(json!({})).await.is(201);
    assert_eq!(available().await, 9);
    admin.post(&format!("{path}/stock")).json(json!({ "delta": -4, "reason": "lost" })).await.is(200);
    assert_eq!(available().await, 5);
    admin.post("/api/product/batch").json(json!({ "product_ids": [product], "on_shelf": false })).await.is(200);
    assert_eq!(available().await, 0);
    admin.put(&path).json(json!({ "on_shelf": true })).await.is(200);
    assert_eq!(available().await, 5);
    admin.delete(&path).await.is(204);
    assert_eq!(available().await, 0);
}

#[tokio::test]
async fn added_products_are_in_the_cart_and_selected() {
    let shop = Shop::running();
    let user = shop.user().await;
    let image = "https://img.example/cup.png";
    let product = json!({ "name": "Cup", "price_cents": 250, "stock": 9, "image_url": image });
    let product = shop.product(product).await;
    let cart = add(&user, product, 3).await.is(200);
    let expected = json!({
        "product_id": product, "name": "Cup", "image_url": image, "price_cents": 250, "quantity": 3,
        "selected": true, "available": 9, "amount_cents": 750,
    });
    for (name, value) in expected.as_object().expect("fields") {
        assert_eq!(&cart["items"][0][name], value, "{name}");
    }
    assert_eq!(cart["total_cents"], 750);
    adds_up(&cart);
    assert_eq!(user.cart().await, cart);
}

#[tokio::test]
async fn adding_a_product_again_increases_its_quantity() {
    let shop = Shop::running();
    let user = shop.user().await;
    let (one, two) = (shop.product(json!({})).await, shop.product(json!({})).await);
    user.add_to_cart(one, 2).await;
    user.add_to_cart(two, 1).await;
    let cart = user.add_to_cart(one, 3).await;
    assert_eq!(content(&cart), [(one, 5), (two, 1)]);
    adds_up(&cart);
}

#[tokio::test]
async fn setting_a_quantity_replaces_it() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    user.add_to_cart(product, 2).await;
    let cart = set_item(&user, json!({ "product_id": product, "quantity": 7 })).await.is(200);
    assert_eq!(content(&cart), [(product, 7)]);
    adds_up(&cart);
}

#[tokio::test]
async fn totals_count_selected_items_only() {
    let shop = Shop::running();
    let user = shop.user().await;
    let one = shop.product(json!({ "price_cents": 100 })).await;
    let two = shop.product(json!({ "price_cents": 1000 })).await;
    user.add_to_cart(one, 1).await;
    user.add_to_cart(two, 2).await;
    let cart = set_item(&user, json!({ "product_id": two, "selected": false })).await.is(200);
    assert_eq!(cart["total_cents"], 100);
    assert_eq!(content(&cart), [(one, 1), (two, 2)], "the item stays, with its quantity");
    adds_up(&cart);
    let cart = set_item(&user, json!({ "product_id": two, "selected": true, "quantity": 1 })).await.is(200);
    assert_eq!(cart["total_cents"], 1100);
    let cart = set_item(&user, json!({ "product_id": one, "selected": false })).await.is(200);
    let cart_again = user.add_to_cart(one, 1).await;
    assert_eq!(cart["total_cents"], 1000);
    assert_eq!(cart_again["total_cents"], 1200, "added items are selected");
}

#[tokio::test]
async fn a_quantity_is_1_to_999() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 5000 })).await;
    for quantity in [0, 1000, -1, UNKNOWN] {
        add(&user, product, quantity).await.invalid("quantity");
    }
    add(&user, product, 999).await.is(200);
    add(&user, product, 1).await.invalid("quantity");
    for quantity in [0, 1000, -1, UNKNOWN] {
        let change = json!({ "product_id": product, "quantity": quantity });
        set_item(&user, change).await.invalid("quantity");
    }
    assert_eq!(content(&user.cart().await), [(product, 999)]);
}

#[tokio::test]
async fn a_cart_holds_100_items() {
    let shop = Shop::running();
    let user = shop.user().await;
    let products = join_all((0..101).map(|_| shop.product(json!({})))).await;
    for product in &products[..100] {
        user.add_to_cart(*product, 1).await;
    }
    let reply = add(&user, products[100], 1).await;
    reply.problem(422, "invalid");
    assert_eq!(content(&user.cart().await).len(), 100);
    // Items that are in the cart already can still be increased.
    let cart = user.add_to_cart(products[0], 1).await;
    assert_eq!(content(&cart).len(), 100);
    remove(&user, products[0]).await.is(200);
    add(&user, products[100], 1).await.is(200);
}

#[tokio::test]
async fn concurrent_adds_do_not_exceed_100_items() {
    let shop = Shop::running();
    let user = shop.user().await;
    let products = join_all((0..105).map(|_| shop.product(json!({})))).await;
    let replies = join_all(products.iter().map(|product| add(&user, *product, 1).into_future())).await;
    let added = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(added, 100);
    assert_eq!(content(&user.cart().await).len(), 100);
}

#[tokio::test]
async fn products_that_are_unknown_or_off_the_shelf_can_not_be_added() {
    let shop = Shop::running();
    let user = shop.user().await;
    let off = shop.product(json!({ "on_shelf": false })).await;
    add(&user, off, 1).await.invalid("product_id");
    add(&user, UNKNOWN, 1).await.invalid("product_id");
    add(&user, 0, 1).await.invalid("product_id");
    assert_eq!(user.cart().await["items"], json!([]));
}

#[tokio::test]
async fn products_taken_off_the_shelf_stay_in_the_cart_but_can_not_be_bought() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let product = shop.product(json!({})).await;
    let other = shop.product(json!({ "price_cents": 30 })).await;
    user.add_to_cart(product, 2).await;
    user.add_to_cart(other, 1).await;
    let off = json!({ "on_shelf": false });
    admin.put(&format!("/api/product/{product}")).json(off).await.is(200);
    let cart = eventually("the cart shows it", Duration::from_secs(1), async || {
        let cart = user.cart().await;
        let items = cart["items"].as_array().expect("items").clone();
        let item = items.iter().find(|item| item["product_id"] == product).expect("the item stays listed").clone();
        (item["available"] == 0).then_some((cart, item))
    });
    let (cart, item) = cart.await;
    assert_eq!((&item["quantity"], &item["selected"]), (&json!(2), &json!(false)));
    assert_eq!(cart["total_cents"], 30);
    adds_up(&cart);
    let reply = set_item(&user, json!({ "product_id": product, "selected": true })).await;
    assert_eq!(reply.status, 422, "{reply}");
    assert_eq!(user.post("/api/checkout/quote").json(json!({})).await.is(200)["total_cents"], 30);
    let order = user.post("/api/checkout").json(json!({})).await.is(201);
    assert_eq!(content(&order), [(other, 1)]);
    remove(&user, product).await.is(200);
}

#[tokio::test]
async fn setting_an_item_that_is_not_in_the_cart_is_not_found() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    for product in [product, UNKNOWN] {
        for change in [json!({ "quantity": 2 }), json!({ "selected": false })] {
            let mut change = change;
            change["product_id"] = product.into();
            set_item(&user, change).await.problem(404, "not_found");
        }
    }
    assert_eq!(user.cart().await["items"], json!([]));
}

#[tokio::test]
async fn removing_an_item_is_idempotent() {
    let shop = Shop::running();
    let user = shop.user().await;
    let (one, two) = (shop.product(json!({})).await, shop.product(json!({})).await);
    user.add_to_cart(one, 1).await;
    user.add_to_cart(two, 1).await;
    for product in [one, one, UNKNOWN] {
        let cart = remove(&user, product).await.is(200);
        assert_eq!(content(&cart), [(two, 1)]);
        adds_up(&cart);
    }
}

#[tokio::test]
async fn removing_needs_a_product_id() {
    let user = Shop::running().user().await;
    for query in ["", "?product_id=", "?product_id=abc", "?product_id=1.5"] {
        user.delete(&format!("/api/cart{query}")).await.invalid("product_id");
    }
}

#[tokio::test]
async fn clearing_empties_the_cart() {
    let shop = Shop::running();
    let user = shop.user().await;
    user.add_to_cart(shop.product(json!({})).await, 1).await;
    user.add_to_cart(shop.product(json!({})).await, 1).await;
    for _ in 0..2 {
        let cart = user.delete("/api/cart/clear").await.is(200);
        assert_eq!((&cart["items"], &cart["total_cents"]), (&json!([]), &json!(0)));
    }
}

#[tokio::test]
async fn concurrent_adds_from_two_devices_all_count() {
    let shop = Shop::running();
    let phone = shop.user().await;
    let laptop = phone.sign_in_at(&shop).await;
    let product = shop.product(json!({})).await;
    let adds = (0..50).map(|index| add(if index % 2 == 0 { &phone } else { &laptop }, product, 1).into_future());
    for reply in join_all(adds).await {
        reply.is(200);
    }
    assert_eq!(content(&phone.cart().await), [(product, 50)]);
}

#[tokio::test]
async fn concurrent_adds_do_not_exceed_999_units() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 5000 })).await;
    let replies = join_all((0..12).map(|_| add(&user, product, 100).into_future())).await;
    let added = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(added, 9);
    assert_eq!(content(&user.cart().await), [(product, 900)]);
}

#[tokio::test]
async fn a_new_price_shows_in_the_cart() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let product = shop.product(json!({ "price_cents": 100 })).await;
    user.add_to_cart(product, 2).await;
    let price = json!({ "price_cents": 150 });
    admin.put(&format!("/api/product/{product}")).json(price).await.is(200);
    eventually("the cart shows the new price", Duration::from_secs(1), async || {
        let cart = user.cart().await;
        adds_up(&cart);
        (cart["items"][0]["price_cents"] == 150 && cart["total_cents"] == 300).then_some(())
    })
    .await;
}

#[tokio::test]
async fn totals_beyond_32_bits_are_right() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "price_cents": 100_000_000_000_i64, "stock": 999 })).await;
    let cart = user.add_to_cart(product, 999).await;
    assert_eq!(cart["total_cents"], 99_900_000_000_000_i64);
    adds_up(&cart);
}

#[tokio::test]
async fn carts_are_private() {
    let shop = Shop::running();
    let (ann, bob) = (shop.user().await, shop.user().await);
    let product = shop.product(json!({})).await;
    ann.add_to_cart(product, 1).await;
    assert_eq!(bob.cart().await["items"], json!([]));
    bob.delete("/api/cart/clear").await.is(200);
    assert_eq!(content(&ann.cart().await), [(product, 1)]);
}
