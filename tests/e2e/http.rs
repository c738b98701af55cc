//! What holds for every endpoint: errors, request ids, methods, paths, HEAD, CORS, lengths.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::harness::{Endpoints, Shop, unique, wire};

#[tokio::test]
async fn an_error_is_a_problem_document_with_every_field() {
    let reply = Shop::running().get("/nothing/here").await;
    let problem = reply.problem(404, "not_found");
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    assert_eq!(problem["status"], 404);
    for field in ["type", "title", "detail", "code", "request_id"] {
        assert!(problem[field].is_string(), "{field}: {problem}");
    }
}

#[tokio::test]
async fn a_valid_request_id_is_sent_back() {
    let shop = Shop::running();
    for id in ["a", "Order-7._x", &"x".repeat(64)] {
        for path in ["/health", "/api/product", "/api/cart", "/nothing"] {
            let reply = shop.get(path).header("x-request-id", id).await;
            assert_eq!(reply.header("x-request-id"), Some(id), "{reply}");
        }
    }
}

#[tokio::test]
async fn an_invalid_request_id_is_replaced() {
    let shop = Shop::running();
    let too_long = "x".repeat(65);
    for id in ["", "two words", "a/b", "a\"b", "é", "<b>", too_long.as_str()] {
        let reply = shop.get("/health").header("x-request-id", id).await;
        let new = reply.header("x-request-id").unwrap_or_default();
        assert_ne!(new, id, "{reply}");
        assert!(!new.is_empty(), "{reply}");
    }
}

#[tokio::test]
async fn a_request_without_an_id_gets_a_new_one() {
    let shop = Shop::running();
    let one = shop.get("/health").await;
    let other = shop.get("/health").await;
    assert_ne!(one.header("x-request-id"), other.header("x-request-id"));
}

