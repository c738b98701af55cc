//! Products: created, changed, taken off the shelf, read.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Reply, Shop, Stock, User, eventually, unique};

const FIELDS: [&str; 12] = [
    "product_id",
    "name",
    "description",
    "image_url",
    "category_id",
    "price_cents",
    "currency",
    "available",
    "sold",
    "on_shelf",
    "created_at",
    "updated_at",
];

async fn create(admin: &User, field: &str, value: Value) -> Reply {
    let mut product = json!({ "name": "A thing", "price_cents": 100, "stock": 1, "on_shelf": false });
    product[field] = value;
    admin.post("/api/product").json(product).await
}

fn path(product_id: i64) -> String {
    format!("/api/product/{product_id}")
}

#[tokio::test]
async fn a_product_reads_back_as_it_was_created() {
    let shop = Shop::running();
    let category = shop.category(None).await;
    let created = shop
        .admin()
        .await
        .post("/api/product")
        .json(json!({
            "name": "Tea 茶",
            "price_cents": 1234,
            "stock": 7,
            "category_id": category,
            "description": "Green.\nLoose leaf.",
            "image_url": "https://img.example/tea.webp",
        }))
        .await
        .is(201);
    let product_id = created["product_id"].as_i64().expect("an id");
    let read = shop.get(&path(product_id)).await.is(200);
    for field in FIELDS {
        assert!(read.get(field).is_some(), "{field}: {read}");
        assert_eq!(read[field], created[field], "{field}");
    }
    assert_eq!(read["name"], "Tea 茶");
    assert_eq!(read["description"], "Green.\nLoose leaf.");
    assert_eq!(read["image_url"], "https://img.example/tea.webp");
    assert_eq!(read["category_id"], category);
    assert_eq!(read["price_cents"], 1234);
    assert_eq!(read["currency"], "CNY");
    assert_eq!((&read["available"], &read["sold"]), (&json!(7), &json!(0)));
    assert_eq!(read["on_shelf"], true, "on the shelf by default");
}

#[tokio::test]
async fn only_admins_see_reserved_stock() {
    let shop = Shop::running();
    let product = shop.product(json!({ "stock": 5 })).await;
    shop.user().await.new_order(&[(product, 2)]).await;
    let seen = shop.admin().await.get(&path(product)).await.is(200);
    assert_eq!(Stock::read(&seen), Stock { available: 3, reserved: 2, sold: 0 });
    let seen = shop.get(&path(product)).await.is(200);
    assert!(seen.get("reserved").is_none(), "{seen}");
    let user = shop.user().await;
    let seen = user.get(&path(product)).await.is(200);
    assert!(seen.get("reserved").is_none(), "{seen}");
}

#[tokio::test]
async fn product_fields_are_validated() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let url = |length: usize| format!("https://img.example/{}", "x".repeat(length - 20));
    for (field, value) in [
        ("name", json!("x")),
        ("name", json!("茶".repeat(200))),
        ("name", json!("🍵".repeat(200))),
        ("price_cents", json!(1)),
        ("price_cents", json!(100_000_000_000_i64)),
        ("stock", json!(0)),
        ("stock", json!(1_000_000_000)),
        ("description", json!("")),
        ("description", json!("茶".repeat(10_000))),
        ("image_url", json!(url(2048))),
        ("image_url", json!("http://img.example/a.png")),
        ("image_url", json!("/img/a.png")),
    ] {
        let created = create(&admin, field, value.clone()).await.is(201);
        let stored = if field == "stock" { &created["available"] } else { &created[field] };
        assert_eq!(stored, &value, "{field}");
    }
    for (field, value) in [
        ("name", json!("")),
        ("name", json!("茶".repeat(201))),
        ("price_cents", json!(0)),
        ("price_cents", json!(-1)),
        ("price_cents", json!(100_000_000_001_i64)),
        ("price_cents", json!(1.5)),
        ("price_cents", json!("100")),
        ("stock", json!(-1)),
        ("stock", json!(1_000_000_001)),
        ("description", json!("茶".repeat(10_001))),
        ("image_url", json!(url(2049))),
        ("image_url", json!("javascript:alert(1)")),
        ("image_url", json!("data:text/html,x")),
        ("image_url", json!("ftp://img.example/a.png")),
        ("image_url", json!("img.png")),
        ("category_id", json!(9_007_199_254_740_991_i64)),
        ("category_id", json!(0)),
        ("category_id", json!("1")),
        ("on_shelf", json!("yes")),
        ("on_shelf", json!(1)),
    ] {
        create(&admin, field, value).await.invalid(field);
    }
}

