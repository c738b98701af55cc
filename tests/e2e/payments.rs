//! Payments.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Call, DedicatedShop, Shop, Stock, User, rules};

fn pay(user: &User, order_no: &str, form: Value) -> Call {
    user.post(&format!("/api/order/{order_no}/pay")).json(form)
}

#[tokio::test]
async fn a_mock_payment_settles_at_once() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "price_cents": 333, "stock": 5 })).await;
    let order = user.new_order(&[(product, 3)]).await;
    let payment = pay(&user, &order, json!({ "provider": "mock" })).await.is(200);
    assert!(payment["payment_no"].is_string(), "{payment}");
    assert_eq!(payment["order_no"], order.as_str());
    assert_eq!(payment["status"], "succeeded");
    assert_eq!(payment["amount_cents"], 999);
    assert_eq!((&payment["currency"], &payment["provider"]), (&json!("CNY"), &json!("mock")));
    assert_eq!(shop.stock(product).await, Stock { available: 2, reserved: 0, sold: 3 });
    let paid = user.get_order(&order).await;
    // A worker may have shipped it already.
    assert!(["paid", "shipped"].contains(&paid["status"].as_str().unwrap_or_default()), "{paid}");
    assert!(rules::is_time(&paid["paid_at"]), "{paid}");
}

#[tokio::test]
async fn an_order_can_be_paid_once() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 5 })).await;
    let order = user.new_order(&[(product, 1)]).await;
    user.pay(&order).await.is(200);
    user.pay(&order).await.problem(409, "order_state");
    pay(&user, &order, json!({ "provider": "mock-fail" })).await.problem(409, "order_state");
    assert_eq!(shop.stock(product).await, Stock { available: 4, reserved: 0, sold: 1 });
}

#[tokio::test]
async fn a_cancelled_order_can_not_be_paid() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 5 })).await;
    let order = user.new_order(&[(product, 1)]).await;
    user.cancel(&order).await.is(200);
    user.pay(&order).await.problem(409, "order_state");
    assert_eq!(shop.stock(product).await, Stock { available: 5, reserved: 0, sold: 0 });
}

#[tokio::test]
async fn a_declined_payment_leaves_the_order_pending() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 5 })).await;
    let order = user.new_order(&[(product, 1)]).await;
    for _ in 0..2 {
        let declined = pay(&user, &order, json!({ "provider": "mock-fail" })).await;
        declined.problem(402, "payment_declined");
    }
    let seen = user.get_order(&order).await;
    assert_eq!((&seen["status"], &seen["paid_at"]), (&json!("pending"), &Value::Null));
    assert_eq!(shop.stock(product).await, Stock { available: 4, reserved: 1, sold: 0 });
    user.pay(&order).await.is(200);
}

#[tokio::test]
async fn an_unknown_provider_is_invalid() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    let order = user.new_order(&[(product, 1)]).await;
    for provider in [json!("paypal"), json!(""), json!("MOCK"), json!("mock "), json!(1), json!(null)] {
        pay(&user, &order, json!({ "provider": provider })).await.invalid("provider");
    }
    pay(&user, &order, json!({})).await.invalid("provider");
    assert_eq!(user.get_order(&order).await["status"], "pending");
}

#[tokio::test]
async fn an_expired_order_can_not_be_paid() {
    let shop = DedicatedShop::builder().variable("order_ttl_seconds", 1).start().await;
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 5 })).await;
    let in_time = user.new_order(&[(product, 1)]).await;
    user.pay(&in_time).await.is(200);
    let late = user.new_order(&[(product, 1)]).await;
    // The order expires by the clock; there is nothing else to wait for.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    user.pay(&late).await.problem(409, "order_state");
    let stock = shop.stock(product).await;
    assert_eq!((stock.sum(), stock.sold), (5, 1), "{stock:?}");
}
