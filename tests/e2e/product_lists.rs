//! Lists of products: filters, sorting, pages.

use serde_json::{Value, json};

use crate::harness::{Shop, User, encode, unique};

fn ids(list: &Value) -> Vec<i64> {
    let items = list["items"].as_array().expect("items");
    items.iter().filter_map(|item| item["product_id"].as_i64()).collect()
}

fn sorted(mut ids: Vec<i64>) -> Vec<i64> {
    ids.sort_unstable();
    ids
}

/// The products that an admin finds: admins never read from a cache.
async fn found(admin: &User, query: &str) -> Vec<i64> {
    ids(&admin.get(&format!("/api/product?limit=100&{query}")).await.is(200))
}

#[tokio::test]
async fn lists_have_complete_products_that_are_on_the_shelf() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let category = shop.category(None).await;
    let product = shop.product(json!({ "category_id": category })).await;
    shop.product(json!({ "category_id": category, "on_shelf": false })).await;
    let list = admin.get(&format!("/api/product?category_id={category}")).await.is(200);
    assert_eq!(ids(&list), [product]);
    let alone = admin.get(&format!("/api/product/{product}")).await.is(200);
    for (name, value) in alone.as_object().expect("a product") {
        assert_eq!(&list["items"][0][name], value, "{name}");
    }
    let seen = shop.get(&format!("/api/product?category_id={category}")).await.is(200);
    assert_eq!(ids(&seen), [product]);
    assert!(seen["items"][0].get("reserved").is_none(), "{seen}");
}

#[tokio::test]
async fn a_category_filter_includes_subcategories() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let top = shop.category(None).await;
    let middle = shop.category(Some(top)).await;
    let bottom = shop.category(Some(middle)).await;
    let beside = shop.category(Some(top)).await;
    let mut products = Vec::new();
    for category in [top, middle, bottom, beside] {
        products.push(shop.product(json!({ "category_id": category })).await);
    }
    assert_eq!(sorted(found(&admin, &format!("category_id={top}")).await), products);
    assert_eq!(sorted(found(&admin, &format!("category_id={middle}")).await), products[1..3]);
    assert_eq!(found(&admin, &format!("category_id={bottom}")).await, products[2..3]);
}

#[tokio::test]
async fn filter_values_are_validated() {
    let shop = Shop::running();
    for (field, value) in [
        ("sort", "name"),
        ("sort", "PRICE"),
        ("sort", "--price"),
        ("sort", "price; DROP TABLE products"),
        ("category_id", "abc"),
        ("category_id", "1.5"),
        ("min_price_cents", "abc"),
        ("max_price_cents", "1.5"),
        ("max_price_cents", "99999999999999999999"),
    ] {
        let reply = shop.get(&format!("/api/product?{field}={}", encode(value))).await;
        reply.invalid(field);
    }
}

#[tokio::test]
async fn a_search_takes_its_text_literally() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let category = shop.category(None).await;
    let names =
        ["100% cotton", "100 percent", "a_b", "axb", "back\\slash", "backslash", "it's", "its", "say \"hi\"", "say hi"];
    let mut products = Vec::new();
    for name in names {
        products.push(shop.product(json!({ "name": name, "category_id": category })).await);
    }
    for (q, expected) in [
        ("100%", vec![0]),
        ("%", vec![0]),
        ("100", vec![0, 1]),
        ("a_b", vec![2]),
        ("_", vec![2]),
        ("\\", vec![4]),
        ("back", vec![4, 5]),
        ("it's", vec![6]),
        ("'", vec![6]),
        ("\"", vec![8]),
        ("say hi", vec![8, 9]),
        ("say \"hi\"", vec![8]),
        ("%%", vec![]),
        ("nothing of the kind", vec![]),
    ] {
        let expected: Vec<i64> = expected.into_iter().map(|index: usize| products[index]).collect();
        let seen = found(&admin, &format!("category_id={category}&q={}", encode(q))).await;
        assert_eq!(sorted(seen), expected, "q={q}");
    }
}

