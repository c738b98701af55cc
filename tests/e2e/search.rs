//! Search: what `q` finds, and in which order.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use futures::future::join_all;
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

use crate::harness::{DedicatedShop, Servers, Shop, User, encode, environment, eventually, hostile, unique};

fn ids(list: &Value) -> Vec<i64> {
    let items = list["items"].as_array().expect("items");
    items.iter().filter_map(|item| item["product_id"].as_i64()).collect()
}

/// The products that an admin finds: admins never read from a cache.
async fn found(admin: &User, category: i64, q: &str) -> Vec<i64> {
    let path = format!("/api/product?limit=100&category_id={category}&q={}", encode(q));
    ids(&admin.get(&path).await.is(200))
}

/// Reads all pages of a list, and calls `between` after each.
async fn pages(admin: &User, query: &str, mut between: impl AsyncFnMut(usize)) -> Vec<i64> {
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    for page in 0.. {
        let list = admin.get(&format!("/api/product?{query}{cursor}")).await.is(200);
        seen.extend(ids(&list));
        between(page).await;
        match list["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", encode(next)),
            None => break,
        }
        assert!(page < 200, "too many pages");
    }
    seen
}

async fn named(shop: &Shop, category: i64, names: &[&str]) -> Vec<i64> {
    let mut products = Vec::new();
    for name in names {
        products.push(shop.product(json!({ "name": name, "category_id": category })).await);
    }
    products
}

#[tokio::test]
async fn all_words_must_match_in_any_order() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let category = shop.category(None).await;
    let names = ["华为手机壳", "Apple iPhone 15 Pro", "iPhone 15 磁吸手机壳", "Ｃafé ＵＳＢ-Ｃ", "小米手表"];
    let products = named(&shop, category, &names).await;
    for (q, expected) in [
        ("手机", vec![0, 2]),
        ("iphone", vec![1, 2]),
        ("IPH", vec![1, 2]),
        ("15 iphone", vec![1, 2]),
        ("手机壳 iphone", vec![2]),
        ("壳 15 磁吸", vec![2]),
        ("pro iphone apple", vec![1]),
        ("iphone 小米", vec![]),
        ("华手", vec![]),
        ("华为手机壳", vec![0]),
        ("usb-c cafe", vec![3]),
        ("  ｉｐｈｏｎｅ\u{3000}15 ", vec![1, 2]),
        ("手", vec![0, 2, 4]),
    ] {
        let expected: Vec<i64> = expected.into_iter().map(|index: usize| products[index]).collect();
        let mut seen = found(&admin, category, q).await;
        seen.sort_unstable();
        assert_eq!(seen, expected, "q={q}");
    }
}

#[tokio::test]
async fn a_chinese_word_matches_only_in_sequence() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let category = shop.category(None).await;
    let products = named(&shop, category, &["手机 机壳", "手机壳", "机壳手机"]).await;
    assert_eq!(found(&admin, category, "手机壳").await, [products[1]]);
    assert_eq!(found(&admin, category, "机壳 手机").await.len(), 3);
}

#[tokio::test]
async fn a_product_with_a_hostile_name_is_found_by_it() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let category = shop.category(None).await;
    for text in hostile() {
        let product = json!({ "name": text, "price_cents": 1, "stock": 1, "category_id": category });
        let created = admin.post("/api/product").json(product).await;
        if created.status != 422 {
            let id = created.is(201)["product_id"].as_i64().expect("an id");
            assert!(found(&admin, category, &text).await.contains(&id), "q={text}");
        }
    }
    // More words than a statement can join, and words longer than any indexed term.
    let words = (0..50).map(|n| format!("w{n}")).collect::<Vec<_>>().join(" ");
    for q in [words, "长".repeat(200), "x".repeat(200), "é1".repeat(100), "\u{301}".to_owned()] {
        assert_eq!(found(&admin, category, &q).await, [0; 0], "q={q}");
    }
    let path = format!("/api/product?q={}", "长".repeat(201));
    shop.get(&path).await.invalid("q");
}