#[tokio::test]
async fn an_unknown_path_is_not_found() {
    let shop = Shop::running();
    for path in [
        "/",
        "/nothing",
        "/api",
        "/api/nothing",
        "/api/users",
        "/api/user/login/more",
        "/api/product/1/2/3",
        "/api/product/1/stock/more",
        "/api/category/1/2",
        "/api/cart/nothing",
        "/api/checkout/nothing",
        "/api/order/1/nothing",
        "/api/order/1/pay/more",
        "/health/more",
    ] {
        shop.get(path).await.problem(404, "not_found");
        shop.post(path).json(json!({})).await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_path_that_resembles_a_known_one_is_not_found() {
    let shop = Shop::running();
    for path in ["/Health", "/api//product", "/API/product", "/api/productx", "/health%2f"] {
        shop.get(path).await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_wrong_method_gets_the_allowed_ones() {
    let endpoints = Endpoints::of(&Shop::running()).await;
    for endpoint in &endpoints.all {
        let path = endpoint.path.split('?').next().unwrap_or_default();
        let reply = endpoints.shop.call(Method::PATCH, path).json(json!({})).await;
        reply.problem(405, "method_not_allowed");
        let allow = reply.header("allow").unwrap_or_default().to_owned();
        let methods: Vec<&str> = allow.split(',').map(str::trim).collect();
        assert!(methods.contains(&endpoint.method.as_str()), "{endpoint}: {reply}");
        assert!(!methods.contains(&"PATCH"), "{reply}");
        if endpoint.method == Method::GET {
            assert!(methods.contains(&"HEAD"), "HEAD works where GET does: {reply}");
        }
    }
}

#[tokio::test]
async fn an_unknown_method_is_not_allowed() {
    let brew = Method::from_bytes(b"BREW").expect("a method");
    let shop = Shop::running();
    for path in ["/health", "/api/product", "/api/cart", "/api/user/login"] {
        shop.call(brew.clone(), path).await.problem(405, "method_not_allowed");
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let shop = Shop::running();
    let user = shop.user().await;
    let category = shop.category(None).await;
    let product = shop.product(json!({ "category_id": category })).await;
    let order = user.new_order(&[(product, 1)]).await;
    for path in [
        "/health".to_owned(),
        "/ready".to_owned(),
        "/api/openapi.json".to_owned(),
        "/api/docs".to_owned(),
        format!("/api/product?category_id={category}"),
        format!("/api/product/{product}"),
        "/api/cart".to_owned(),
        "/api/order".to_owned(),
        format!("/api/order/{order}"),
        // Where GET fails, HEAD fails in the same way.
        "/api/order/nothing".to_owned(),
    ] {
        let get = user.get(&path).header("x-request-id", "same").await;
        let head = user.call(Method::HEAD, &path).header("x-request-id", "same").await;
        assert_eq!(head.status, get.status, "{head}");
        for name in ["content-length", "content-type", "etag", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{name} of {head}");
        }
        assert!(head.body.is_empty(), "{head}");
    }
}

#[tokio::test]
async fn head_is_refused_where_get_is() {
    let shop = Shop::running();
    for path in ["/api/user/login", "/api/checkout", "/api/cart/clear"] {
        assert_eq!(shop.call(Method::HEAD, path).await.status, 405);
    }
    assert_eq!(shop.call(Method::HEAD, "/nothing").await.status, 404);
}

#[tokio::test]
async fn preflight_requests_allow_any_origin() {
    let shop = Shop::running();
    for (path, method) in [
        ("/api/user/register", "POST"),
        ("/api/user/login", "POST"),
        ("/api/product", "GET"),
        ("/api/product/1", "PUT"),
        ("/api/cart", "PUT"),
        ("/api/cart/clear", "DELETE"),
        ("/api/checkout", "POST"),
        ("/api/order", "POST"),
        ("/api/order/1/pay", "POST"),
        ("/health", "GET"),
    ] {
        let reply = shop
            .call(Method::OPTIONS, path)
            .header("origin", "https://shop.example")
            .header("access-control-request-method", method)
            .header("access-control-request-headers", "authorization,content-type,idempotency-key,x-request-id")
            .await;
        assert!(matches!(reply.status, 200 | 204), "{reply}");
        let origin = reply.header("access-control-allow-origin").unwrap_or_default();
        assert!(matches!(origin, "*" | "https://shop.example"), "{reply}");
        let methods = reply.header("access-control-allow-methods").unwrap_or_default();
        assert!(methods == "*" || methods.contains(method), "{reply}");
        let headers = reply.header("access-control-allow-headers").unwrap_or_default();
        for name in ["authorization", "content-type", "idempotency-key", "x-request-id"] {
            assert!(headers.to_lowercase().contains(name), "{name}: {reply}");
        }
    }
}

#[tokio::test]
async fn browsers_of_any_origin_may_read_replies_and_errors() {
    let shop = Shop::running();
    for path in ["/api/product", "/api/category", "/health", "/nothing", "/api/cart"] {
        let reply = shop.get(path).header("origin", "https://shop.example").await;
        let origin = reply.header("access-control-allow-origin").unwrap_or_default();
        assert!(matches!(origin, "*" | "https://shop.example"), "{reply}");
    }
}

#[tokio::test]
async fn replies_do_not_wait_for_a_delayed_ack() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    for path in [
        "/health".to_owned(),
        "/nothing".to_owned(),
        "/api/openapi.json".to_owned(),
        format!("/api/product/{product}"),
        "/api/cart".to_owned(),
    ] {
        user.get(&path).await;
        let mut times = Vec::new();
        for _ in 0..31 {
            let start = Instant::now();
            user.get(&path).await;
            times.push(start.elapsed());
        }
        times.sort();
        assert!(times[15] < Duration::from_millis(40), "{path}: half of them took {:?} or more", times[15]);
    }
}

#[tokio::test]
async fn a_connection_stays_open_after_an_error() {
    let shop = Shop::running();
    let one = format!("GET /nothing HTTP/1.1\r\nhost: {}\r\n\r\n", shop.authority());
    let last = format!("GET /health HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", shop.authority());
    let raw = wire::exchange(shop.authority(), format!("{one}{one}{last}").as_bytes()).await;
    assert_eq!(raw.status, 404, "{}", raw.head);
    let rest = String::from_utf8_lossy(&raw.body).to_lowercase();
    assert_eq!(rest.matches("http/1.1 404").count(), 1, "{rest}");
    assert_eq!(rest.matches("http/1.1 200").count(), 1, "{rest}");
}

#[tokio::test]
async fn lists_have_items_and_a_cursor() {
    let shop = Shop::running();
    let user = shop.user().await;
    for path in ["/api/product", "/api/order"] {
        let list = user.get(path).await.is(200);
        assert!(list["items"].is_array(), "{list}");
        let cursor = &list["next_cursor"];
        assert!(cursor.is_null() || cursor.is_string(), "{list}");
        assert!(list.get("next_cursor").is_some(), "{list}");
    }
}

#[tokio::test]
async fn a_limit_is_1_to_100() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    for path in ["/api/product", "/api/order", "/api/order/all", "/api/product/hot"] {
        for limit in ["0", "101", "abc", "-1", "1.5", "", "99999999999999999999"] {
            let reply = admin.get(&format!("{path}?limit={limit}")).await;
            reply.invalid("limit");
        }
        for limit in ["1", "100"] {
            admin.get(&format!("{path}?limit={limit}")).await.is(200);
        }
    }
}

#[tokio::test]
async fn an_unknown_cursor_is_refused() {
    let admin = Shop::running().admin().await;
    for path in ["/api/product", "/api/order", "/api/order/all"] {
        for cursor in ["x", "%00", "AAAA", "eyJpZCI6MX0", "1,2", "' OR 1=1", &unique(), &"a".repeat(2000)] {
            let cursor = if cursor.starts_with('%') { cursor.to_owned() } else { crate::harness::encode(cursor) };
            admin.get(&format!("{path}?cursor={cursor}")).await.invalid("cursor");
        }
    }
}
