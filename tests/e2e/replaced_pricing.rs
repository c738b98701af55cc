//! The pricing component is replaced by another one, with one line of `spin.toml`.

use serde_json::json;

use crate::harness::{DedicatedShop, Stock};

#[tokio::test]
async fn a_replaced_pricing_component_sets_the_prices_everywhere() {
    let shop =
        DedicatedShop::builder().replace_in_manifest("release/pricing.wasm", "release/pricing_flat.wasm").start().await;
    let user = shop.user().await;
    let expensive = shop.product(json!({ "price_cents": 1000 })).await;
    let cheap = shop.product(json!({ "price_cents": 30 })).await;
    // Discounts that the replaced component would give.
    let rule = json!({ "effect": { "kind": "percent_off", "percent": 50 }, "product_ids": [expensive, cheap] });
    shop.promotion(json!({ "rule": rule })).await;
    let code = shop.coupon(json!({ "rule": rule })).await;

    user.add_to_cart(expensive, 3).await;
    let cart = user.add_to_cart(cheap, 2).await;
    let flat = json!([{ "name": "1.00 off every piece", "amount_cents": 360 }]);
    let quote = user.post("/api/checkout/quote").await.is(200);
    let order = user.post("/api/checkout").await.is(201);
    for totals in [&cart, &quote, &order] {
        assert_eq!(totals["discounts"], flat, "{totals}");
        assert_eq!((&totals["subtotal_cents"], &totals["total_cents"]), (&json!(3060), &json!(2700)), "{totals}");
    }
    assert_eq!(order["items"][0]["discount_cents"], 300, "{order}");
    let with_coupon = json!({ "items": [{ "product_id": expensive, "quantity": 1 }], "coupon_code": code });
    user.post("/api/order").json(with_coupon).await.problem(409, "coupon_invalid");
    let paid = user.pay(order["order_no"].as_str().expect("a number")).await.is(200);
    assert_eq!(paid["amount_cents"], 2700);
    assert_eq!(shop.stock(expensive).await, Stock { available: 97, reserved: 0, sold: 3 });
}
