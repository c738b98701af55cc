//! The OpenAPI document: every route with its statuses and errors, and the methods that the shop allows.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Endpoints, Shop, rules};

/// Method, path, the statuses of success, and the errors.
type Operation = (&'static str, &'static str, &'static [u16], &'static [(u16, &'static str)]);

const INVALID: (u16, &str) = (422, "invalid");
const NOT_FOUND: (u16, &str) = (404, "not_found");
const UNAUTHENTICATED: (u16, &str) = (401, "unauthenticated");
const EXPIRED: (u16, &str) = (401, "token_expired");
const FORBIDDEN: (u16, &str) = (403, "forbidden");
const OUT_OF_STOCK: (u16, &str) = (409, "out_of_stock");
const ORDER_STATE: (u16, &str) = (409, "order_state");
const IN_PROGRESS: (u16, &str) = (409, "idempotency_in_progress");
const MISMATCH: (u16, &str) = (422, "idempotency_mismatch");
const COUPON: (u16, &str) = (409, "coupon_invalid");
const RATE_LIMITED: (u16, &str) = (429, "rate_limited");
const UNAVAILABLE: (u16, &str) = (503, "unavailable");
const INVALID_CREDENTIALS: (u16, &str) = (401, "invalid_credentials");
const TOO_OLD: (u16, &str) = (403, "session_too_old");

const OPERATIONS: &[Operation] = &[
    ("post", "/api/user/register", &[201], &[(409, "username_taken"), INVALID, RATE_LIMITED, UNAVAILABLE]),
    ("post", "/api/user/login", &[200], &[INVALID_CREDENTIALS, (403, "suspended"), INVALID, RATE_LIMITED, UNAVAILABLE]),
    ("post", "/api/user/refresh", &[200], &[(401, "invalid_token"), INVALID, UNAVAILABLE]),
    ("post", "/api/user/logout", &[204], &[UNAUTHENTICATED, EXPIRED, UNAVAILABLE]),
    ("get", "/api/user/profile", &[200], &[UNAUTHENTICATED, EXPIRED, UNAVAILABLE]),
    (
        "put",
        "/api/user/profile",
        &[200],
        &[UNAUTHENTICATED, EXPIRED, INVALID_CREDENTIALS, TOO_OLD, INVALID, RATE_LIMITED, UNAVAILABLE],
    ),
    ("post", "/api/user/email/verify", &[204], &[(401, "invalid_token"), INVALID, RATE_LIMITED, UNAVAILABLE]),
    ("post", "/api/user/email/resend", &[202], &[UNAUTHENTICATED, EXPIRED, RATE_LIMITED, UNAVAILABLE]),
    ("get", "/api/user/identity", &[200], &[UNAUTHENTICATED, EXPIRED, UNAVAILABLE]),
    (
        "delete",
        "/api/user/identity/{identity_id}",
        &[204],
        &[UNAUTHENTICATED, EXPIRED, NOT_FOUND, (409, "identity_needed"), UNAVAILABLE],
    ),
    ("get", "/api/user/export", &[200], &[UNAUTHENTICATED, EXPIRED, UNAVAILABLE]),
    (
        "delete",
        "/api/user",
        &[204],
        &[UNAUTHENTICATED, EXPIRED, INVALID_CREDENTIALS, FORBIDDEN, TOO_OLD, INVALID, RATE_LIMITED, UNAVAILABLE],
    ),
    (
        "post",
        "/api/admin/user/{user_id}/suspend",
        &[200],
        &[UNAUTHENTICATED, EXPIRED, FORBIDDEN, NOT_FOUND, INVALID, UNAVAILABLE],
    ),
    (
        "post",
        "/api/admin/user/{user_id}/unsuspend",
        &[200],
        &[UNAUTHENTICATED, EXPIRED, FORBIDDEN, NOT_FOUND, INVALID, UNAVAILABLE],
    ),
    ("get", "/api/product", &[200], &[INVALID, UNAVAILABLE]),
    ("post", "/api/product", &[201], &[UNAUTHENTICATED, EXPIRED, FORBIDDEN, INVALID, UNAVAILABLE]),
    ("get", "/api/product/hot", &[200], &[INVALID, UNAVAILABLE]),
    ("post", "/api/product/batch", &[200], &[UNAUTHENTICATED, EXPIRED, FORBIDDEN, INVALID, UNAVAILABLE]),
    ("get", "/api/product/{product_id}", &[200, 304], &[NOT_FOUND, UNAVAILABLE]),
    (
        "put",
        "/api/product/{product_id}",
        &[200],
        &[UNAUTHENTICATED, EXPIRED, FORBIDDEN, NOT_FOUND, INVALID, UNAVAILABLE],
    ),
    ("delete", "/api/product/{product_id}", &[204], &[UNAUTHENTICATED, EXPIRED, FORBIDDEN, NOT_FOUND, UNAVAILABLE]),
    (
        "post",
        "/api/product/{product_id}/stock",
        &[200],
        &[UNAUTHENTICATED, EXPIRED, FORBIDDEN, NOT_FOUND, OUT_OF_STOCK, IN_PROGRESS, INVALID, MISMATCH, UNAVAILABLE],
    ),
    ("get", "/api/category", &[200], &[UNAVAILABLE]),
    ("post", "/api/category", &[201], &[UNAUTHENTICATED, EXPIRED, FORBIDDEN, INVALID, UNAVAILABLE]),
    (
        "put",
        "/api/category/{category_id}",
        &[200],
        &[UNAUTHENTICATED, EXPIRED, FORBIDDEN, NOT_FOUND, INVALID, UNAVAILABLE],
    ),
    (
        "delete",
        "/api/category/{category_id}",
        &[204],
        &[UNAUTHENTICATED, EXPIRED, FORBIDDEN, NOT_FOUND, (409, "category_in_use"), UNAVAILABLE],
    ),
    ("get", "/api/cart", &[200], &[UNAUTHENTICATED, EXPIRED, UNAVAILABLE]),
    ("post", "/api/cart", &[200], &[UNAUTHENTICATED, EXPIRED, INVALID, UNAVAILABLE]),
    ("put", "/api/cart", &[200], &[UNAUTHENTICATED, EXPIRED, NOT_FOUND, INVALID, UNAVAILABLE]),
    ("delete", "/api/cart", &[200], &[UNAUTHENTICATED, EXPIRED, INVALID, UNAVAILABLE]),
    ("delete", "/api/cart/clear", &[200], &[UNAUTHENTICATED, EXPIRED, UNAVAILABLE]),
    ("post", "/api/checkout/quote", &[200], &[UNAUTHENTICATED, EXPIRED, COUPON, INVALID, UNAVAILABLE]),
    (
        "post",
        "/api/checkout",
        &[201],
        &[UNAUTHENTICATED, EXPIRED, OUT_OF_STOCK, COUPON, IN_PROGRESS, INVALID, MISMATCH, UNAVAILABLE],
    ),
    (
        "post",
        "/api/order",
        &[201],
        &[UNAUTHENTICATED, EXPIRED, OUT_OF_STOCK, COUPON, IN_PROGRESS, INVALID, MISMATCH, UNAVAILABLE],
    ),
    ("get", "/api/order", &[200], &[UNAUTHENTICATED, EXPIRED, INVALID, UNAVAILABLE]),
    ("get", "/api/order/all", &[200], &[UNAUTHENTICATED, EXPIRED, FORBIDDEN, INVALID, UNAVAILABLE]),
    ("get", "/api/order/{order_no}", &[200], &[UNAUTHENTICATED, EXPIRED, NOT_FOUND, UNAVAILABLE]),
    (
        "post",
        "/api/order/{order_no}/cancel",
        &[200],
        &[UNAUTHENTICATED, EXPIRED, NOT_FOUND, ORDER_STATE, INVALID, UNAVAILABLE],
    ),
    (
        "post",
        "/api/order/{order_no}/pay",
        &[200],
        &[
            UNAUTHENTICATED,
            EXPIRED,
            (402, "payment_declined"),
            NOT_FOUND,
            ORDER_STATE,
            IN_PROGRESS,
            INVALID,
            MISMATCH,
            UNAVAILABLE,
        ],
    ),
    ("get", "/api/admin/promotion", &[200], &[UNAUTHENTICATED, EXPIRED, FORBIDDEN, INVALID, UNAVAILABLE]),
    ("post", "/api/admin/promotion", &[201], &[UNAUTHENTICATED, EXPIRED, FORBIDDEN, INVALID, UNAVAILABLE]),
    (
        "get",
        "/api/admin/promotion/{promotion_id}",
        &[200],
        &[UNAUTHENTICATED, EXPIRED, FORBIDDEN, NOT_FOUND, UNAVAILABLE],
    ),
    (
        "put",
        "/api/admin/promotion/{promotion_id}",
        &[200],
        &[UNAUTHENTICATED, EXPIRED, FORBIDDEN, NOT_FOUND, INVALID, UNAVAILABLE],
    ),
    (
        "delete",
        "/api/admin/promotion/{promotion_id}",
        &[204],
        &[UNAUTHENTICATED, EXPIRED, FORBIDDEN, NOT_FOUND, UNAVAILABLE],
    ),
    ("get", "/api/admin/coupon", &[200], &[UNAUTHENTICATED, EXPIRED, FORBIDDEN, INVALID, UNAVAILABLE]),
    ("post", "/api/admin/coupon", &[201], &[UNAUTHENTICATED, EXPIRED, FORBIDDEN, INVALID, UNAVAILABLE]),
    ("get", "/api/admin/coupon/{coupon_id}", &[200], &[UNAUTHENTICATED, EXPIRED, FORBIDDEN, NOT_FOUND, UNAVAILABLE]),
    (
        "put",
        "/api/admin/coupon/{coupon_id}",
        &[200],
        &[UNAUTHENTICATED, EXPIRED, FORBIDDEN, NOT_FOUND, INVALID, UNAVAILABLE],
    ),
    ("delete", "/api/admin/coupon/{coupon_id}", &[204], &[UNAUTHENTICATED, EXPIRED, FORBIDDEN, NOT_FOUND, UNAVAILABLE]),
    ("get", "/api/user/coupon", &[200], &[UNAUTHENTICATED, EXPIRED, INVALID, UNAVAILABLE]),
    ("post", "/api/user/coupon/{code}/claim", &[201], &[UNAUTHENTICATED, EXPIRED, NOT_FOUND, COUPON, UNAVAILABLE]),
    ("get", "/health", &[200], &[]),
    ("get", "/ready", &[200, 503], &[]),
    ("get", "/api/openapi.json", &[200], &[]),
    ("get", "/api/docs", &[200], &[]),
];

const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];

async fn description() -> Value {
    Shop::running().get("/api/openapi.json").await.is(200)
}

/// This part of the document, followed by the parts that it references.
fn resolved(document: &Value, part: &Value, depth: usize) -> String {
    let mut text = part.to_string();
    if depth == 0 {
        return text;
    }
    let mut rest = part.to_string();
    while let Some(start) = rest.find("\"#/") {
        rest = rest[start + 2..].to_owned();
        let pointer = rest.split('"').next().unwrap_or_default().to_owned();
        if let Some(target) = document.pointer(&pointer) {
            text.push_str(&resolved(document, target, depth - 1));
        }
    }
    text
}

#[tokio::test]
async fn the_description_is_openapi_3_1() {
    let document = description().await;
    let version = document["openapi"].as_str().unwrap_or_default();
    assert!(version.starts_with("3.1."), "{version}");
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            for (status, response) in operation["responses"].as_object().expect("responses") {
                let has_text = response["description"].as_str().is_some_and(|text| !text.is_empty());
                assert!(has_text, "{method} {path} {status} has no description");
            }
        }
    }
    let bearer = &document["components"]["securitySchemes"];
    assert!(bearer.to_string().contains("bearer"), "no bearer scheme: {bearer}");
}

