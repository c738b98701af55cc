//! Health, readiness, metrics, the API description, and the 404 for every path that belongs to no other function.

use axum::{
    Json as Reply, Router,
    response::{Html, IntoResponse},
    routing::get,
};
use http::header;
use kit::{Code, FieldError, Problem, Result, jobs, mysql};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

mod metrics;

kit::function!(router);

pub fn router() -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics::show))
        .route("/api/openapi.json", get(openapi))
        .route("/api/docs", get(docs))
}

#[derive(OpenApi)]
#[openapi(paths(health, ready, metrics::show, openapi, docs))]
pub struct Api;

#[derive(Serialize, ToSchema)]
struct Health {
    #[schema(example = "ok")]
    status: &'static str,
}

/// Check that functions run
///
/// It touches no database.
#[utoipa::path(get, path = "/health", tag = "operation", responses((status = 200, body = Health)))]
async fn health() -> Reply<Health> {
    Reply(Health { status: "ok" })
}

#[derive(Serialize, ToSchema)]
struct Ready {
    #[schema(example = "ok")]
    mysql: &'static str,
    #[schema(example = "ok")]
    redis: &'static str,
}

/// Check that MySQL and Redis are available
///
/// For load balancers. `errors` names what does not answer.
#[utoipa::path(
    get, path = "/ready", tag = "operation",
    responses((status = 200, body = Ready), (status = 503, description = "`unavailable`; `errors` names what does not answer"))
)]
async fn ready() -> Result<Reply<Ready>> {
    let mysql =
        async { mysql::connection().await?.query_one::<(i64,)>("SELECT 1", vec![]).await.map_err(Problem::from) };
    let mut errors = Vec::new();
    let mut causes = Vec::new();
    let mut record = |part: &str, result: Result<()>| {
        if let Err(problem) = result {
            errors.push(FieldError { field: part.to_owned(), message: "does not answer".to_owned() });
            causes.extend(problem.cause().map(str::to_owned));
        }
    };
    record("mysql", mysql.await.map(drop));
    // Regular requests, such as a load balancer's, also keep the heartbeat going.
    record("redis", jobs::heartbeat().await);
    if errors.is_empty() {
        return Ok(Reply(Ready { mysql: "ok", redis: "ok" }));
    }
    let problem = Problem::new(Code::Unavailable, "A database does not answer");
    Err(problem.with_errors(errors).with_retry_after(1).because(causes.join("; ")))
}

/// Get the API description
///
/// This document.
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "operation",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json"))
)]
async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], include_str!(concat!(env!("OUT_DIR"), "/openapi.json")))
}

/// Read the API description as a page
///
/// The same as `/api/openapi.json`, for people.
#[utoipa::path(
    get, path = "/api/docs", tag = "operation",
    responses((status = 200, description = "A page", content_type = "text/html"))
)]
async fn docs() -> impl IntoResponse {
    const POLICY: &str = include_str!(concat!(env!("OUT_DIR"), "/docs-policy.txt"));
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(include_str!("docs.html")))
}
