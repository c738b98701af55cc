//! The tree of categories.

use std::future::IntoFuture;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Shop, User, unique};

const UNKNOWN: i64 = 9_007_199_254_740_991;

fn path(category_id: i64) -> String {
    format!("/api/category/{category_id}")
}

/// The category in the tree that an admin reads.
async fn node(admin: &User, category_id: i64) -> Option<Value> {
    fn find(items: &Value, category_id: i64) -> Option<Value> {
        let items = items.as_array().expect("a list of categories");
        let deeper = |item: &Value| {
            if item["category_id"] == category_id { Some(item.clone()) } else { find(&item["children"], category_id) }
        };
        items.iter().find_map(deeper)
    }
    find(&admin.get("/api/category").await.is(200)["items"], category_id)
}

/// The children's ids, sorted.
fn children(node: Option<Value>) -> Vec<i64> {
    let node = node.expect("the category");
    let children = node["children"].as_array().expect("children").clone();
    let mut ids: Vec<i64> = children.iter().filter_map(|child| child["category_id"].as_i64()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn categories_form_a_tree() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let name = format!("手机 {}", unique());
    let created = admin.post("/api/category").json(json!({ "name": name })).await.is(201);
    assert_eq!(created["name"], name.as_str());
    let root = created["category_id"].as_i64().expect("an id");
    let left = shop.category(Some(root)).await;
    let right = shop.category(Some(root)).await;
    let leaf = shop.category(Some(right)).await;
    let tree = node(&admin, root).await;
    assert_eq!(tree.as_ref().map(|node| node["name"].clone()), Some(json!(name)));
    let mut both = vec![left, right];
    both.sort_unstable();
    assert_eq!(children(tree), both);
    assert_eq!(children(node(&admin, right).await), [leaf]);
    assert_eq!(children(node(&admin, leaf).await), Vec::<i64>::new());
}

#[tokio::test]
async fn a_category_can_be_renamed_and_moved() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let (old, new) = (shop.category(None).await, shop.category(None).await);
    let moved = shop.category(Some(old)).await;
    let name = unique();
    admin.put(&path(moved)).json(json!({ "name": name })).await.is(200);
    assert_eq!(children(node(&admin, old).await), [moved], "the parent stays");
    admin.put(&path(moved)).json(json!({ "parent_id": new })).await.is(200);
    assert_eq!(children(node(&admin, old).await), Vec::<i64>::new());
    assert_eq!(children(node(&admin, new).await), [moved]);
    let seen = node(&admin, moved).await.expect("the category");
    assert_eq!(seen["name"], name.as_str(), "the name stays");

    admin.put(&path(moved)).json(json!({ "parent_id": null })).await.is(200);
    assert_eq!(children(node(&admin, new).await), Vec::<i64>::new());
    let roots = admin.get("/api/category").await.is(200);
    let roots = roots["items"].as_array().expect("items").clone();
    assert!(roots.iter().any(|root| root["category_id"] == moved), "a null parent makes it a root");
}

#[tokio::test]
async fn a_category_name_is_1_to_64_characters() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let category = shop.category(None).await;
    for name in ["类".repeat(64), "x".to_owned()] {
        admin.put(&path(category)).json(json!({ "name": name })).await.is(200);
    }
    for name in [json!(""), json!("类".repeat(65)), json!(1)] {
        admin.put(&path(category)).json(json!({ "name": name })).await.invalid("name");
        admin.post("/api/category").json(json!({ "name": name })).await.invalid("name");
    }
}

#[tokio::test]
async fn a_parent_must_exist() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let category = shop.category(None).await;
    let orphan = json!({ "name": unique(), "parent_id": UNKNOWN });
    admin.post("/api/category").json(orphan).await.invalid("parent_id");
    admin.put(&path(category)).json(json!({ "parent_id": UNKNOWN })).await.invalid("parent_id");
}

#[tokio::test]
async fn a_category_can_not_be_below_itself() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let top = shop.category(None).await;
    let middle = shop.category(Some(top)).await;
    let bottom = shop.category(Some(middle)).await;
    for below in [top, middle, bottom] {
        admin.put(&path(top)).json(json!({ "parent_id": below })).await.invalid("parent_id");
    }
    assert_eq!(children(node(&admin, top).await), [middle]);
}

#[tokio::test]
async fn concurrent_moves_make_no_cycle() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    for _ in 0..10 {
        let (one, other) = (shop.category(None).await, shop.category(None).await);
        let moves = [(one, other), (other, one)];
        let moves = moves.map(|(id, parent)| admin.put(&path(id)).json(json!({ "parent_id": parent })).into_future());
        let replies = join_all(moves).await;
        let moved = replies.iter().filter(|reply| reply.status == 200).count();
        assert_eq!(moved, 1, "{} {}", replies[0], replies[1]);
        assert!(node(&admin, one).await.is_some() && node(&admin, other).await.is_some(), "both are still in the tree");
    }
}

#[tokio::test]
async fn only_an_empty_category_can_be_deleted() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let parent = shop.category(None).await;
    let child = shop.category(Some(parent)).await;
    let product = shop.product(json!({ "category_id": child })).await;
    admin.delete(&path(parent)).await.problem(409, "category_in_use");
    admin.delete(&path(child)).await.problem(409, "category_in_use");
    let none = json!({ "category_id": shop.category(None).await });
    admin.put(&format!("/api/product/{product}")).json(none).await.is(200);
    for category in [child, parent] {
        let reply = admin.delete(&path(category)).await;
        reply.is(204);
        assert!(node(&admin, category).await.is_none());
    }
}

#[tokio::test]
async fn an_unknown_category_is_not_found() {
    let admin = Shop::running().admin().await;
    admin.put(&path(UNKNOWN)).json(json!({ "name": "x" })).await.problem(404, "not_found");
    admin.delete(&path(UNKNOWN)).await.problem(404, "not_found");
}
