//! Personal data: exported, erased, and on the map. Suspended users.

use std::collections::BTreeSet;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use personal_data::TABLES;
use serde_json::{Value, json};

use crate::harness::{Call, DedicatedShop, Servers, Shop, User, eventually, unique};

/// All columns of the database of the test, as pairs of table and column; only those of texts, if wanted.
async fn columns(servers: &Servers, only_texts: bool) -> BTreeSet<(String, String)> {
    const COLUMNS: &str = "
        SELECT CAST(table_name AS CHAR) AS t, CAST(column_name AS CHAR) AS c FROM information_schema.columns
        WHERE table_schema = DATABASE()
            AND (NOT ? OR data_type IN ('char', 'varchar', 'text', 'mediumtext', 'blob', 'mediumblob'))";
    let columns: Vec<_> = servers.mysql().await.exec(COLUMNS, (only_texts,)).await.expect("columns");
    columns.into_iter().collect()
}

#[tokio::test]
async fn every_column_of_the_schema_is_on_the_map() {
    let servers = Servers::start().await;
    let _shop = DedicatedShop::on(&servers).start().await;
    let mapped = TABLES
        .iter()
        .flat_map(|table| table.columns.iter().map(|(column, _)| (table.name.to_owned(), (*column).to_owned())));
    let (mapped, actual): (BTreeSet<_>, _) = (mapped.collect(), columns(&servers, false).await);
    let missing: Vec<_> = actual.difference(&mapped).collect();
    assert!(missing.is_empty(), "not in crates/personal-data/src/map.rs: {missing:?}");
    let surplus: Vec<_> = mapped.difference(&actual).collect();
    assert!(surplus.is_empty(), "not in the schema: {surplus:?}");
}

/// Where in the database this text occurs.
async fn occurrences(servers: &Servers, text: &str) -> Vec<String> {
    let mut mysql = servers.mysql().await;
    let mut found = Vec::new();
    for (table, column) in columns(servers, true).await {
        let sql = format!("SELECT COUNT(*) FROM `{table}` WHERE INSTR(`{column}`, ?) > 0");
        let count: Option<i64> = mysql.exec_first(sql, (text,)).await.expect("a count");
        if count != Some(0) {
            found.push(format!("{table}.{column}"));
        }
    }
    found
}

/// A user whose personal data all contains `mark`.
async fn marked_user(shop: &Shop, mark: &str) -> User {
    let (username, password) = (format!("u-{mark}"), format!("Pass-{mark}"));
    let form = json!({ "username": username, "password": password, "email": format!("{mark}@mail.example") });
    shop.post("/api/user/register").json(form).await.is(201);
    let login = json!({ "username": username, "password": password });
    shop.post("/api/user/login").header("user-agent", mark).json(login).await.is(200);
    let user = shop.sign_in(&username, &password).await;
    user.put("/api/user/profile").json(json!({ "nickname": mark })).await.is(200);
    user
}

/// An order whose texts all contain `mark`.
async fn marked_order(user: &User, product: i64, mark: &str) -> String {
    let address = json!({ "receiver": mark, "phone": "12345", "region": mark, "detail": mark });
    let address = user.post("/api/user/address").json(address).await.is(201);
    let items = json!([{ "product_id": product, "quantity": 1 }]);
    let order = json!({ "items": items, "address_id": address["address_id"], "note": mark });
    let order = user.post("/api/order").key(&unique()).json(order).await.is(201);
    order["order_no"].as_str().expect("a number").to_owned()
}

fn delete(user: &User, password: &str) -> Call {
    user.delete("/api/user").json(json!({ "password": password }))
}