#[tokio::test]
async fn a_search_finds_a_part_of_a_chinese_word() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let category = shop.category(None).await;
    let headphones = shop.product(json!({ "name": "无线蓝牙耳机降噪版", "category_id": category })).await;
    let cable = shop.product(json!({ "name": "有线耳机", "category_id": category })).await;
    for (q, expected) in [
        ("蓝牙", vec![headphones]),
        ("牙耳", vec![headphones]),
        ("噪", vec![headphones]),
        ("耳机", vec![headphones, cable]),
        ("线", vec![headphones, cable]),
        ("键盘", vec![]),
    ] {
        let seen = found(&admin, &format!("category_id={category}&q={}", encode(q))).await;
        assert_eq!(sorted(seen), expected, "q={q}");
    }
}

#[tokio::test]
async fn a_search_finds_an_emoji_and_only_that_one() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let category = shop.category(None).await;
    let tea = shop.product(json!({ "name": "Tea 🍵", "category_id": category })).await;
    shop.product(json!({ "name": "Beer 🍺", "category_id": category })).await;
    let seen = found(&admin, &format!("category_id={category}&q={}", encode("🍵"))).await;
    assert_eq!(seen, [tea]);
}

#[tokio::test]
async fn price_filters_include_both_ends() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let category = shop.category(None).await;
    let mut products = Vec::new();
    for price in [100, 200, 300, 400] {
        products.push(shop.product(json!({ "price_cents": price, "category_id": category })).await);
    }
    for (query, expected) in [
        ("min_price_cents=200", &products[1..]),
        ("max_price_cents=300", &products[..3]),
        ("min_price_cents=200&max_price_cents=300", &products[1..3]),
        ("min_price_cents=201&max_price_cents=299", &[]),
    ] {
        let seen = found(&admin, &format!("category_id={category}&{query}")).await;
        assert_eq!(sorted(seen), expected, "{query}");
    }
}

#[tokio::test]
async fn products_sort_by_age_price_and_sales() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let category = shop.category(None).await;
    let mut products = Vec::new();
    for price in [300, 100, 200] {
        products.push(shop.product(json!({ "price_cents": price, "category_id": category })).await);
    }
    let (first, second, third) = (products[0], products[1], products[2]);
    for (product, quantity) in [(second, 2), (first, 1)] {
        let order = user.new_order(&[(product, quantity)]).await;
        user.pay(&order).await.is(200);
    }
    for (sort, expected) in [
        ("new", [third, second, first]),
        ("price", [second, third, first]),
        ("-price", [first, third, second]),
        ("sold", [second, first, third]),
    ] {
        let seen = found(&admin, &format!("category_id={category}&sort={sort}")).await;
        assert_eq!(seen, expected, "{sort}");
    }
}

/// Reads all products in this order, in pages of four; between two pages another product is created.
async fn pages_stay_complete(sort: &str) {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let category = shop.category(None).await;
    let mut before = Vec::new();
    for index in 0..18 {
        // Some prices are equal, so that the order needs more than the price.
        let price = 100 * (1 + index % 4);
        before.push(shop.product(json!({ "price_cents": price, "category_id": category })).await);
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for page in 0.. {
        let path = format!("/api/product?category_id={category}&sort={sort}&limit=4{cursor}");
        let list = admin.get(&path).await.is(200);
        let items = list["items"].as_array().expect("items").clone();
        assert!(items.len() <= 4, "{list}");
        seen.extend(items);
        shop.product(json!({ "price_cents": 100 * (page % 5) + 1, "category_id": category })).await;
        match list["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", encode(next)),
            None => break,
        }
        assert!(page < 30, "too many pages");
    }
    let ids: Vec<i64> = seen.iter().filter_map(|item| item["product_id"].as_i64()).collect();
    for product in &before {
        let times = ids.iter().filter(|id| *id == product).count();
        assert_eq!(times, 1, "{sort}: product {product} in {ids:?}");
    }
    let mut once = ids.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), ids.len(), "{sort}: a product appears twice in {ids:?}");
    let prices: Vec<i64> = seen.iter().filter_map(|item| item["price_cents"].as_i64()).collect();
    match sort {
        "price" => assert!(prices.is_sorted(), "{prices:?}"),
        "-price" => assert!(prices.is_sorted_by(|a, b| a >= b), "{prices:?}"),
        "new" => assert!(ids.is_sorted_by(|a, b| a > b), "{ids:?}"),
        _ => {}
    }
}

