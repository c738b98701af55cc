//! Payment of an order.
// Arithmetic on money and stock must not overflow.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use axum::{Router, response::Response, routing::post};
use http::StatusCode;
use kit::{
    OrderNo, Problem, Result, User,
    extract::Path,
    idempotency::{Idempotent, Reply},
};
use ordering::{Payment, Provider};
use serde::Deserialize;
use utoipa::{OpenApi, ToSchema};

kit::function!(router);

pub fn router() -> Router {
    Router::new().route("/api/order/{order_no}/pay", post(pay))
}

#[derive(OpenApi)]
#[openapi(paths(pay))]
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
    let provider = request.body.provider.parse::<Provider>();
    let provider = provider.map_err(|_| Problem::invalid("provider", "must be mock or mock-fail"))?;
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
