//! Request bodies: size, content type, malformed JSON, unknown, missing and mistyped fields.

use serde_json::{Value, json};

use crate::harness::{Endpoints, Shop, encode, unique, wire};

const LIMIT: usize = 64 * 1024;

/// This document, padded with spaces to this size.
fn padded(document: &Value, size: usize) -> String {
    let document = document.to_string();
    let spaces = " ".repeat(size.saturating_sub(document.len()));
    document + &spaces
}

#[tokio::test]
async fn every_endpoint_refuses_a_body_over_64_kib() {
    let endpoints = Endpoints::of(&Shop::running()).await;
    for endpoint in endpoints.with_body() {
        let body = padded(endpoint.body.as_ref().unwrap_or(&Value::Null), LIMIT + 1);
        let call = endpoints.call(endpoint).text("application/json", body);
        call.await.problem(413, "body_too_large");
    }
}

#[tokio::test]
async fn endpoints_without_a_body_refuse_one_over_64_kib() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    user.add_to_cart(product, 1).await;
    for call in [user.delete("/api/cart/clear"), user.post("/api/user/logout"), user.get("/api/cart")] {
        call.text("text/plain", "x".repeat(65_537)).await.problem(413, "body_too_large");
    }
    // The body was checked before the cart was cleared.
    assert_eq!(user.cart().await["items"][0]["quantity"], 1);
    user.delete("/api/cart/clear").text("text/plain", "x".repeat(65_536)).await.is(200);
}

#[tokio::test]
async fn a_body_of_64_kib_is_accepted() {
    let form = json!({ "username": format!("u-{}", unique()), "password": "long enough" });
    let call = Shop::running().post("/api/user/register");
    call.text("application/json", padded(&form, LIMIT)).await.is(201);
}

#[tokio::test]
async fn a_body_of_megabytes_is_too_large() {
    let shop = Shop::running();
    let head = format!(
        "POST /api/user/register HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 4000000\r\n\r\n",
        shop.authority()
    );
    let mut request = head.into_bytes();
    request.resize(request.len() + 4_000_000, b' ');
    assert_eq!(wire::exchange(shop.authority(), &request).await.status, 413);
}

/// A registration in chunks of 1 KiB, without `content-length`.
async fn register_in_chunks(shop: &Shop, size: usize) -> wire::Raw {
    let form = json!({ "username": format!("u-{}", unique()), "password": "long enough" });
    let mut request = format!(
        "POST /api/user/register HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        shop.authority()
    );
    for chunk in padded(&form, size).as_bytes().chunks(1024) {
        request.push_str(&format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)));
    }
    request.push_str("0\r\n\r\n");
    wire::exchange(shop.authority(), request.as_bytes()).await
}

#[tokio::test]
async fn a_chunked_body_over_64_kib_is_too_large() {
    let raw = register_in_chunks(&Shop::running(), LIMIT + 1).await;
    assert_eq!(raw.status, 413, "{}", raw.head);
    assert!(raw.has("content-length") && !raw.has("transfer-encoding"), "{}", raw.head);
    assert!(String::from_utf8_lossy(&raw.body).contains("body_too_large"));
}

#[tokio::test]
async fn a_chunked_body_of_64_kib_is_accepted() {
    let raw = register_in_chunks(&Shop::running(), LIMIT).await;
    assert_eq!(raw.status, 201, "{}", raw.head);
}

#[tokio::test]
async fn a_body_without_a_json_content_type_is_unsupported() {
    let endpoints = Endpoints::of(&Shop::running()).await;
    for endpoint in endpoints.with_body() {
        let body = endpoint.body.clone().unwrap_or_default().to_string();
        for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/xml", "json"] {
            let call = endpoints.call(endpoint).text(content_type, body.clone());
            call.await.problem(415, "unsupported_media_type");
        }
        let call = endpoints.call(endpoint).untyped(body);
        call.await.problem(415, "unsupported_media_type");
    }
}

#[tokio::test]
async fn a_json_content_type_may_have_a_charset() {
    let shop = Shop::running();
    for content_type in [
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "APPLICATION/JSON",
        "application/json ; charset=\"utf-8\"",
    ] {
        let form = json!({ "username": format!("u-{}", unique()), "password": "long enough" });
        let call = shop.post("/api/user/register");
        call.text(content_type, form.to_string()).await.is(201);
    }
}

