//! What is bought together.

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
    let order = user.order(&items).await;
    user.paying(&order).await.is(200);
}

/// Workers count after the payment; an admin's reads are never old.
async fn becomes(admin: &User, product: i64, expected: &[i64]) {
    let mut seen = Vec::new();
    let what = format!("{expected:?} with {product}");
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
async fn what_is_bought_together_most_comes_first() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let [phone, case, cable] = products(&shop, None).await;
    buy(&user, &[phone, cable]).await;
    becomes(&admin, phone, &[cable]).await;
    for _ in 0..2 {
        buy(&user, &[case, phone]).await;
    }
    becomes(&admin, phone, &[case, cable]).await;
    becomes(&admin, case, &[phone]).await;
    becomes(&admin, cable, &[phone]).await;

    let seen = shop.get(&path(phone)).await.is(200);
    assert_eq!(ids(&seen), [case, cable]);
    assert!(seen["items"][0].get("reserved").is_none(), "{seen}");
    assert_eq!(ids(&shop.get(&format!("{}?limit=1", path(phone))).await.is(200)), [case]);
}

#[tokio::test]
async fn an_order_that_is_not_paid_does_not_count() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let [a, b, c] = products(&shop, None).await;
    let declined = user.order(&[(a, 1), (b, 1)]).await;
    user.post(&format!("/api/order/{declined}/pay")).json(json!({ "provider": "mock-fail" })).await;
    buy(&user, &[a]).await;
    buy(&user, &[a, c]).await;
    becomes(&admin, a, &[c]).await;
}

#[tokio::test]
async fn what_sells_best_in_the_category_fills_up() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let category = shop.category(None).await;
    let [phone, best, second, last] = products(&shop, Some(category)).await;
    let [elsewhere] = products(&shop, None).await;
    buy(&user, &[best]).await;
    buy(&user, &[best]).await;
    buy(&user, &[second]).await;
    becomes(&admin, phone, &[best, second, last]).await;
    buy(&user, &[phone, elsewhere]).await;
    becomes(&admin, phone, &[elsewhere, best, second, last]).await;
    buy(&user, &[phone, last]).await;
    becomes(&admin, phone, &[elsewhere, last, best, second]).await;
    let three = admin.get(&format!("{}?limit=3", path(phone))).await.is(200);
    assert_eq!(ids(&three), [elsewhere, last, best]);
}

#[tokio::test]
async fn what_is_off_the_shelf_is_neither_shown_nor_asked_for() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let category = shop.category(None).await;
    let [phone, case] = products(&shop, Some(category)).await;
    let [other] = products(&shop, None).await;
    buy(&user, &[phone, case, other]).await;
    becomes(&admin, phone, &[other, case]).await;
    let shelf = async |product: i64, on_shelf: bool| {
        let batch = json!({ "product_ids": [product], "on_shelf": on_shelf });
        admin.post("/api/product/batch").json(batch).await.is(200);
    };
    shelf(case, false).await;
    becomes(&admin, phone, &[other]).await;
    shelf(phone, false).await;
    eventually("it is gone", Duration::from_secs(1), async || {
        (shop.get(&path(phone)).await.status == 404).then_some(())
    })
    .await;
    shop.get(&path(phone)).await.problem(404, "not_found");
    becomes(&admin, phone, &[other]).await;
    shelf(phone, true).await;
    eventually("it is back", Duration::from_secs(1), async || {
        (shop.get(&path(phone)).await.status == 200).then_some(())
    })
    .await;
    shop.get(&path(9_007_199_254_740_991)).await.problem(404, "not_found");
    admin.get(&path(9_007_199_254_740_991)).await.problem(404, "not_found");
    for limit in ["0", "101", "x", "-1"] {
        shop.get(&format!("{}?limit={limit}", path(phone))).await.invalid("limit");
    }
}

/// Orders whose pairs overlap, many at once, done by two shops' workers.
#[tokio::test]
async fn every_order_counts_once_whoever_counts() {
    const ORDERS: i64 = 60;
    let servers = Servers::start().await;
    let (one, two) = (servers.shop().start().await, servers.shop().start().await);
    let products: [i64; 8] = products(&one, None).await;
    let buyers = servers.crowd(&one, ORDERS).await;
    join_all(buyers.iter().enumerate().map(async |(n, buyer)| {
        // Each leaves out one, and has its own order of the others.
        let mut items: Vec<_> = products.iter().copied().filter(|product| *product != products[n % 8]).collect();
        items.rotate_left(n % 7);
        if n % 2 == 0 {
            items.reverse();
        }
        let buyer = User { shop: if n % 2 == 0 { (*one).clone() } else { (*two).clone() }, ..buyer.clone() };
        buy(&buyer, &items).await;
    }))
    .await;
    eventually("all are counted", Duration::from_secs(30), async || {
        let left = servers.number("SELECT COUNT(*) FROM jobs WHERE queue = 'fulfil'").await;
        (left == 0).then_some(())
    })
    .await;
    // Seven products: 42 pairs, both directions, of each.
    let times = servers.number("SELECT CAST(SUM(times) AS SIGNED) FROM product_pairs").await;
    assert_eq!(times, ORDERS * 42);
    assert_eq!(servers.number("SELECT COUNT(*) FROM product_pairs").await, 56);
}

#[tokio::test]
async fn of_a_large_order_a_bounded_number_of_pairs_is_counted() {
    let servers = Servers::start().await;
    let shop = servers.shop().start().await;
    let products: [i64; 100] = products(&shop, None).await;
    let buyer = servers.crowd(&shop, 1).await.remove(0);
    buy(&buyer, &products).await;
    eventually("it is counted", Duration::from_secs(10), async || {
        let left = servers.number("SELECT COUNT(*) FROM jobs WHERE queue = 'fulfil'").await;
        (left == 0).then_some(())
    })
    .await;
    assert_eq!(servers.number("SELECT COUNT(*) FROM product_pairs").await, 20 * 19);
}
