//! Staff: roles, permissions, and the audit.

use futures::future::join;
use serde_json::{Value, json};

use crate::harness::{Call, Shop, User, unique};

fn set_role(by: &User, user_id: i64, role: Value) -> Call {
    by.put(&format!("/api/admin/user/{user_id}/role")).json(role)
}

fn user_with(permissions: &[&str]) -> Value {
    json!({ "role": "user", "permissions": permissions })
}

#[tokio::test]
async fn a_permission_opens_its_endpoints_only() {
    let shop = Shop::running();
    let clerk = shop.staff(&["catalog:write"]).await;
    let profile = clerk.get("/api/user/profile").await.is(200);
    assert_eq!((&profile["role"], &profile["permissions"]), (&json!("user"), &json!(["catalog:write"])));
    let new = json!({ "name": "A thing", "price_cents": 1, "stock": 1, "on_shelf": false });
    let product = clerk.post("/api/product").json(new).await.is(201);
    // `catalog:write` shows the reserved stock, too.
    let path = format!("/api/product/{}", product["product_id"]);
    assert_eq!(clerk.get(&path).await.is(200)["reserved"], 0);
    clerk.get("/api/order/all").await.problem(403, "forbidden");
    clerk.get("/api/admin/user").await.problem(403, "forbidden");
}

#[tokio::test]
async fn a_revoked_permission_ends_at_once() {
    let shop = Shop::running();
    let (admin, clerk) = (shop.admin().await, shop.staff(&["catalog:write", "orders:ship"]).await);
    let write = || clerk.post("/api/category").json(json!({ "name": unique() }));
    write().await.is(201);
    // A further permission ends nothing.
    let more =
        set_role(&admin, clerk.user_id, user_with(&["catalog:write", "orders:ship", "users:write"])).await.is(200);
    assert_eq!(more["permissions"], json!(["catalog:write", "orders:ship", "users:write"]));
    write().await.is(201);
    let less = set_role(&admin, clerk.user_id, user_with(&["orders:ship"])).await.is(200);
    assert_eq!((&less["username"], &less["permissions"]), (&json!(clerk.username), &json!(["orders:ship"])));
    write().await.problem(401, "unauthenticated");
    let refresh = json!({ "refresh_token": clerk.refresh });
    shop.post("/api/user/refresh").json(refresh).await.problem(401, "invalid_token");
    let clerk = shop.sign_in(&clerk.username, &clerk.password).await;
    clerk.get("/api/order/all").await.is(200);
    clerk.post("/api/category").json(json!({ "name": unique() })).await.problem(403, "forbidden");
}

#[tokio::test]
async fn only_admins_make_admins() {
    let shop = Shop::running();
    let (admin, helper, user) =
        (shop.admin().await, shop.staff(&["users:write", "orders:ship"]).await, shop.user().await);
    // Users can grant the permissions that they have, and no others.
    set_role(&helper, user.user_id, user_with(&["orders:ship"])).await.is(200);
    set_role(&helper, user.user_id, user_with(&["orders:ship", "orders:refund"])).await.problem(403, "forbidden");
    set_role(&helper, user.user_id, json!({ "role": "admin" })).await.problem(403, "forbidden");
    set_role(&admin, user.user_id, user_with(&["orders:refund"])).await.is(200);
    set_role(&helper, user.user_id, user_with(&[])).await.problem(403, "forbidden");
    set_role(&helper, helper.user_id, user_with(&["users:write"])).await.problem(403, "forbidden");
    set_role(&admin, admin.user_id, user_with(&[])).await.problem(403, "forbidden");
    set_role(&helper, admin.user_id, user_with(&[])).await.problem(403, "forbidden");

    assert_eq!(set_role(&admin, user.user_id, json!({ "role": "admin" })).await.is(200)["role"], "admin");
    let second = shop.sign_in(&user.username, &user.password).await;
    second.get("/api/admin/user").await.is(200);
    set_role(&second, helper.user_id, user_with(&[])).await.is(200);
    set_role(&admin, second.user_id, user_with(&[])).await.is(200);
    set_role(&second, helper.user_id, user_with(&[])).await.problem(401, "unauthenticated");

    set_role(&admin, 9_007_199_254_740_991, user_with(&[])).await.problem(404, "not_found");
    set_role(&admin, user.user_id, json!({ "role": "king" })).await.invalid("role");
    set_role(&admin, user.user_id, user_with(&["everything"])).await.invalid("permissions[0]");
    set_role(&admin, user.user_id, json!({ "permissions": [] })).await.invalid("role");
}

