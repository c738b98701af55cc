//! Refunds: requested by a user, decided by an admin if the order was shipped, carried out by the worker `fulfil`.
// Arithmetic on money and stock must not overflow.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use axum::{Json as Reply, Router, response::Response, routing::post};
use http::StatusCode;
use kit::{
    OrderNo, Result, User, config,
    extract::{Json, Path},
    idempotency::{self, Idempotent},
    mysql,
    permissions::ORDERS_REFUND,
    staff::Staff,
    validate::Validator,
};
use ordering::{Actor, Order, refund};
use serde::Deserialize;
use utoipa::{OpenApi, ToSchema};

kit::function!(router);

pub fn router() -> Router {
    Router::new()
        .route("/api/order/{order_no}/refund", post(request))
        .route("/api/order/{order_no}/refund/approve", post(approve))
        .route("/api/order/{order_no}/refund/reject", post(reject))
}

#[derive(OpenApi)]
#[openapi(paths(request, approve, reject))]
pub struct Api;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "reason": "It does not fit" }))]
struct Reason {
    #[schema(min_length = 1, max_length = 200, example = "It does not fit")]
    reason: String,
}

impl Reason {
    fn check(&self) -> Result<()> {
        Validator::new().text("reason", &self.reason, 1, 200).finish()
    }
}

/// Request a refund
///
/// Before the order is shipped it is refunded automatically; after that an admin decides.
#[utoipa::path(
    post, path = "/api/order/{order_no}/refund", tag = "orders", security(("bearer" = [])),
    params(("order_no" = OrderNo, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Reason,
    responses(
        (status = 202, body = Order),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`order_state`, `idempotency_in_progress`"),
    )
)]
async fn request(user: User, Path(order_no): Path<OrderNo>, request: Idempotent<Reason>) -> Result<Response> {
    request.body.check()?;
    request
        .once(&user, async |body, tx| {
            refund::request(tx, user.id, &order_no, &body.reason).await?;
            idempotency::Reply::new(StatusCode::ACCEPTED, &ordering::find(tx, user.id, &order_no).await?)
        })
        .await
}

/// Approve a refund
///
/// The order is `refunded` shortly afterwards.
#[utoipa::path(
    post, path = "/api/order/{order_no}/refund/approve", tag = "orders", security(("bearer" = [])),
    params(("order_no" = OrderNo, Path)),
    responses(
        (status = 200, body = Order),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`order_state`"),
    )
)]
async fn approve(staff: Staff<ORDERS_REFUND>, Path(order_no): Path<OrderNo>) -> Result<Reply<Order>> {
    let order = mysql::transaction(async |tx| {
        refund::approve(tx, &order_no).await?;
        let order = ordering::find_any(tx, &order_no).await?;
        staff.record(tx, "refund.approve", &order_no, (), &order.refund).await?;
        Ok(order)
    });
    order.await.map(Reply)
}

/// Reject a refund
///
/// The order is `shipped` again, and completes automatically as it would have.
#[utoipa::path(
    post, path = "/api/order/{order_no}/refund/reject", tag = "orders", security(("bearer" = [])),
    params(("order_no" = OrderNo, Path)),
    request_body = Reason,
    responses(
        (status = 200, body = Order),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`order_state`"),
    )
)]
async fn reject(
    staff: Staff<ORDERS_REFUND>,
    Path(order_no): Path<OrderNo>,
    Json(rejection): Json<Reason>,
) -> Result<Reply<Order>> {
    rejection.check()?;
    let auto_confirm_seconds = config::auto_confirm_seconds().await?;
    let order = mysql::transaction(async |tx| {
        refund::reject(tx, &order_no, &rejection.reason, auto_confirm_seconds, Actor::Admin(staff.user.id)).await?;
        let order = ordering::find_any(tx, &order_no).await?;
        staff.record(tx, "refund.reject", &order_no, (), &order.refund).await?;
        Ok(order)
    });
    order.await.map(Reply)
}
