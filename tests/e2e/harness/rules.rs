//! What holds for every reply.

use serde_json::Value;

use super::Reply;

/// The error codes of the contract.
pub const CODES: &[&str] = &[
    "body_too_large",
    "category_in_use",
    "coupon_invalid",
    "forbidden",
    "idempotency_in_progress",
    "idempotency_mismatch",
    "identity_needed",
    "identity_taken",
    "internal",
    "invalid",
    "invalid_credentials",
    "invalid_token",
    "malformed_json",
    "method_not_allowed",
    "not_found",
    "order_state",
    "out_of_stock",
    "outcome_unknown",
    "payment_declined",
    "payment_state",
    "pending_limit",
    "rate_limited",
    "request_timeout",
    "seckill_ended",
    "seckill_limit",
    "seckill_not_started",
    "seckill_sold_out",
    "session_too_old",
    "suspended",
    "token_expired",
    "unauthenticated",
    "unavailable",
    "unsupported_media_type",
    "username_taken",
];

/// Internals that an error must not show: statements, drivers, addresses, source files.
const LEAKS: &[&str] = &[
    ".rs:",
    "127.0.0.1",
    "ConnectionFailed",
    "Duplicate entry",
    "NOSCRIPT",
    "NoScriptError",
    "ServerError",
    "SQL syntax",
    "localhost",
    "mysql://",
    "panicked",
    "redis://",
];

pub fn check(reply: &Reply) {
    request_id(reply);
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{reply}");
    let is_page = reply.header("content-type").is_some_and(|kind| kind.starts_with("text/html"));
    let policy = if is_page && !reply.request.contains("/api/docs") { "same-origin" } else { "no-referrer" };
    assert_eq!(reply.header("referrer-policy"), Some(policy), "{reply}");
    let is_write = ["POST ", "PUT ", "DELETE "].iter().any(|method| reply.request.starts_with(method));
    if matches!(reply.status, 401 | 403) || is_write {
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply}");
    }
    length(reply);
    assert!(reply.status < 500 || reply.status == 503, "no 5xx but 503: {reply}");
    if reply.status >= 400 {
        if !reply.head {
            problem(reply);
        }
        headers_of_errors(reply);
    } else if !reply.body.is_empty() {
        let content_type = reply.header("content-type").unwrap_or_default();
        if content_type.starts_with("application/json") {
            values(&reply.json(), reply);
        } else {
            let known = content_type.starts_with("text/html") || reply.request.ends_with("/metrics");
            assert!(known, "neither JSON nor HTML: {reply}");
        }
    }
}

fn request_id(reply: &Reply) {
    let id = reply.header("x-request-id").unwrap_or_default();
    let fits =
        (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    assert!(fits, "X-Request-Id: {reply}");
}

fn length(reply: &Reply) {
    assert!(reply.header("transfer-encoding").is_none(), "chunked, which stalls on a keep-alive connection: {reply}");
    let without_body = reply.head || matches!(reply.status, 204 | 304);
    if without_body {
        assert!(reply.body.is_empty(), "a body where none is allowed: {reply}");
    } else {
        let length = reply.header("content-length").map(str::to_owned);
        assert_eq!(length, Some(reply.body.len().to_string()), "content-length: {reply}");
    }
}

fn problem(reply: &Reply) {
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{reply}");
    let problem = reply.json();
    for field in ["type", "title", "detail", "code", "request_id"] {
        let filled = problem[field].as_str().is_some_and(|text| !text.is_empty());
        assert!(filled, "`{field}` of the problem: {reply}");
    }
    assert_eq!(problem["status"], reply.status, "status of the problem: {reply}");
    let code = problem["code"].as_str().unwrap_or_default();
    assert!(CODES.contains(&code), "a code that is not in the contract: {reply}");
    if !reply.replayed() {
        assert_eq!(problem["request_id"].as_str(), reply.header("x-request-id"), "{reply}");
    }
    if code == "invalid" {
        let errors = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert!(!errors.is_empty(), "`invalid` without errors: {reply}");
        for error in errors {
            assert!(error["field"].is_string() && error["message"].is_string(), "{reply}");
        }
    }
    let text = String::from_utf8_lossy(&reply.body);
    for leak in LEAKS {
        assert!(!text.contains(leak), "`{leak}` leaks: {reply}");
    }
}

fn headers_of_errors(reply: &Reply) {
    let code = if reply.head { String::new() } else { reply.code() };
    if matches!(code.as_str(), "unauthenticated" | "token_expired") {
        let challenge = reply.header("www-authenticate").unwrap_or_default();
        assert!(challenge.starts_with("Bearer"), "WWW-Authenticate: {reply}");
    }
    if matches!(reply.status, 429 | 503) || code == "idempotency_in_progress" {
        let seconds = reply.header("retry-after").and_then(|value| value.parse::<u64>().ok());
        assert!(seconds.is_some_and(|seconds| seconds >= 1), "Retry-After: {reply}");
    }
    if reply.status == 405 {
        assert!(reply.header("allow").is_some_and(|allow| !allow.is_empty()), "Allow: {reply}");
    }
}

/// Money is an integer, times are RFC 3339 with milliseconds, ids are exact as a double.
fn values(value: &Value, reply: &Reply) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| values(item, reply)),
        Value::Object(fields) => {
            for (name, value) in fields {
                // The OpenAPI document has schemas and examples, not values.
                if name == "openapi" || name == "paths" || name == "components" {
                    continue;
                }
                if name.ends_with("_cents") {
                    assert!(value.is_i64(), "`{name}` is money: {reply}");
                } else if name.ends_with("_at") {
                    assert!(value.is_null() || is_time(value), "`{name}` is a time: {reply}");
                } else if matches!(name.as_str(), "user_id" | "product_id" | "category_id") {
                    let fits = value.as_u64().is_some_and(|id| id > 0 && id < 1 << 53);
                    assert!(fits || value.is_null(), "`{name}` is an id: {reply}");
                } else if matches!(name.as_str(), "order_no" | "payment_no") {
                    let fits = value.as_str().is_some_and(|no| !no.is_empty() && no.len() <= 32);
                    assert!(fits || value.is_null(), "`{name}` is short text: {reply}");
                }
                values(value, reply);
            }
        }
        _ => {}
    }
}

/// `2026-11-21T04:36:00.123Z`
pub fn is_time(value: &Value) -> bool {
    let Some(text) = value.as_str() else {
        return false;
    };
    text.len() == 24
        && text.bytes().zip(b"dddd-dd-ddTdd:dd:dd.dddZ").all(|(byte, form)| match form {
            b'd' => byte.is_ascii_digit(),
            other => byte == *other,
        })
}
