//! Stock changes by admins.

use std::future::IntoFuture;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Call, Shop, Stock, User, unique};

fn change_stock(admin: &User, product_id: i64, change: Value) -> Call {
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
    let up = change_stock(&admin, product, by(5)).await.is(200);
    assert_eq!(Stock::read(&up), Stock { available: 15, reserved: 0, sold: 0 });
    let down = change_stock(&admin, product, by(-15)).await.is(200);
    assert_eq!(Stock::read(&down), Stock { available: 0, reserved: 0, sold: 0 });
    assert_eq!(shop.stock(product).await.available, 0);
}

#[tokio::test]
async fn stock_never_goes_below_zero() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    change_stock(&admin, product, by(-11)).await.problem(409, "out_of_stock");
    // Reserved units can't be written off.
    shop.user().await.new_order(&[(product, 4)]).await;
    change_stock(&admin, product, by(-7)).await.problem(409, "out_of_stock");
    assert_eq!(shop.stock(product).await, Stock { available: 6, reserved: 4, sold: 0 });
    change_stock(&admin, product, by(-6)).await.is(200);
}

#[tokio::test]
async fn stock_changes_are_validated() {
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
        change_stock(&admin, product, change).await.invalid(field);
    }
    // The new total has the same bound.
    change_stock(&admin, product, by(999_999_901)).await.invalid("delta");
    change_stock(&admin, product, by(999_999_900)).await.is(200);
    change_stock(&admin, product, by(-999_999_900)).await.is(200);
    change_stock(&admin, product, json!({ "delta": 1 })).await.invalid("reason");
    change_stock(&admin, product, json!({ "reason": "x" })).await.invalid("delta");
    change_stock(&admin, product, json!({ "delta": 1, "reason": "茶".repeat(200) })).await.is(200);
}

#[tokio::test]
async fn a_stock_change_repeated_with_its_key_happens_once() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    let key = unique();
    let first = change_stock(&admin, product, by(3)).key(&key).await;
    first.is(200);
    assert!(!first.replayed());
    for _ in 0..2 {
        let again = change_stock(&admin, product, by(3)).key(&key).await;
        again.is(200);
        assert!(again.replayed(), "{again}");
        assert_eq!(again.body, first.body);
    }
    change_stock(&admin, product, by(4)).key(&key).await.problem(422, "idempotency_mismatch");
    assert_eq!(shop.stock(product).await.available, 13);
}

#[tokio::test]
async fn concurrent_stock_changes_all_count() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let product = shop.product(json!({ "stock": 50 })).await;
    let deltas = (0..20).map(|index| if index % 2 == 0 { 3 } else { -1 });
    let replies = join_all(deltas.map(|delta| change_stock(&admin, product, by(delta)).into_future())).await;
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
    let sold = user.new_order(&[(product, 3)]).await;
    let cancelled = user.new_order(&[(product, 2)]).await;
    assert_eq!(stock().await, Stock { available: 5, reserved: 5, sold: 0 });
    user.pay(&sold).await.is(200);
    assert_eq!(stock().await, Stock { available: 5, reserved: 2, sold: 3 });
    user.cancel(&cancelled).await.is(200);
    assert_eq!(stock().await, Stock { available: 7, reserved: 0, sold: 3 });
    change_stock(&admin, product, by(-2)).await.is(200);
    assert_eq!(stock().await, Stock { available: 5, reserved: 0, sold: 3 });
}
