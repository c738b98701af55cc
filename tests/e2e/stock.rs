//! Stock as an admin moves it.

use std::future::IntoFuture;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Call, Shop, Stock, User, unique};

fn moving(admin: &User, product_id: i64, change: Value) -> Call {
    admin.post(&format!("/api/product/{product_id}/stock")).json(change)
}

fn by(delta: i64) -> Value {
    json!({ "delta": delta, "reason": "counted" })
}

#[tokio::test]
async fn stock_goes_up_and_down() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    let up = moving(&admin, product, by(5)).await.is(200);
    assert_eq!(Stock::read(&up), Stock { available: 15, reserved: 0, sold: 0 });
    let down = moving(&admin, product, by(-15)).await.is(200);
    assert_eq!(Stock::read(&down), Stock { available: 0, reserved: 0, sold: 0 });
    assert_eq!(shop.stock(product).await.available, 0);
}

#[tokio::test]
async fn stock_never_goes_below_zero() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    moving(&admin, product, by(-11)).await.problem(409, "out_of_stock");
    // What is reserved can't be written off.
    shop.user().await.order(&[(product, 4)]).await;
    moving(&admin, product, by(-7)).await.problem(409, "out_of_stock");
    assert_eq!(shop.stock(product).await, Stock { available: 6, reserved: 4, sold: 0 });
    moving(&admin, product, by(-6)).await.is(200);
}

#[tokio::test]
async fn a_stock_change_has_bounds_and_a_reason() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let product = shop.product(json!({})).await;
    for (field, value) in [
        ("delta", json!(1_000_000_001)),
        ("delta", json!(-1_000_000_001)),
        ("delta", json!(1.5)),
        ("delta", json!("1")),
        ("delta", json!(null)),
        ("reason", json!("")),
        ("reason", json!("x".repeat(201))),
        ("reason", json!(7)),
    ] {
        let mut change = by(1);
        change[field] = value;
        moving(&admin, product, change).await.invalid(field);
    }
    // The sum has bounds, too.
    moving(&admin, product, by(999_999_901)).await.invalid("delta");
    moving(&admin, product, by(999_999_900)).await.is(200);
    moving(&admin, product, by(-999_999_900)).await.is(200);
    moving(&admin, product, json!({ "delta": 1 })).await.invalid("reason");
    moving(&admin, product, json!({ "reason": "x" })).await.invalid("delta");
    moving(&admin, product, json!({ "delta": 1, "reason": "茶".repeat(200) })).await.is(200);
}

#[tokio::test]
async fn a_stock_change_with_a_key_happens_once() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    let key = unique();
    let first = moving(&admin, product, by(3)).key(&key).await;
    first.is(200);
    assert!(!first.replayed());
    for _ in 0..2 {
        let again = moving(&admin, product, by(3)).key(&key).await;
        again.is(200);
        assert!(again.replayed(), "{again}");
        assert_eq!(again.body, first.body);
    }
    moving(&admin, product, by(4)).key(&key).await.problem(422, "idempotency_mismatch");
    assert_eq!(shop.stock(product).await.available, 13);
}

#[tokio::test]
async fn many_stock_changes_at_once_all_count() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let product = shop.product(json!({ "stock": 50 })).await;
    let deltas = (0..20).map(|index| if index % 2 == 0 { 3 } else { -1 });
    let replies = join_all(deltas.map(|delta| moving(&admin, product, by(delta)).into_future())).await;
    for reply in replies {
        reply.is(200);
    }
    assert_eq!(shop.stock(product).await, Stock { available: 70, reserved: 0, sold: 0 });
}

#[tokio::test]
async fn units_are_conserved_from_stock_to_sale_and_back() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let product = shop.product(json!({ "stock": 10 })).await;
    let stock = async || shop.stock(product).await;
    let sold = user.order(&[(product, 3)]).await;
    let dropped = user.order(&[(product, 2)]).await;
    assert_eq!(stock().await, Stock { available: 5, reserved: 5, sold: 0 });
    user.paying(&sold).await.is(200);
    assert_eq!(stock().await, Stock { available: 5, reserved: 2, sold: 3 });
    user.cancelling(&dropped).await.is(200);
    assert_eq!(stock().await, Stock { available: 7, reserved: 0, sold: 3 });
    moving(&admin, product, by(-2)).await.is(200);
    assert_eq!(stock().await, Stock { available: 5, reserved: 0, sold: 3 });
}
