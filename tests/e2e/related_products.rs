//! Related products: those that are bought together.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Servers, Shop, User, eventually};

fn path(product: i64) -> String {
    format!("/api/product/{product}/related")
}

fn ids(related: &Value) -> Vec<i64> {
    let items = related["items"].as_array().expect("items");
    items.iter().filter_map(|item| item["product_id"].as_i64()).collect()
}

async fn buy(user: &User, products: &[i64]) {
    let items: Vec<_> = products.iter().map(|product| (*product, 1)).collect();
    let order = user.new_order(&items).await;
    user.pay(&order).await.is(200);
}

/// Waits until these are the related products. Workers count after the payment; admins never read from a cache.
async fn related_becomes(admin: &User, product: i64, expected: &[i64]) {
    let mut seen = Vec::new();
    let what = format!("{expected:?} are related to {product}");
    eventually(&what, Duration::from_secs(10), async || {
        seen = ids(&admin.get(&path(product)).await.is(200));
        (seen == expected).then_some(())
    })
    .await;
}

async fn products<const N: usize>(shop: &Shop, category: Option<i64>) -> [i64; N] {
    let mut products = [0; N];
    for product in &mut products {
        *product = shop.product(json!({ "category_id": category })).await;
    }
    products
}

#[tokio::test]
async fn products_most_often_bought_together_come_first() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let [phone, case, cable] = products(&shop, None).await;
    buy(&user, &[phone, cable]).await;
    related_becomes(&admin, phone, &[cable]).await;
    for _ in 0..2 {
        buy(&user, &[case, phone]).await;
    }
    related_becomes(&admin, phone, &[case, cable]).await;
    related_becomes(&admin, case, &[phone]).await;
    related_becomes(&admin, cable, &[phone]).await;

    let seen = shop.get(&path(phone)).await.is(200);
    assert_eq!(ids(&seen), [case, cable]);
    assert!(seen["items"][0].get("reserved").is_none(), "{seen}");
    assert_eq!(ids(&shop.get(&format!("{}?limit=1", path(phone))).await.is(200)), [case]);
}

#[tokio::test]
async fn unpaid_orders_do_not_count() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let [a, b, c] = products(&shop, None).await;
    let declined = user.new_order(&[(a, 1), (b, 1)]).await;
    user.post(&format!("/api/order/{declined}/pay")).json(json!({ "provider": "mock-fail" })).await;
    buy(&user, &[a]).await;
    buy(&user, &[a, c]).await;
    related_becomes(&admin, a, &[c]).await;
}

#[tokio::test]
async fn best_sellers_of_the_category_fill_the_list() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let category = shop.category(None).await;
    let [phone, best, second, last] = products(&shop, Some(category)).await;
    let [elsewhere] = products(&shop, None).await;
    buy(&user, &[best]).await;
    buy(&user, &[best]).await;
    buy(&user, &[second]).await;
    related_becomes(&admin, phone, &[best, second, last]).await;
    buy(&user, &[phone, elsewhere]).await;
    related_becomes(&admin, phone, &[elsewhere, best, second, last]).await;
    buy(&user, &[phone, last]).await;
    related_becomes(&admin, phone, &[elsewhere, last, best, second]).await;
    let three = admin.get(&format!("{}?limit=3", path(phone))).await.is(200);
    assert_eq!(ids(&three), [elsewhere, last, best]);
}

#[tokio::test]
async fn products_off_the_shelf_are_not_related() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let category = shop.category(None).await;
    let [phone, case] = products(&shop, Some(category)).await;
    let [other] = products(&shop, None).await;
    buy(&user, &[phone, case, other]).await;
    related_becomes(&admin, phone, &[other, case]).await;
    let shelf = async |product: i64, on_shelf: bool| {
        let batch = json!({ "product_ids": [product], "on_shelf": on_shelf });
        admin.post("/api/product/batch").json(batch).await.is(200);
    };
    shelf(case, false).await;
    related_becomes(&admin, phone, &[other]).await;
    shelf(phone, false).await;
    eventually("the product is gone", Duration::from_secs(1), async || {
        (shop.get(&path(phone)).await.status == 404).then_some(())
    })
    .await;
    shop.get(&path(phone)).await.problem(404, "not_found");
    related_becomes(&admin, phone, &[other]).await;
    shelf(phone, true).await;
    eventually("the product is back", Duration::from_secs(1), async || {
        (shop.get(&path(phone)).await.status == 200).then_some(())
    })
    .await;
    shop.get(&path(9_007_199_254_740_991)).await.problem(404, "not_found");
    admin.get(&path(9_007_199_254_740_991)).await.problem(404, "not_found");
    for limit in ["0", "101", "x", "-1"] {
        shop.get(&format!("{}?limit={limit}", path(phone))).await.invalid("limit");
    }
}

/// Many orders whose pairs overlap, counted by the workers of two runtimes.
#[tokio::test]
async fn every_order_is_counted_once_by_two_runtimes() {
    const ORDERS: i64 = 60;
    let servers = Servers::start().await;
    let (one, two) = (servers.unthrottled_shop().start().await, servers.unthrottled_shop().start().await);
    let products: [i64; 8] = products(&one, None).await;
    let buyers = servers.insert_users(&one, ORDERS).await;
    join_all(buyers.iter().enumerate().map(async |(n, buyer)| {
        // Each order leaves out one product, and has the others in a different sequence.
        let mut items: Vec<_> = products.iter().copied().filter(|product| *product != products[n % 8]).collect();
        items.rotate_left(n % 7);
        if n % 2 == 0 {
            items.reverse();
        }
        let buyer = User { shop: if n % 2 == 0 { (*one).clone() } else { (*two).clone() }, ..buyer.clone() };
        buy(&buyer, &items).await;
    }))
    .await;
    eventually("all orders are counted", Duration::from_secs(30), async || {
        let left = servers.number("SELECT COUNT(*) FROM jobs WHERE queue = 'fulfil'").await;
        (left == 0).then_some(())
    })
    .await;
    // Each order has seven products: 42 pairs, counted in both directions.
    let times = servers.number("SELECT CAST(SUM(times) AS SIGNED) FROM product_pairs").await;
    assert_eq!(times, ORDERS * 42);
    assert_eq!(servers.number("SELECT COUNT(*) FROM product_pairs").await, 56);
}

#[tokio::test]
async fn a_large_order_adds_a_bounded_number_of_pairs() {
    let servers = Servers::start().await;
    let shop = servers.unthrottled_shop().start().await;
    let products: [i64; 100] = products(&shop, None).await;
    let buyer = servers.insert_users(&shop, 1).await.remove(0);
    buy(&buyer, &products).await;
    eventually("the order is counted", Duration::from_secs(10), async || {
        let left = servers.number("SELECT COUNT(*) FROM jobs WHERE queue = 'fulfil'").await;
        (left == 0).then_some(())
    })
    .await;
    assert_eq!(servers.number("SELECT COUNT(*) FROM product_pairs").await, 20 * 19);
}