#[tokio::test]
async fn malformed_content_types_do_no_harm() {
    let shop = Shop::running();
    for content_type in [
        "application/json; charset",
        "application/json; charset=",
        "application/json; ;;",
        "application/json; charset=\"utf-8",
        "application/json, text/plain",
        "application/json; charset=utf-16",
        "/",
        ";",
        "",
    ] {
        let form = json!({ "username": format!("u-{}", unique()), "password": "long enough" });
        let reply = shop.post("/api/user/register").text(content_type, form.to_string()).await;
        assert!(matches!(reply.status, 201 | 415), "{reply}");
    }
}

#[tokio::test]
async fn every_endpoint_refuses_malformed_json() {
    let endpoints = Endpoints::of(&Shop::running()).await;
    for endpoint in endpoints.with_body() {
        let whole = endpoint.body.clone().unwrap_or_default().to_string();
        let half = whole[..whole.len() - 1].to_owned();
        for body in ["{", "{]", &half, &format!("{whole} {{}}"), &format!("{half},}}"), "nonsense", "{'a':1}"] {
            let call = endpoints.call(endpoint).text("application/json", body.to_owned());
            call.await.problem(400, "malformed_json");
        }
    }
}

#[tokio::test]
async fn malformed_json_after_an_unknown_field_is_malformed() {
    let shop = Shop::running();
    for body in ["{\"a\":}", "{\"a\":1,}", "{\"a\":1", "{\"a\":tru}", "{\"username\":1,}"] {
        let call = shop.post("/api/user/register").text("application/json", body);
        call.await.problem(400, "malformed_json");
    }
}

#[tokio::test]
async fn an_empty_body_is_malformed_where_fields_are_required() {
    let user = Shop::running().user().await;
    for path in ["/api/user/register", "/api/user/login", "/api/user/refresh", "/api/cart", "/api/order"] {
        let call = user.post(path).text("application/json", "");
        call.await.problem(400, "malformed_json");
    }
}

#[tokio::test]
async fn invalid_utf8_is_malformed() {
    let shop = Shop::running();
    for bytes in [
        &b"{\"username\":\"\xff\xfe\",\"password\":\"long enough\"}"[..],
        &b"{\"username\":\"abc\",\"password\":\"long enoug\xc3\"}"[..],
        &b"{\"user\xc0\xafname\":\"abc\"}"[..],
        &b"\xff\xfe{\x00}\x00"[..],
        &b"{\"username\":\"\xed\xa0\x80abc\",\"password\":\"long enough\"}"[..],
    ] {
        let call = shop.post("/api/user/register").text("application/json", bytes.to_vec());
        call.await.problem(400, "malformed_json");
    }
}

#[tokio::test]
async fn an_unknown_field_is_refused_by_name() {
    let endpoints = Endpoints::of(&Shop::running()).await;
    for endpoint in endpoints.with_body() {
        let mut body = endpoint.body.clone().unwrap_or_default();
        body["surprise"] = json!("!");
        endpoints.call(endpoint).json(body).await.invalid("surprise");
    }
}

#[tokio::test]
async fn a_body_that_is_not_an_object_is_invalid() {
    let endpoints = Endpoints::of(&Shop::running()).await;
    for endpoint in endpoints.with_body() {
        // serde reads a struct from an array, too: the shop must not.
        let fields = endpoint.body.clone().unwrap_or_default();
        let values: Vec<Value> = fields.as_object().into_iter().flat_map(|map| map.values().cloned()).collect();
        for body in [json!(values), json!([]), json!(null), json!("text"), json!(7), json!(true)] {
            endpoints.call(endpoint).json(body).await.problem(422, "invalid");
        }
    }
}

