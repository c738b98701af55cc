//! Hostile input: SQL, scripts, control characters and the like are stored as text or refused.

use serde_json::json;

use crate::harness::{DedicatedShop, Shop, encode, hostile, unique};

#[tokio::test]
async fn products_store_hostile_text_unchanged() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    for text in hostile() {
        let product = json!({ "name": text, "description": text, "price_cents": 1, "stock": 0 });
        let reply = admin.post("/api/product").json(product).await;
        if reply.status == 422 {
            continue;
        }
        let created = reply.is(201);
        let read = admin.get(&format!("/api/product/{}", created["product_id"])).await.is(200);
        assert_eq!((&read["name"], &read["description"]), (&json!(text), &json!(text)));
    }
    // Printable text must be accepted.
    for text in ["'", "\\", "%", "a' OR '1'='1", "🧨🛒", "无线蓝牙耳机", "\"; DROP TABLE products; --"] {
        let product = json!({ "name": text, "description": text, "price_cents": 1, "stock": 0 });
        admin.post("/api/product").json(product).await.is(201);
    }
}

#[tokio::test]
async fn categories_store_hostile_text_unchanged() {
    let admin = Shop::running().admin().await;
    for text in hostile() {
        let reply = admin.post("/api/category").json(json!({ "name": text })).await;
        if reply.status != 422 {
            assert_eq!(reply.is(201)["name"], text.as_str());
            let id = reply.json()["category_id"].clone();
            admin.delete(&format!("/api/category/{id}")).await.is(204);
        }
    }
}

#[tokio::test]
async fn orders_store_hostile_text_unchanged() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 1000 })).await;
    for text in hostile() {
        let item = json!({ "product_id": product, "quantity": 1 });
        let reply = user.post("/api/order").json(json!({ "items": [item], "note": text })).await;
        if reply.status == 422 {
            continue;
        }
        let order = reply.is(201)["order_no"].as_str().expect("a number").to_owned();
        let reply = user.post(&format!("/api/order/{order}/cancel")).json(json!({ "reason": text })).await;
        if reply.status == 200 {
            assert_eq!(user.get_order(&order).await["cancel_reason"], text.as_str());
        }
        assert_eq!(user.get_order(&order).await["note"], text.as_str());
    }
}

#[tokio::test]
async fn a_null_character_is_stored_or_refused() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let text = "before\u{0}after";
    let reply = admin.post("/api/product").json(json!({ "name": text, "price_cents": 1, "stock": 9 })).await;
    if reply.status != 422 {
        assert_eq!(reply.is(201)["name"], text);
    }
    let product = shop.product(json!({})).await;
    let item = json!({ "product_id": product, "quantity": 1 });
    let reply = user.post("/api/order").json(json!({ "items": [item], "note": text })).await;
    if reply.status != 422 {
        assert_eq!(reply.is(201)["note"], text);
    }
    let list = admin.get("/api/product?q=%00").await;
    assert!(matches!(list.status, 200 | 422), "{list}");
}

#[tokio::test]
async fn hostile_names_and_passwords_do_not_sign_in() {
    let shop = Shop::running();
    for text in hostile() {
        let secret = format!("{text}{}", unique());
        for (username, password) in [(text.as_str(), secret.as_str()), ("admin", &secret), (&text, &text)] {
            let form = json!({ "username": username, "password": password });
            let reply = shop.post("/api/user/login").json(form).await;
            assert!(matches!(reply.status, 401 | 422 | 429), "{reply}");
        }
        let form = json!({ "username": text, "password": secret });
        let reply = shop.post("/api/user/register").json(form).await;
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if text.chars().all(is_name) && text.len() >= 3 {
            assert!(matches!(reply.status, 201 | 409), "{reply}");
        } else {
            reply.invalid("username");
        }
    }
}

#[tokio::test]
async fn hostile_text_is_a_valid_password() {
    let shop = Shop::running();
    for text in
        ["'; DROP TABLE users; --", "\u{202e}drowssap\u{202c}", "tab\tnew\nline", "        ", "🔑🔑🔑🔑🔑🔑🔑🔑"]
    {
        let form = json!({ "username": format!("u-{}", unique()), "password": text });
        shop.post("/api/user/register").json(form.clone()).await.is(201);
        shop.post("/api/user/login").json(form).await.is(200);
    }
}