#[tokio::test]
async fn updated_product_fields_are_validated() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let product = shop.product(json!({})).await;
    for (field, value) in [
        ("name", json!("")),
        ("name", json!("x".repeat(201))),
        ("price_cents", json!(0)),
        ("price_cents", json!(100_000_000_001_i64)),
        ("description", json!("x".repeat(10_001))),
        ("image_url", json!("javascript:alert(1)")),
        ("category_id", json!(9_007_199_254_740_991_i64)),
        ("stock", json!(5)),
    ] {
        admin.put(&path(product)).json(json!({ field: value })).await.invalid(field);
    }
}

#[tokio::test]
async fn an_update_changes_only_the_fields_it_names() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let category = shop.category(None).await;
    let product = shop.product(json!({ "description": "old", "stock": 9 })).await;
    let before = admin.get(&path(product)).await.is(200);
    let changed = admin.put(&path(product)).json(json!({ "price_cents": 77, "category_id": category }));
    let changed = changed.await.is(200);
    let after = admin.get(&path(product)).await.is(200);
    for field in FIELDS {
        match field {
            "price_cents" => assert_eq!(after[field], 77),
            "category_id" => assert_eq!(after[field], category),
            "updated_at" => assert!(after[field].as_str() >= before[field].as_str(), "{after}"),
            _ => assert_eq!(after[field], before[field], "{field}"),
        }
        assert_eq!(changed[field], after[field], "the reply's {field}");
    }
}

#[tokio::test]
async fn an_unknown_product_is_not_found() {
    let admin = Shop::running().admin().await;
    let nothing = path(9_007_199_254_740_991);
    admin.get(&nothing).await.problem(404, "not_found");
    admin.put(&nothing).json(json!({ "price_cents": 1 })).await.problem(404, "not_found");
    admin.delete(&nothing).await.problem(404, "not_found");
    let delta = json!({ "delta": 1, "reason": "found" });
    admin.post(&format!("{nothing}/stock")).json(delta).await.problem(404, "not_found");
}

#[tokio::test]
async fn an_update_is_seen_by_everyone_within_a_second() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let small = shop.product(json!({ "price_cents": 100 })).await;
    // Too large for the cache that an instance keeps.
    let large = shop.product(json!({ "price_cents": 100, "description": "长".repeat(10_000) })).await;
    let products = [small, large];
    for price in [200, 300, 400] {
        for product in products {
            shop.get(&path(product)).await.is(200);
            admin.put(&path(product)).json(json!({ "price_cents": price })).await.is(200);
        }
        let changed = Instant::now();
        while changed.elapsed() < Duration::from_millis(1300) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            // Both at the same time: one request fills the cache, the other does without.
            for (product, sent, reply) in join_all(products.map(async |product| {
                let sent = changed.elapsed();
                (product, sent, shop.get(&path(product)).await)
            }))
            .await
            {
                let seen = reply.is(200)["price_cents"].clone();
                assert!(sent <= Duration::from_secs(1) || seen == price, "{product}: {seen} after {sent:?}");
            }
        }
    }
}

#[tokio::test]
async fn admins_never_read_stale_products() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let product = shop.product(json!({})).await;
    for price in 1..=20 {
        shop.get(&path(product)).await.is(200);
        admin.put(&path(product)).json(json!({ "price_cents": price })).await.is(200);
        assert_eq!(admin.get(&path(product)).await.is(200)["price_cents"], price);
    }
}

#[tokio::test]
async fn a_matching_etag_gives_304() {
    let shop = Shop::running();
    let product = shop.product(json!({})).await;
    let reply = shop.get(&path(product)).await;
    let etag = reply.header("etag").expect("an ETag").to_owned();
    assert!(etag.trim_start_matches("W/").starts_with('"') && etag.ends_with('"'), "{etag}");
    let strong = etag.trim_start_matches("W/").to_owned();
    for condition in [
        etag.clone(),
        format!("W/{strong}"),
        format!("\"other\", {etag}"),
        format!("\"a,b\",{etag} , \"c\""),
        "*".to_owned(),
    ] {
        let reply = shop.get(&path(product)).header("if-none-match", &condition).await;
        reply.is(304);
        assert_eq!(reply.header("etag"), Some(etag.as_str()), "{condition}: {reply}");
    }
    for condition in ["\"other\"", "", "other", "\"", &strong.replace('"', "")] {
        let reply = shop.get(&path(product)).header("if-none-match", condition).await;
        reply.is(200);
    }
}

#[tokio::test]
async fn an_etag_changes_with_the_product() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let product = shop.product(json!({})).await;
    let etag = async |user: &User| user.get(&path(product)).await.header("etag").map(str::to_owned);
    let first = etag(&admin).await;
    admin.put(&path(product)).json(json!({ "name": "Another name" })).await.is(200);
    let second = etag(&admin).await;
    assert!(first.is_some() && first != second, "{first:?} {second:?}");
    let delta = json!({ "delta": 1, "reason": "found" });
    admin.post(&format!("{}/stock", path(product))).json(delta).await.is(200);
    let third = etag(&admin).await;
    assert_ne!(second, third, "the stock is part of the ETag");
    let old = admin.get(&path(product)).header("if-none-match", second.unwrap_or_default()).await;
    old.is(200);
}