/// Path, a valid body, and its required fields.
async fn required() -> (Endpoints, Vec<(&'static str, Value, &'static [&'static str])>) {
    let endpoints = Endpoints::of(&Shop::running()).await;
    let product = endpoints.shop.product(json!({})).await;
    let cases: Vec<(&str, Value, &[&str])> = vec![
        ("/api/user/register", json!({ "username": "someone", "password": "long enough" }), &["username", "password"]),
        ("/api/user/login", json!({ "username": "someone", "password": "long enough" }), &["username", "password"]),
        ("/api/user/refresh", json!({ "refresh_token": "x" }), &["refresh_token"]),
        ("/api/product", json!({ "name": "A thing", "price_cents": 1, "stock": 1 }), &["name", "price_cents", "stock"]),
        ("/api/product/batch", json!({ "product_ids": [product], "on_shelf": true }), &["product_ids", "on_shelf"]),
        ("/api/category", json!({ "name": "A name" }), &["name"]),
        ("/api/cart", json!({ "product_id": product, "quantity": 1 }), &["product_id", "quantity"]),
        ("/api/order", json!({ "items": [{ "product_id": product, "quantity": 1 }] }), &["items"]),
    ];
    (endpoints, cases)
}

#[tokio::test]
async fn a_missing_field_is_reported_by_name() {
    let (endpoints, cases) = required().await;
    for (path, body, fields) in cases {
        for field in fields {
            let mut body = body.clone();
            body.as_object_mut().and_then(|map| map.remove(*field));
            endpoints.admin.post(path).json(body).await.invalid(field);
        }
    }
}

#[tokio::test]
async fn a_field_of_the_wrong_type_is_reported_by_name() {
    let (endpoints, cases) = required().await;
    for (path, body, fields) in cases {
        for field in fields {
            for wrong in [json!(null), json!({ "a": 1 }), json!([[]]), json!(1.5)] {
                let mut body = body.clone();
                body[field] = wrong;
                let reply = endpoints.admin.post(path).json(body).await;
                let problem = reply.problem(422, "invalid");
                let errors = problem["errors"].to_string();
                assert!(errors.contains(field), "{field}: {reply}");
            }
        }
    }
}

#[tokio::test]
async fn fractions_and_numbers_out_of_range_are_invalid() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    for number in [
        "1.0",
        "1.5",
        "-1",
        "1e2",
        "\"1\"",
        "true",
        "9007199254740992",
        "9223372036854775808",
        "18446744073709551616",
        "1e30",
        "-0.0",
    ] {
        let body = format!("{{\"product_id\":{product},\"quantity\":{number}}}");
        let reply = user.post("/api/cart").text("application/json", body).await;
        reply.invalid("quantity");
        let body = format!("{{\"product_id\":{number},\"quantity\":1}}");
        let reply = user.post("/api/cart").text("application/json", body).await;
        reply.invalid("product_id");
    }
    assert_eq!(user.cart().await["items"], json!([]));
}

#[tokio::test]
async fn extreme_and_malformed_numbers_do_no_harm() {
    let user = Shop::running().user().await;
    for number in ["1e400", "-1e400", &"9".repeat(400), "NaN", "Infinity", "0x1", "01", "+1"] {
        let body = format!("{{\"product_id\":{number},\"quantity\":1}}");
        let reply = user.post("/api/cart").text("application/json", body).await;
        assert!(matches!(reply.status, 400 | 422), "{reply}");
    }
}

#[tokio::test]
async fn deeply_nested_json_does_no_harm() {
    let endpoints = Endpoints::of(&Shop::running()).await;
    for endpoint in endpoints.with_body() {
        for body in [
            format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)),
            format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000)),
            "[".repeat(60_000),
        ] {
            let reply = endpoints.call(endpoint).text("application/json", body).await;
            assert!(matches!(reply.status, 400 | 422), "{reply}");
        }
    }
}

#[tokio::test]
async fn duplicate_json_keys_do_no_harm() {
    let shop = Shop::running();
    let name = unique();
    let body = format!(r#"{{"username":"a-{name}","username":"b-{name}","password":"long enough"}}"#);
    let reply = shop.post("/api/user/register").text("application/json", body).await;
    assert!(matches!(reply.status, 201 | 400 | 422), "{reply}");
}

#[tokio::test]
async fn lone_surrogates_do_no_harm() {
    let shop = Shop::running();
    for escape in ["\\ud800", "\\udfff", "\\ud800\\ud800", "\\u12", "\\uzzzz"] {
        let body = format!(r#"{{"username":"abc{escape}","password":"long enough"}}"#);
        let reply = shop.post("/api/user/register").text("application/json", body).await;
        assert!(matches!(reply.status, 400 | 422), "{reply}");
    }
}

#[tokio::test]
async fn malformed_ids_in_paths_do_no_harm() {
    let user = Shop::running().user().await;
    for id in ["0", "-1", "abc", "1.0", "9007199254740992", "99999999999999999999", "%00", "%ff%fe", "%", "1%20", "'"] {
        let reply = user.get(&format!("/api/product/{id}")).await;
        assert!(matches!(reply.status, 404 | 422), "{reply}");
        let reply = user.get(&format!("/api/order/{id}")).await;
        assert!(matches!(reply.status, 404 | 422), "{reply}");
    }
    let long = encode(&"长".repeat(500));
    user.get(&format!("/api/order/{long}")).await.problem(404, "not_found");
}