#[tokio::test]
async fn results_are_sorted_by_relevance_then_by_sales() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let category = shop.category(None).await;
    let names = ["15 covers for iPhone", "Case for iPhone 15", "iPhone 15 Case", "iphone 15", "Bag for iPhone 15"];
    let products = named(&shop, category, &names).await;
    let (apart, case, begins, is, bag) = (products[0], products[1], products[2], products[3], products[4]);
    let order = user.new_order(&[(case, 2), (apart, 9)]).await;
    user.pay(&order).await.is(200);
    let path = |rest: &str| format!("/api/product?category_id={category}&q=iPhone+15{rest}");
    let list = async |rest: &str| ids(&admin.get(&path(rest)).await.is(200));
    assert_eq!(list("").await, [is, begins, case, bag, apart]);
    assert_eq!(list("&sort=relevance").await, [is, begins, case, bag, apart]);
    assert_eq!(list("&sort=sold").await, [apart, case, bag, is, begins]);
    assert_eq!(list("&sort=new").await, [bag, is, begins, case, apart]);
    assert_eq!(list("&max_price_cents=1").await, [0; 0]);
    // Relevance is a sort like the others: its cursor fits no other.
    let page = admin.get(&path("&limit=1")).await.is(200);
    let cursor = encode(page["next_cursor"].as_str().expect("there is more"));
    admin.get(&path(&format!("&sort=new&cursor={cursor}"))).await.invalid("cursor");
    assert_eq!(list(&format!("&sort=relevance&cursor={cursor}")).await, [begins, case, bag, apart]);
    // Without `q` relevance means sales.
    let all = ids(&admin.get(&format!("/api/product?category_id={category}&sort=relevance")).await.is(200));
    assert_eq!(all, [apart, case, bag, is, begins]);
}

#[tokio::test]
async fn pages_of_a_search_stay_complete_during_inserts() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let category = shop.category(None).await;
    let name = |n: usize| ["茶 红", "红茶", "红茶 大", "大 红茶"][n % 4];
    let before =
        join_all((0..18).map(async |n: usize| shop.product(json!({ "name": name(n), "category_id": category })).await))
            .await;
    let sold: Vec<_> = before.iter().enumerate().map(|(n, product)| (*product, 1 + (n as i64 % 3))).collect();
    let order = user.new_order(&sold).await;
    user.pay(&order).await.is(200);
    let query = format!("category_id={category}&limit=4&q={}", encode("红茶"));
    let seen = pages(&admin, &query, async |page| {
        shop.product(json!({ "name": name(page), "category_id": category })).await;
    })
    .await;
    for (n, product) in before.iter().enumerate() {
        let times = seen.iter().filter(|id| *id == product).count();
        assert_eq!(times, usize::from(name(n) != "茶 红"), "{product} in {seen:?}");
    }
    let mut once = seen.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), seen.len(), "a product appears twice in {seen:?}");
}

#[tokio::test]
async fn changes_are_found_within_a_second() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let (old, new) = (format!("old{}", unique()), format!("new{}", unique()));
    let product = shop.product(json!({ "name": format!("A {old}") })).await;
    let path = format!("/api/product/{product}");
    let finds = async |q: &str| !ids(&shop.get(&format!("/api/product?q={q}")).await.is(200)).is_empty();
    let soon = async |q: &str, expected: bool| {
        eventually(q, Duration::from_secs(3), async || (finds(q).await == expected).then_some(())).await;
    };
    assert!(finds(&old).await);
    admin.put(&path).json(json!({ "name": format!("A {new}") })).await.is(200);
    let changed = Instant::now();
    soon(&new, true).await;
    soon(&old, false).await;
    // One second, and some more on a busy machine.
    assert!(changed.elapsed() < Duration::from_secs(3), "{:?}", changed.elapsed());
    for on_shelf in [false, true] {
        let batch = json!({ "product_ids": [product], "on_shelf": on_shelf });
        admin.post("/api/product/batch").json(batch).await.is(200);
        soon(&new, on_shelf).await;
    }
    admin.put(&path).json(json!({ "price_cents": 7 })).await.is(200);
    // Eventually: an instance caches what it read for a second.
    soon(&new, true).await;
    admin.delete(&path).await.is(204);
    soon(&new, false).await;
}

