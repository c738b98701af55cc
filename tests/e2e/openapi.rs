//! The API's description: every route, its statuses, its errors, and the same methods as the shop itself.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Shop, rules};

/// Method, path, the statuses of success, and the errors of its own.
type Operation = (&'static str, &'static str, &'static [u16], &'static [(u16, &'static str)]);

const INVALID: (u16, &str) = (422, "invalid");
const MISSING: (u16, &str) = (404, "not_found");
const NOBODY: (u16, &str) = (401, "unauthenticated");
const EXPIRED: (u16, &str) = (401, "token_expired");
const NO_ADMIN: (u16, &str) = (403, "forbidden");
const SHORT: (u16, &str) = (409, "out_of_stock");
const STATE: (u16, &str) = (409, "order_state");
const RUNNING: (u16, &str) = (409, "idempotency_in_progress");
const MISMATCH: (u16, &str) = (422, "idempotency_mismatch");
const COUPON: (u16, &str) = (409, "coupon_invalid");
const SLOWER: (u16, &str) = (429, "rate_limited");
const DOWN: (u16, &str) = (503, "unavailable");

const OPERATIONS: &[Operation] = &[
    ("post", "/api/user/register", &[201], &[(409, "username_taken"), INVALID, DOWN]),
    ("post", "/api/user/login", &[200], &[(401, "invalid_credentials"), INVALID, SLOWER, DOWN]),
    ("post", "/api/user/refresh", &[200], &[(401, "invalid_token"), INVALID, DOWN]),
    ("post", "/api/user/logout", &[204], &[NOBODY, EXPIRED, DOWN]),
    ("get", "/api/product", &[200], &[INVALID, DOWN]),
    ("post", "/api/product", &[201], &[NOBODY, EXPIRED, NO_ADMIN, INVALID, DOWN]),
    ("get", "/api/product/hot", &[200], &[INVALID, DOWN]),
    ("post", "/api/product/batch", &[200], &[NOBODY, EXPIRED, NO_ADMIN, INVALID, DOWN]),
    ("get", "/api/product/{product_id}", &[200, 304], &[MISSING, DOWN]),
    ("put", "/api/product/{product_id}", &[200], &[NOBODY, EXPIRED, NO_ADMIN, MISSING, INVALID, DOWN]),
    ("delete", "/api/product/{product_id}", &[204], &[NOBODY, EXPIRED, NO_ADMIN, MISSING, DOWN]),
    (
        "post",
        "/api/product/{product_id}/stock",
        &[200],
        &[NOBODY, EXPIRED, NO_ADMIN, MISSING, SHORT, RUNNING, INVALID, MISMATCH, DOWN],
    ),
    ("get", "/api/category", &[200], &[DOWN]),
    ("post", "/api/category", &[201], &[NOBODY, EXPIRED, NO_ADMIN, INVALID, DOWN]),
    ("put", "/api/category/{category_id}", &[200], &[NOBODY, EXPIRED, NO_ADMIN, MISSING, INVALID, DOWN]),
    (
        "delete",
        "/api/category/{category_id}",
        &[204],
        &[NOBODY, EXPIRED, NO_ADMIN, MISSING, (409, "category_in_use"), DOWN],
    ),
    ("get", "/api/cart", &[200], &[NOBODY, EXPIRED, DOWN]),
    ("post", "/api/cart", &[200], &[NOBODY, EXPIRED, INVALID, DOWN]),
    ("put", "/api/cart", &[200], &[NOBODY, EXPIRED, MISSING, INVALID, DOWN]),
    ("delete", "/api/cart", &[200], &[NOBODY, EXPIRED, INVALID, DOWN]),
    ("delete", "/api/cart/clear", &[200], &[NOBODY, EXPIRED, DOWN]),
    ("post", "/api/checkout/quote", &[200], &[NOBODY, EXPIRED, COUPON, INVALID, DOWN]),
    ("post", "/api/checkout", &[201], &[NOBODY, EXPIRED, SHORT, COUPON, RUNNING, INVALID, MISMATCH, DOWN]),
    ("post", "/api/order", &[201], &[NOBODY, EXPIRED, SHORT, COUPON, RUNNING, INVALID, MISMATCH, DOWN]),
    ("get", "/api/order", &[200], &[NOBODY, EXPIRED, INVALID, DOWN]),
    ("get", "/api/order/all", &[200], &[NOBODY, EXPIRED, NO_ADMIN, INVALID, DOWN]),
    ("get", "/api/order/{order_no}", &[200], &[NOBODY, EXPIRED, MISSING, DOWN]),
    ("post", "/api/order/{order_no}/cancel", &[200], &[NOBODY, EXPIRED, MISSING, STATE, INVALID, DOWN]),
    (
        "post",
        "/api/order/{order_no}/pay",
        &[200],
        &[NOBODY, EXPIRED, (402, "payment_declined"), MISSING, STATE, RUNNING, INVALID, MISMATCH, DOWN],
    ),
    ("get", "/api/admin/promotion", &[200], &[NOBODY, EXPIRED, NO_ADMIN, INVALID, DOWN]),
    ("post", "/api/admin/promotion", &[201], &[NOBODY, EXPIRED, NO_ADMIN, INVALID, DOWN]),
    ("get", "/api/admin/promotion/{promotion_id}", &[200], &[NOBODY, EXPIRED, NO_ADMIN, MISSING, DOWN]),
    ("put", "/api/admin/promotion/{promotion_id}", &[200], &[NOBODY, EXPIRED, NO_ADMIN, MISSING, INVALID, DOWN]),
    ("delete", "/api/admin/promotion/{promotion_id}", &[204], &[NOBODY, EXPIRED, NO_ADMIN, MISSING, DOWN]),
    ("get", "/api/admin/coupon", &[200], &[NOBODY, EXPIRED, NO_ADMIN, INVALID, DOWN]),
    ("post", "/api/admin/coupon", &[201], &[NOBODY, EXPIRED, NO_ADMIN, INVALID, DOWN]),
    ("get", "/api/admin/coupon/{coupon_id}", &[200], &[NOBODY, EXPIRED, NO_ADMIN, MISSING, DOWN]),
    ("put", "/api/admin/coupon/{coupon_id}", &[200], &[NOBODY, EXPIRED, NO_ADMIN, MISSING, INVALID, DOWN]),
    ("delete", "/api/admin/coupon/{coupon_id}", &[204], &[NOBODY, EXPIRED, NO_ADMIN, MISSING, DOWN]),
    ("get", "/api/user/coupon", &[200], &[NOBODY, EXPIRED, INVALID, DOWN]),
    ("post", "/api/user/coupon/{code}/claim", &[201], &[NOBODY, EXPIRED, MISSING, COUPON, DOWN]),
    ("get", "/health", &[200], &[]),
    ("get", "/ready", &[200, 503], &[]),
    ("get", "/api/openapi.json", &[200], &[]),
    ("get", "/api/docs", &[200], &[]),
];

const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];

async fn description() -> Value {
    Shop::running().get("/api/openapi.json").await.is(200)
}

/// This part of the description, with what it refers to.
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
                let says = response["description"].as_str().is_some_and(|text| !text.is_empty());
                assert!(says, "{method} {path} {status} has no description");
            }
        }
    }
    let bearer = &document["components"]["securitySchemes"];
    assert!(bearer.to_string().contains("bearer"), "how to sign in: {bearer}");
}

