//! Another engine in the place of the pricing component, by one line of `spin.toml`.

use serde_json::json;

use crate::harness::{OwnShop, Stock};

#[tokio::test]
async fn a_shop_with_another_engine_has_other_prices_from_the_cart_to_the_refund() {
    let shop = OwnShop::with().replacing("release/pricing.wasm", "release/pricing_flat.wasm").start().await;
    let user = shop.user().await;
    let dear = shop.product(json!({ "price_cents": 1000 })).await;
    let cheap = shop.product(json!({ "price_cents": 30 })).await;
    // What the other engine would take off.
    let rule = json!({ "effect": { "kind": "percent_off", "percent": 50 }, "product_ids": [dear, cheap] });
    shop.promotion(json!({ "rule": rule })).await;
    let code = shop.coupon(json!({ "rule": rule })).await;

    user.add(dear, 3).await;
    let cart = user.add(cheap, 2).await;
    let flat = json!([{ "name": "1.00 off every piece", "amount_cents": 360 }]);
    let quote = user.post("/api/checkout/quote").await.is(200);
    let order = user.post("/api/checkout").await.is(201);
    for sums in [&cart, &quote, &order] {
        assert_eq!(sums["discounts"], flat, "{sums}");
        assert_eq!((&sums["subtotal_cents"], &sums["total_cents"]), (&json!(3060), &json!(2700)), "{sums}");
    }
    assert_eq!(order["items"][0]["discount_cents"], 300, "{order}");
    let with_coupon = json!({ "items": [{ "product_id": dear, "quantity": 1 }], "coupon_code": code });
    user.post("/api/order").json(with_coupon).await.problem(409, "coupon_invalid");
    let paid = user.paying(order["order_no"].as_str().expect("a number")).await.is(200);
    assert_eq!(paid["amount_cents"], 2700);
    assert_eq!(shop.stock(dear).await, Stock { available: 97, reserved: 0, sold: 3 });
}