#[tokio::test]
async fn products_have_different_etags() {
    let shop = Shop::running();
    let (one, two) = (shop.product(json!({})).await, shop.product(json!({})).await);
    let etag = async |product: i64| {
        let reply = shop.get(&format!("/api/product/{product}")).await;
        reply.header("etag").map(str::to_owned)
    };
    assert_ne!(etag(one).await, etag(two).await);
}

#[tokio::test]
async fn only_admins_see_products_off_the_shelf() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let product = shop.product(json!({ "on_shelf": false })).await;
    shop.get(&path(product)).await.problem(404, "not_found");
    user.get(&path(product)).await.problem(404, "not_found");
    assert_eq!(admin.get(&path(product)).await.is(200)["on_shelf"], false);

    admin.put(&path(product)).json(json!({ "on_shelf": true })).await.is(200);
    eventually("the product is on the shelf", Duration::from_secs(1), async || {
        (user.get(&path(product)).await.status == 200).then_some(())
    })
    .await;
    admin.put(&path(product)).json(json!({ "on_shelf": false })).await.is(200);
    eventually("the product is off the shelf", Duration::from_secs(1), async || {
        (user.get(&path(product)).await.status == 404).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_deleted_product_leaves_the_shelf_but_stays_in_orders() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let name = format!("Lamp {}", unique());
    let category = shop.category(None).await;
    let product = shop.product(json!({ "name": name, "price_cents": 500, "category_id": category })).await;
    let order = user.new_order(&[(product, 1)]).await;
    shop.get(&path(product)).await.is(200);
    let reply = admin.delete(&path(product)).await;
    reply.is(204);
    assert!(reply.body.is_empty());
    eventually("the product is gone", Duration::from_secs(1), async || {
        (shop.get(&path(product)).await.status == 404).then_some(())
    })
    .await;
    assert_eq!(admin.get(&format!("/api/product?category_id={category}")).await.is(200)["items"], json!([]));
    let item = &user.get_order(&order).await["items"][0];
    assert_eq!((&item["name"], &item["price_cents"]), (&json!(name), &json!(500)));
    user.pay(&order).await.is(200);
}

#[tokio::test]
async fn a_batch_takes_products_off_the_shelf_and_back() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let mut products = Vec::new();
    for _ in 0..3 {
        products.push(shop.product(json!({})).await);
    }
    for on_shelf in [false, true] {
        let batch = json!({ "product_ids": products, "on_shelf": on_shelf });
        let reply = admin.post("/api/product/batch").json(batch).await.is(200);
        assert_eq!(reply["updated"], 3);
        for product in &products {
            assert_eq!(admin.get(&path(*product)).await.is(200)["on_shelf"], on_shelf);
        }
    }
}

#[tokio::test]
async fn a_batch_with_an_unknown_product_changes_nothing() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let product = shop.product(json!({})).await;
    let batch = json!({ "product_ids": [product, 9_007_199_254_740_991_i64], "on_shelf": false });
    let reply = admin.post("/api/product/batch").json(batch).await;
    let problem = reply.problem(422, "invalid");
    assert!(problem["errors"].to_string().contains("product_ids"), "{reply}");
    assert_eq!(admin.get(&path(product)).await.is(200)["on_shelf"], true);
}

#[tokio::test]
async fn hot_products_are_the_best_sellers() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 1_000_000, "price_cents": 1 })).await;
    // Far more than any other test sells.
    for _ in 0..3 {
        let order = user.new_order(&[(product, 999)]).await;
        user.pay(&order).await.is(200);
    }
    eventually("the product is hot", Duration::from_secs(10), async || {
        let hot = shop.get("/api/product/hot?limit=100").await.is(200);
        let items = hot["items"].as_array().expect("items");
        items.iter().any(|item| item["product_id"] == product).then_some(())
    })
    .await;
    let hot = shop.get("/api/product/hot?limit=1").await.is(200);
    assert_eq!(hot["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn admins_never_read_stale_hot_products() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let product = shop.product(json!({ "stock": 1_000_000, "price_cents": 1 })).await;
    let order = user.new_order(&[(product, 999)]).await;
    user.pay(&order).await.is(200);
    let hot = async || {
        let hot = admin.get("/api/product/hot?limit=100").await.is(200);
        let items = hot["items"].as_array().expect("items");
        items.iter().find(|item| item["product_id"] == product).cloned().expect("the product is hot")
    };
    let before = hot().await;
    assert_eq!(before["reserved"], 0, "an admin sees what is reserved: {before}");
    admin.put(&path(product)).json(json!({ "price_cents": 2 })).await.is(200);
    assert_eq!(hot().await["price_cents"], 2);
}