#[tokio::test]
async fn hostile_queries_find_nothing_and_do_no_harm() {
    let shop = Shop::running();
    let user = shop.user().await;
    let category = shop.category(None).await;
    shop.product(json!({ "name": "plain", "category_id": category })).await;
    let mut texts = hostile();
    texts.push("q".repeat(4000));
    texts.push("长".repeat(1000));
    for text in texts {
        let text = encode(&text);
        let list = user.get(&format!("/api/product?category_id={category}&q={text}")).await;
        if list.status != 422 {
            assert_eq!(list.is(200)["items"], json!([]), "{list}");
        }
        for query in ["category_id", "min_price_cents", "max_price_cents", "sort", "cursor", "limit"] {
            let reply = user.get(&format!("/api/product?{query}={text}")).await;
            assert!(matches!(reply.status, 200 | 422), "{reply}");
        }
        for query in ["status", "cursor", "limit"] {
            user.get(&format!("/api/order?{query}={text}")).await.invalid(query);
        }
        let reply = user.delete(&format!("/api/cart?product_id={text}")).await;
        assert!(matches!(reply.status, 200 | 422), "{reply}");
    }
}

#[tokio::test]
async fn malformed_queries_do_no_harm() {
    let shop = Shop::running();
    for query in
        ["?", "?&&&", "?=", "?q", "?q=%", "?q=%zz", "?q=%ff%fe", "?limit=1&limit=2", "?q=a&q=b", "?%00=%00", "?q=+"]
    {
        let reply = shop.get(&format!("/api/product{query}")).await;
        assert!(matches!(reply.status, 200 | 400 | 422), "{reply}");
    }
}

#[tokio::test]
async fn hostile_paths_are_not_found() {
    let user = Shop::running().user().await;
    for text in hostile() {
        let text = encode(&text);
        for path in [format!("/api/order/{text}"), format!("/api/product/{text}"), format!("/{text}")] {
            let reply = user.get(&path).await;
            assert!(matches!(reply.status, 404 | 422), "{reply}");
        }
        let reply = user.pay(&text).await;
        assert!(matches!(reply.status, 404 | 405), "{reply}");
    }
}

#[tokio::test]
async fn hostile_headers_do_no_harm() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    for value in [&b"'; DROP TABLE users; --"[..], "ü🔥".as_bytes(), b"", &[b'x'; 4000], b"a,b;c=\"d", b"W/"] {
        for name in [
            "if-none-match",
            "x-request-id",
            "authorization",
            "accept",
            "accept-language",
            "origin",
            "user-agent",
            "cookie",
        ] {
            let reply = shop.get(&format!("/api/product/{product}")).header(name, value).await;
            assert!(matches!(reply.status, 200), "{name}: {reply}");
        }
        let reply = shop.get("/api/cart").header("authorization", value).await;
        reply.problem(401, "unauthenticated");
        let reply = user.place_order(&[(product, 1)]).header("idempotency-key", value).await;
        assert!(matches!(reply.status, 201 | 422), "{reply}");
    }
}

/// On the embedded runtime only: Spin itself answers bytes that are not UTF-8 with an empty 500, before any function runs.
#[tokio::test]
async fn header_bytes_that_are_not_utf_8_do_no_harm() {
    let shop = DedicatedShop::builder().start().await;
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 1 })).await;
    let bytes = &b"\xff\xfe"[..];
    for name in ["if-none-match", "x-request-id", "authorization", "accept"] {
        let reply = shop.get(&format!("/api/product/{product}")).header(name, bytes).await;
        assert_eq!(reply.status, 200, "{name}: {reply}");
    }
    shop.get("/api/cart").header("authorization", bytes).await.problem(401, "unauthenticated");
    user.place_order(&[(product, 1)]).header("idempotency-key", bytes).await.problem(422, "invalid");
}