/// The permissions in the database count, not those in the token.
#[tokio::test]
async fn two_users_revoking_each_others_permissions_do_not_both_succeed() {
    let shop = Shop::running();
    let (one, two) = (shop.staff(&["users:write"]).await, shop.staff(&["users:write"]).await);
    let (first, second) = join(async { set_role(&one, two.user_id, user_with(&[])).await }, async {
        set_role(&two, one.user_id, user_with(&[])).await
    })
    .await;
    let successes = [&first, &second].iter().filter(|reply| reply.status == 200).count();
    assert_eq!(successes, 1, "{first}\n{second}");
}

#[tokio::test]
async fn users_can_be_listed_by_name_and_role() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let found = admin.get(&format!("/api/admin/user?username={}", user.username.to_uppercase())).await.is(200);
    let found = found["items"].as_array().expect("items");
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0]["user_id"], &found[0]["username"]), (&json!(user.user_id), &json!(user.username)));
    assert!(found[0].get("password_hash").is_none() && found[0]["created_at"].is_string());
    assert_eq!(
        admin.get("/api/admin/user?username=%25").await.is(200)["items"],
        json!([]),
        "the name is taken literally"
    );
    let admins = admin.get("/api/admin/user?role=admin&limit=100").await.is(200);
    assert!(admins["items"].as_array().expect("items").iter().all(|one| one["role"] == "admin"));
    admin.get("/api/admin/user?role=king").await.invalid("role");
    let page = admin.get("/api/admin/user?limit=2").await.is(200);
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let next = admin.get(&format!("/api/admin/user?limit=2&cursor={cursor}")).await.is(200);
    assert!(page["items"][1]["user_id"].as_i64() > next["items"][0]["user_id"].as_i64());
}

