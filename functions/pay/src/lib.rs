//! Payment of an order.
// Arithmetic on money and stock must not overflow.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use axum::{
    Json, Router,
    response::Response,
    routing::{get, post},
};
use http::StatusCode;
use kit::{
    OrderNo, Problem, Result, User, config,
    extract::Path,
    idempotency::{Idempotent, Reply},
    mysql,
};
use ordering::{Payment, Provider, payment};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

kit::function!(router);

pub fn router() -> Router {
    Router::new()
        .route("/api/order/{order_no}/pay", post(pay))
        .route("/api/order/{order_no}/payment", get(list))
        .route("/api/payment/provider", get(providers))
        .route("/api/payment/{payment_no}", get(show))
}

#[derive(OpenApi)]
#[openapi(paths(pay, list, providers, show))]
pub struct Api;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "provider": "mock" }))]
struct PaymentRequest {
    /// `mock` settles at once, `mock-fail` declines.
    #[schema(example = "mock")]
    provider: String,
}

/// Pay an order
///
/// After a declined payment the order stays `pending` and can be paid until it expires.
#[utoipa::path(
    post, path = "/api/order/{order_no}/pay", tag = "orders", security(("bearer" = [])),
    params(("order_no" = OrderNo, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = PaymentRequest,
    responses(
        (status = 200, body = Payment),
        (status = 402, description = "`payment_declined`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`order_state`, `idempotency_in_progress`"),
    )
)]
async fn pay(user: User, Path(order_no): Path<OrderNo>, request: Idempotent<PaymentRequest>) -> Result<Response> {
    let configured = Provider::configured().await?;
    let provider = configured.iter().copied().find(|provider| provider.name() == request.body.provider);
    let provider = provider.ok_or_else(|| {
        let names: Vec<_> = configured.iter().map(|provider| provider.name()).collect();
        Problem::invalid("provider", format!("must be one of {}", names.join(", ")))
    })?;
    request
        .once(&user, async |_, tx| {
            let payment = ordering::pay(tx, user.id, &order_no, provider).await?;
            match payment.declined() {
                Some(problem) => Ok(Reply::refusal(problem)),
                None => Reply::new(StatusCode::OK, &payment),
            }
        })
        .await
}

#[derive(Serialize, ToSchema)]
struct Payments {
    items: Vec<Payment>,
}

/// List the payments of an order
///
/// Newest first; declined ones, too.
#[utoipa::path(
    get, operation_id = "order_payments", path = "/api/order/{order_no}/payment", tag = "orders",
    security(("bearer" = [])),
    params(("order_no" = OrderNo, Path)),
    responses((status = 200, body = Payments), (status = 404, description = "`not_found`"))
)]
async fn list(user: User, Path(order_no): Path<OrderNo>) -> Result<Json<Payments>> {
    let items = payment::list(&mut mysql::connection().await?, user.id, &order_no).await?;
    Ok(Json(Payments { items }))
}

/// Get a payment of mine
///
/// Another user's payment is `not_found`.
#[utoipa::path(
    get, operation_id = "payment", path = "/api/payment/{payment_no}", tag = "orders", security(("bearer" = [])),
    params(("payment_no" = String, Path, max_length = 32, example = "01KAVT2QB0M3E5X7K9S1D4F6GH")),
    responses((status = 200, body = Payment), (status = 404, description = "`not_found`"))
)]
async fn show(user: User, Path(payment_no): Path<String>) -> Result<Json<Payment>> {
    payment::find(&mut mysql::connection().await?, user.id, &payment_no).await.map(Json)
}

#[derive(Serialize, ToSchema)]
struct Providers {
    items: Vec<ProviderDescription>,
}

#[derive(Serialize, ToSchema)]
struct ProviderDescription {
    provider: Provider,
    /// In which ways it can be paid, if there are several.
    flows: Vec<String>,
    /// ISO 4217.
    #[schema(example = json!(["CNY"]))]
    currencies: Vec<String>,
}

/// List the payment providers
///
/// Those that the shop is configured for.
#[utoipa::path(
    get, operation_id = "payment_providers", path = "/api/payment/provider", tag = "orders",
    responses((status = 200, body = Providers))
)]
async fn providers() -> Result<Json<Providers>> {
    let currency = config::currency().await?;
    let describe = |provider| ProviderDescription { provider, flows: Vec::new(), currencies: vec![currency.clone()] };
    Ok(Json(Providers { items: Provider::configured().await?.into_iter().map(describe).collect() }))
}