#[tokio::test]
async fn pages_by_age_stay_complete_during_inserts() {
    pages_stay_complete("new").await;
}

#[tokio::test]
async fn pages_by_price_stay_complete_during_inserts() {
    pages_stay_complete("price").await;
}

#[tokio::test]
async fn pages_by_descending_price_stay_complete_during_inserts() {
    pages_stay_complete("-price").await;
}

#[tokio::test]
async fn pages_by_sales_stay_complete_during_inserts() {
    pages_stay_complete("sold").await;
}

#[tokio::test]
async fn pages_by_relevance_stay_complete_during_inserts() {
    pages_stay_complete("relevance").await;
}

#[tokio::test]
async fn the_last_page_has_no_cursor() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let category = shop.category(None).await;
    let empty = admin.get(&format!("/api/product?category_id={category}")).await.is(200);
    assert_eq!(empty, json!({ "items": [], "next_cursor": null }));
    for _ in 0..4 {
        shop.product(json!({ "category_id": category })).await;
    }
    let full = admin.get(&format!("/api/product?category_id={category}&limit=4")).await.is(200);
    assert_eq!((ids(&full).len(), &full["next_cursor"]), (4, &Value::Null), "all four");
    let half = admin.get(&format!("/api/product?category_id={category}&limit=3")).await.is(200);
    let cursor = half["next_cursor"].as_str().expect("there is one more");
    let rest =
        admin.get(&format!("/api/product?category_id={category}&limit=3&cursor={}", encode(cursor))).await.is(200);
    assert_eq!((ids(&rest).len(), &rest["next_cursor"]), (1, &Value::Null));
}

#[tokio::test]
async fn a_page_has_twenty_items_by_default() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let category = shop.category(None).await;
    for _ in 0..21 {
        shop.product(json!({ "category_id": category })).await;
    }
    let list = admin.get(&format!("/api/product?category_id={category}")).await.is(200);
    assert_eq!(ids(&list).len(), 20);
    assert!(list["next_cursor"].is_string());
}

#[tokio::test]
async fn a_cursor_for_another_sort_is_refused() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let category = shop.category(None).await;
    for _ in 0..3 {
        shop.product(json!({ "category_id": category })).await;
    }
    let sorts = ["new", "price", "-price", "sold", "relevance"];
    for sort in sorts {
        let path = |sort: &str| format!("/api/product?category_id={category}&limit=1&sort={sort}");
        let list = admin.get(&path(sort)).await.is(200);
        let cursor = encode(list["next_cursor"].as_str().expect("there is more"));
        for other in sorts {
            let reply = admin.get(&format!("{}&cursor={cursor}", path(other))).await;
            if other == sort {
                reply.is(200);
            } else {
                reply.invalid("cursor");
            }
        }
    }
}

#[tokio::test]
async fn a_modified_cursor_is_refused_or_harmless() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let category = shop.category(None).await;
    for _ in 0..2 {
        shop.product(json!({ "category_id": category })).await;
    }
    let list = admin.get(&format!("/api/product?category_id={category}&limit=1")).await.is(200);
    let cursor = list["next_cursor"].as_str().expect("there is more").to_owned();
    for modified in
        [cursor[1..].to_owned(), format!("{cursor}A"), format!("A{cursor}"), cursor.to_lowercase(), unique()]
    {
        let reply = admin.get(&format!("/api/product?category_id={category}&cursor={}", encode(&modified))).await;
        assert!(matches!(reply.status, 200 | 422), "{reply}");
    }
}