#[tokio::test]
async fn the_description_names_every_route_with_its_statuses() {
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
async fn the_description_names_every_error_code() {
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
async fn every_reference_of_the_description_leads_somewhere() {
    let document = description().await;
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"").skip(1) {
        let reference = reference.split('"').next().unwrap_or_default();
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("outside: {reference}"));
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn operations_have_names_of_their_own_and_say_who_may() {
    let document = description().await;
    let mut names = Vec::new();
    for (method, path, _, errors) in OPERATIONS {
        let operation = &document["paths"][path][method];
        names.extend(operation["operationId"].as_str());
        let guarded = errors.contains(&NOBODY);
        let says = operation["security"].as_array().is_some_and(|schemes| !schemes.is_empty());
        assert!(says || !guarded, "{method} {path} needs a token and doesn't say so");
        for parameter in path.split('{').skip(1).filter_map(|part| part.split('}').next()) {
            let described =
                resolved(&document, &operation["parameters"], 2) + &document["paths"][path]["parameters"].to_string();
            assert!(described.contains(&format!("\"name\":\"{parameter}\"")), "{parameter} of {method} {path}");
        }
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "an operationId twice");
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
async fn every_code_described_is_one_of_the_contract() {
    let document = description().await;
    let codes = document.pointer("/components/schemas/Problem/properties/code/enum");
    for code in codes.and_then(Value::as_array).into_iter().flatten() {
        let known = code.as_str().is_some_and(|code| rules::CODES.contains(&code));
        assert!(known, "{code}");
    }
}