/// Inserts products that are not in the search index, and runs the migration that adds them to it.
async fn insert(servers: &Servers, category: i64, names: impl Iterator<Item = String>) {
    let rows: Vec<_> = names
        .enumerate()
        .map(|(n, name)| format!("('{name}', '', {category}, {}, 9, {}, 1, 0, 0)", 100 + n * 7 % 500, n * 13 % 100))
        .collect();
    let sql = format!(
        "INSERT INTO products (name, description, category_id, price_cents, available, sold, on_shelf, created_at, updated_at)
         VALUES {}",
        rows.join(",")
    );
    servers.mysql().await.query_drop(sql).await.expect("products");
    let migrated = Command::new(environment("MALL_BIN"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["migrate", "--mysql", servers.mysql_url()])
        .output()
        .expect("MALL_BIN runs");
    assert!(migrated.status.success(), "migrate: {}", String::from_utf8_lossy(&migrated.stderr));
}

#[tokio::test]
async fn searches_with_thousands_of_matches_keep_their_order() {
    let servers = Servers::start().await;
    let shop = DedicatedShop::on(&servers).start().await;
    let admin = shop.admin().await;
    let category = shop.category(None).await;
    insert(&servers, category, (0..990).map(|n| format!("{}通用 {n}", ["", "大"][n % 2]))).await;
    insert(&servers, category, (0..1200).map(|n| format!("ore {n}"))).await;

    // At first there are few matches, sorted by relevance. Then there are many, and this list keeps its order.
    let query = format!("limit=100&q={}", encode("通用"));
    let list = pages(&admin, &query, async |page| {
        if page == 3 {
            insert(&servers, category, (0..1510).map(|n| format!("大通用 more {n}"))).await;
        }
    })
    .await;
    const BY_RELEVANCE: &str =
        "SELECT id FROM products WHERE id <= 990 ORDER BY LEFT(name, 1) = '通' DESC, sold DESC, id DESC";
    let expected: Vec<i64> = servers.mysql().await.query(BY_RELEVANCE).await.expect("ids");
    let old: Vec<_> = list.iter().copied().filter(|id| expected.contains(id)).collect();
    assert!(old == expected, "a list that started by relevance keeps this order");

    for (sort, order) in [
        ("", "sold DESC, id DESC"),
        ("&sort=sold", "sold DESC, id DESC"),
        ("&sort=new", "id DESC"),
        ("&sort=price", "price_cents, id"),
        ("&sort=-price", "price_cents DESC, id DESC"),
    ] {
        for (q, like) in [("通用", "%通用%"), ("通用 more", "%more%"), ("用 大", "大通用%"), ("ore", "ore%")]
        {
            let query = format!("limit=100&q={}{sort}", encode(q));
            let sql = format!("SELECT id FROM products WHERE name LIKE '{like}' ORDER BY {order}");
            let mut expected: Vec<i64> = servers.mysql().await.query(sql).await.expect("ids");
            let mut seen = pages(&admin, &query, async |_| {}).await;
            if sort.is_empty() && expected.len() < 1000 {
                // Sorted by relevance: compare only which products there are.
                expected.sort_unstable();
                seen.sort_unstable();
            }
            assert!(seen == expected, "q={q}{sort}: {} of {}", seen.len(), expected.len());
        }
    }

    // A cursor of another search does not turn a list into one by relevance.
    let few = admin.get("/api/product?limit=1&q=more+15").await.is(200);
    let cursor = encode(few["next_cursor"].as_str().expect("there is more"));
    admin.get(&format!("/api/product?limit=1&q=more+15&cursor={cursor}")).await.is(200);
    admin.get(&format!("/api/product?sort=relevance&cursor={cursor}")).await.invalid("cursor");
    insert(&servers, category, (0..7600).map(|n| format!("通用 z{n}"))).await;
    admin.get(&format!("/api/product?q={}&cursor={cursor}", encode("通用"))).await.invalid("cursor");
}