#[tokio::test]
async fn the_description_lists_every_route_with_its_statuses() {
    let document = description().await;
    let mut missing = Vec::new();
    for (method, path, statuses, errors) in OPERATIONS {
        let responses = &document["paths"][path][method]["responses"];
        let expected = statuses.iter().copied().chain(errors.iter().map(|(status, _)| *status));
        for status in expected {
            if responses.get(status.to_string()).is_none() {
                missing.push(format!("{method} {path} {status}"));
            }
        }
    }
    missing.dedup();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[tokio::test]
async fn the_description_lists_every_error_code() {
    let document = description().await;
    let mut missing = Vec::new();
    for (method, path, _, errors) in OPERATIONS {
        for (status, code) in *errors {
            let response = &document["paths"][path][method]["responses"][status.to_string()];
            if !resolved(&document, response, 4).contains(code) {
                missing.push(format!("{method} {path} {status} {code}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The rules that hold for every endpoint are tested with those of `Endpoints`.
#[tokio::test]
async fn every_operation_that_needs_a_token_is_tested_by_the_common_rules() {
    let shop = Shop::running();
    let endpoints = Endpoints::of(&shop).await;
    let is_at = |path: &str, template: &str| {
        let path = path.split('?').next().unwrap_or_default();
        let (parts, names): (Vec<_>, Vec<_>) = (path.split('/').collect(), template.split('/').collect());
        parts.len() == names.len() && parts.iter().zip(names).all(|(part, name)| name.starts_with('{') || *part == name)
    };
    let mut missing = Vec::new();
    for (template, item) in description().await["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let needs_token = operation["security"].as_array().is_some_and(|all| all.len() == 1);
            let is_listed = endpoints.all.iter().any(|endpoint| {
                endpoint.method.as_str().eq_ignore_ascii_case(method) && is_at(&endpoint.path, template)
            });
            if needs_token && !is_listed {
                missing.push(format!("{method} {template}"));
            }
        }
    }
    assert!(missing.is_empty(), "not in harness/endpoints.rs: {missing:#?}");
}

#[tokio::test]
async fn every_error_is_described_as_a_problem_document() {
    let document = description().await;
    for (method, path, _, errors) in OPERATIONS {
        for (status, _) in *errors {
            let response = &document["paths"][path][method]["responses"][status.to_string()];
            let text = resolved(&document, response, 1);
            assert!(text.contains("application/problem+json"), "{method} {path} {status}: {response}");
        }
    }
}

#[tokio::test]
async fn every_reference_in_the_description_resolves() {
    let document = description().await;
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"").skip(1) {
        let reference = reference.split('"').next().unwrap_or_default();
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("an external reference: {reference}"));
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn operations_have_unique_ids_and_state_their_security() {
    let document = description().await;
    let mut names = Vec::new();
    for (method, path, _, errors) in OPERATIONS {
        let operation = &document["paths"][path][method];
        names.extend(operation["operationId"].as_str());
        let is_protected = errors.contains(&UNAUTHENTICATED);
        let has_security = operation["security"].as_array().is_some_and(|schemes| !schemes.is_empty());
        assert!(has_security || !is_protected, "{method} {path} needs a token, but has no `security`");
        for parameter in path.split('{').skip(1).filter_map(|part| part.split('}').next()) {
            let parameters =
                resolved(&document, &operation["parameters"], 2) + &document["paths"][path]["parameters"].to_string();
            assert!(parameters.contains(&format!("\"name\":\"{parameter}\"")), "{parameter} of {method} {path}");
        }
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "an operationId appears twice");
}

#[tokio::test]
async fn the_methods_described_are_the_methods_allowed() {
    let shop = Shop::running();
    let document = description().await;
    for (path, item) in document["paths"].as_object().expect("paths") {
        let mut described: Vec<String> =
            METHODS.iter().filter(|method| item.get(**method).is_some()).map(|method| method.to_uppercase()).collect();
        let concrete = path.replace("{product_id}", "1").replace("{category_id}", "1").replace("{order_no}", "nothing");
        let reply = shop.call(Method::PATCH, &concrete).json(json!({})).await;
        reply.problem(405, "method_not_allowed");
        let allow = reply.header("allow").unwrap_or_default();
        let mut allowed: Vec<String> = allow.split(',').map(|method| method.trim().to_owned()).collect();
        for methods in [&mut described, &mut allowed] {
            methods.retain(|method| method != "HEAD" && method != "OPTIONS");
            methods.sort();
        }
        assert_eq!(allowed, described, "{path}");
    }
}

#[tokio::test]
async fn every_described_code_is_in_the_contract() {
    let document = description().await;
    let codes = document.pointer("/components/schemas/Code/enum").and_then(Value::as_array).expect("codes");
    for code in codes {
        let known = code.as_str().is_some_and(|code| rules::CODES.contains(&code));
        assert!(known, "{code}");
    }
}