async fn erased(servers: &Servers, mark: &str, but: &[&str]) {
    eventually("personal data is gone", Duration::from_secs(15), async || {
        (occurrences(servers, mark).await == but).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_deleted_user_leaves_no_personal_data() {
    let servers = Servers::start().await;
    let shop = DedicatedShop::on(&servers).start().await;
    let (mark, admin) = (format!("mark{}", unique()), shop.admin().await);
    let (user, product) = (marked_user(&shop, &mark).await, shop.product(json!({})).await);
    user.add_to_cart(product, 1).await;
    let [unpaid, cancelled, refunded, open] = [(); 4].map(|()| marked_order(&user, product, &mark));
    let (unpaid, cancelled, refunded, open) = (unpaid.await, cancelled.await, refunded.await, open.await);
    let reason = json!({ "reason": mark });
    user.post(&format!("/api/order/{cancelled}/cancel")).json(reason.clone()).await.is(200);
    for order in [&refunded, &open] {
        user.pay(order).await.is(200);
        let shipment = json!({ "carrier": "SF", "tracking_no": mark });
        admin.post(&format!("/api/order/{order}/ship")).json(shipment).await.is(200);
    }
    user.post(&format!("/api/order/{refunded}/refund")).json(reason.clone()).await.is(202);
    admin.post(&format!("/api/order/{refunded}/refund/approve")).await.is(200);
    let suspend =
        |what: &str| admin.post(&format!("/api/admin/user/{}/{what}", user.user_id)).json(json!({ "reason": mark }));
    suspend("suspend").await.is(200);
    suspend("unsuspend").await.is(200);
    let role = json!({ "role": "user", "permissions": ["orders:ship"] });
    admin.put(&format!("/api/admin/user/{}/role", user.user_id)).json(role).await.is(200);
    let user = shop.sign_in(&user.username, &user.password).await;
    let before = occurrences(&servers, &mark).await;
    for column in ["users.username", "orders.note", "audit_log.after_json", "order_log.reason"] {
        assert!(before.iter().any(|found| found == column), "{column}: {before:?}");
    }

    delete(&user, "not the password").await.problem(401, "invalid_credentials");
    user.delete("/api/user").await.invalid("password");
    delete(&user, &user.password).await.is(204);
    // Signed out everywhere.
    user.delete("/api/cart/clear").await.problem(401, "unauthenticated");
    let refresh = json!({ "refresh_token": user.refresh });
    shop.post("/api/user/refresh").json(refresh).await.problem(401, "invalid_token");
    let login = json!({ "username": user.username, "password": user.password });
    shop.post("/api/user/login").json(login.clone()).await.problem(401, "invalid_credentials");
    // The order that goes on keeps what it needs to arrive.
    let of_open_order = ["audit_log.after_json", "orders.address", "orders.note", "orders.tracking_no"];
    erased(&servers, &mark, &of_open_order).await;
    let status = async |order: &str| {
        let order = admin.get("/api/order/all?limit=100").await.is(200)["items"]
            .as_array()
            .and_then(|all| all.iter().find(|one| one["order_no"] == order).cloned());
        order.expect("the order stays")["status"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(status(&unpaid).await, "cancelled");
    assert_eq!(status(&open).await, "shipped");
    assert_eq!(Shop::stock_of(&shop, product).await, 99, "stock is back, but for what was shipped");

    // Completed by the worker, after some days.
    const DUE: &str = "UPDATE jobs SET due_at = 0 WHERE queue = 'fulfil' AND state = 'queued'";
    servers.mysql().await.query_drop(DUE).await.expect("due");
    let publish = redis::cmd("PUBLISH").arg("mall:fulfil").arg("").to_owned();
    let _: i64 = publish.query_async(&mut servers.redis().await).await.expect("the worker is woken");
    eventually("the order is done", Duration::from_secs(15), async || {
        (status(&open).await == "completed").then_some(())
    })
    .await;
    erased(&servers, &mark, &[]).await;
    let mut redis = servers.redis().await;
    let left: Vec<String> = redis::cmd("KEYS").arg("cart:*").query_async(&mut redis).await.expect("keys");
    assert!(left.is_empty(), "{left:?}");
    // The name is free.
    shop.post("/api/user/register").json(login).await.is(201);
}

impl Shop {
    async fn stock_of(shop: &Shop, product: i64) -> i64 {
        let product = shop.admin().await.get(&format!("/api/product/{product}")).await.is(200);
        product["available"].as_i64().expect("a number")
    }
}

#[tokio::test]
async fn the_export_has_everything_but_secrets() {
    let servers = Servers::start().await;
    let shop = DedicatedShop::on(&servers).start().await;
    let (mark, other_mark) = (format!("mark{}", unique()), format!("other{}", unique()));
    let (user, other) = (marked_user(&shop, &mark).await, marked_user(&shop, &other_mark).await);
    let product = shop.product(json!({})).await;
    let order = marked_order(&user, product, &mark).await;
    marked_order(&other, product, &other_mark).await;
    user.cancel(&order).await.is(200);
    user.add_to_cart(product, 3).await;
    eventually("a message", Duration::from_secs(20), async || {
        (user.get("/api/user/message").await.is(200)["items"] != json!([])).then_some(())
    })
    .await;
    let export = user.get("/api/user/export").await.is(200);
    let tables = &export["tables"];
    assert_eq!(tables["users"][0]["username"], user.username.as_str());
    assert!(tables["users"][0]["created_at"].as_str().is_some_and(|time| time.ends_with('Z')), "{export}");
    assert_eq!(tables["orders"][0]["order_no"], order.as_str());
    assert_eq!(tables["orders"][0]["address"]["receiver"], mark.as_str());
    for table in ["addresses", "sessions", "order_items", "order_log", "messages", "idempotency_keys"] {
        assert!(tables[table].as_array().is_some_and(|rows| !rows.is_empty()), "{table}: {export}");
    }
    assert_eq!(export["cart"], json!([{ "product_id": product, "quantity": 3 }]));
    let text = export.to_string();
    for secret in ["password_hash", "argon2", "body_hash", other_mark.as_str()] {
        assert!(!text.contains(secret), "{secret}: {export}");
    }
    shop.get("/api/user/export").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn who_has_no_password_needs_a_recent_session() {
    let servers = Servers::start().await;
    let shop = DedicatedShop::on(&servers).start().await;
    let user = shop.user().await;
    let mut mysql = servers.mysql().await;
    mysql.query_drop("UPDATE users SET password_hash = ''").await.expect("no password");
    let age = "UPDATE sessions SET created_at = created_at - 600000";
    mysql.query_drop(age).await.expect("an older session");
    user.delete("/api/user").await.problem(403, "session_too_old");
    delete(&user, "any password").await.problem(403, "session_too_old");
    let change = json!({ "email": "new@mail.example" });
    user.put("/api/user/profile").json(change).await.problem(403, "session_too_old");
    let renew = "UPDATE sessions SET created_at = created_at + 300000";
    mysql.query_drop(renew).await.expect("a newer session");
    user.delete("/api/user").await.is(204);
    user.get("/api/user/profile").await.problem(404, "not_found");
}

#[tokio::test]
async fn an_admin_is_not_deleted() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    delete(&admin, &admin.password).await.problem(403, "forbidden");
}

#[tokio::test]
async fn a_suspended_user_is_signed_out_and_can_not_sign_in() {
    let shop = Shop::running();
    let (user, admin, helper) = (shop.user().await, shop.admin().await, shop.staff(&["users:write"]).await);
    let set = |by: &User, user_id: i64, what: &str| {
        by.post(&format!("/api/admin/user/{user_id}/{what}")).json(json!({ "reason": "stolen cards" }))
    };
    let login =
        |password: &str| shop.post("/api/user/login").json(json!({ "username": user.username, "password": password }));
    let suspended = set(&helper, user.user_id, "suspend").await.is(200);
    assert!(suspended["suspended_at"].is_string(), "{suspended}");
    user.delete("/api/cart/clear").await.problem(401, "unauthenticated");
    let refresh = json!({ "refresh_token": user.refresh });
    shop.post("/api/user/refresh").json(refresh).await.problem(401, "invalid_token");
    login(&user.password).await.problem(403, "suspended");
    // Only who knows the password learns it.
    login("not the password").await.problem(401, "invalid_credentials");
    // Again is no error.
    set(&helper, user.user_id, "suspend").await.is(200);
    let again = set(&helper, user.user_id, "unsuspend").await.is(200);
    assert_eq!(again["suspended_at"], Value::Null);
    login(&user.password).await.is(200);

    let audit = admin.get(&format!("/api/admin/audit?actor={}&limit=3", helper.user_id)).await.is(200);
    let entries: Vec<_> = audit["items"].as_array().expect("entries").iter().map(|entry| &entry["action"]).collect();
    assert_eq!(entries, ["user.unsuspend", "user.suspend", "user.suspend"]);
    assert_eq!(audit["items"][2]["object"], user.user_id.to_string());
    assert_eq!(audit["items"][2]["after"]["reason"], "stolen cards");

    set(&helper, helper.user_id, "suspend").await.problem(403, "forbidden");
    set(&helper, admin.user_id, "suspend").await.problem(403, "forbidden");
    set(&user, helper.user_id, "suspend").await.problem(401, "unauthenticated");
    set(&admin, 9_007_199_254_740_991, "suspend").await.problem(404, "not_found");
    let path = format!("/api/admin/user/{}/suspend", user.user_id);
    admin.post(&path).json(json!({ "reason": "" })).await.invalid("reason");
    admin.post(&path).json(json!({})).await.invalid("reason");
}