/// Every write by staff has an entry.
#[tokio::test]
async fn staff_actions_are_in_the_audit() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let all = ["catalog:write", "orders:ship", "orders:refund", "seckill:write", "users:write", "pricing:write"];
    let clerk = shop.staff(&all).await;
    let category = clerk.post("/api/category").json(json!({ "name": "Shelf" })).await.is(201)["category_id"].clone();
    clerk.put(&format!("/api/category/{category}")).json(json!({ "name": "Other" })).await.is(200);
    assert_eq!(clerk.delete(&format!("/api/category/{category}")).await.status, 204);
    let new = json!({ "name": "A thing", "price_cents": 5, "stock": 9 });
    let product = clerk.post("/api/product").json(new).await.is(201)["product_id"].as_i64().expect("an id");
    let path = format!("/api/product/{product}");
    let put = clerk.put(&path).header("x-request-id", "the-one").json(json!({ "price_cents": 7 }));
    put.await.is(200);
    clerk.post(&format!("{path}/stock")).json(json!({ "delta": 1, "reason": "found" })).await.is(200);
    let batch = json!({ "product_ids": [product], "on_shelf": true });
    clerk.post("/api/product/batch").json(batch.clone()).await.is(200);
    let sale = json!({ "product_id": product, "stock": 1, "price_cents": 1, "starts_at": "2026-01-01T00:00:00.000Z",
                       "ends_at": "2099-01-01T00:00:00.000Z" });
    clerk.post("/api/seckill/init").json(sale).await.is(201);
    let order = user.new_order(&[(product, 1)]).await;
    user.pay(&order).await.is(200);
    let at = |what: &str| format!("/api/order/{order}/{what}");
    let shipment = json!({ "carrier": "SF", "tracking_no": "1" });
    clerk.post(&at("ship")).json(shipment).await.is(200);
    user.post(&at("refund")).json(json!({ "reason": "late" })).await.is(202);
    clerk.post(&at("refund/reject")).json(json!({ "reason": "no" })).await.is(200);
    user.post(&at("refund")).json(json!({ "reason": "late" })).await.is(202);
    clerk.post(&at("refund/approve")).await.is(200);
    assert_eq!(clerk.delete(&path).await.status, 204);
    set_role(&clerk, user.user_id, user_with(&["orders:ship"])).await.is(200);
    let rule = json!({ "effect": { "kind": "amount_off", "amount_cents": 1 }, "product_ids": [product] });
    for (kind, new) in [
        ("promotion", json!({ "name": "A promotion", "rule": rule })),
        ("coupon", json!({ "name": "A coupon", "code": unique(), "rule": rule })),
    ] {
        let base = format!("/api/admin/{kind}");
        let created = clerk.post(&base).json(new.clone()).await.is(201);
        let path = format!("{base}/{}", created[format!("{kind}_id")]);
        clerk.put(&path).json(new).await.is(200);
        assert_eq!(clerk.delete(&path).await.status, 204);
    }
    // Refused requests have no entry.
    clerk.put(&path).json(json!({ "price_cents": 0 })).await.invalid("price_cents");
    clerk.put("/api/product/9007199254740991").json(json!({ "price_cents": 1 })).await.problem(404, "not_found");

    let entries = admin.get(&format!("/api/admin/audit?actor={}&limit=100", clerk.user_id)).await.is(200);
    let entries = entries["items"].as_array().expect("items").clone();
    let actions: Vec<_> = entries.iter().rev().map(|entry| entry["action"].as_str().unwrap_or_default()).collect();
    let expected = [
        "category.create",
        "category.update",
        "category.remove",
        "product.create",
        "product.update",
        "product.stock",
        "product.batch",
        "seckill.init",
        "order.ship",
        "refund.reject",
        "refund.approve",
        "product.remove",
        "user.role",
        "promotion.create",
        "promotion.update",
        "promotion.remove",
        "coupon.create",
        "coupon.update",
        "coupon.remove",
    ];
    assert_eq!(actions, expected);
    let of = |action: &str| entries.iter().find(|entry| entry["action"] == action).expect("an entry");
    let update = of("product.update");
    assert_eq!((&update["object"], &update["request_id"]), (&json!(product.to_string()), &json!("the-one")));
    assert_eq!((&update["before"]["price_cents"], &update["after"]["price_cents"]), (&json!(5), &json!(7)));
    assert_eq!(
        (&of("category.remove")["before"]["name"], &of("category.remove")["after"]),
        (&json!("Other"), &Value::Null)
    );
    assert_eq!(of("product.batch")["after"], batch);
    assert_eq!(of("order.ship")["object"], order.as_str());
    assert_eq!(of("user.role")["after"]["permissions"], json!(["orders:ship"]));

    let filtered = admin.get(&format!("/api/admin/audit?actor={}&action=order.ship", clerk.user_id)).await.is(200);
    assert_eq!(filtered["items"].as_array().expect("items").len(), 1);
    admin.get("/api/admin/audit?action=%C3%A4").await.invalid("action");
    let page = admin.get(&format!("/api/admin/audit?actor={}&limit=5", clerk.user_id)).await.is(200);
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let next = admin.get(&format!("/api/admin/audit?actor={}&limit=5&cursor={cursor}", clerk.user_id)).await.is(200);
    assert_eq!(next["items"][0], entries[5]);
}
