//! Money back: a user asks, an admin decides about what was shipped, the worker `fulfil` pays.
// Money and stock are counted here.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use axum::{Json as Reply, Router, response::Response, routing::post};
use http::StatusCode;
use kit::{
    Result, User,
    check::Checks,
    config,
    extract::{Json, Path},
    idempotency::{self, Idempotent},
    mysql,
    staff::{ORDERS_REFUND, Staff},
};
use ordering::{Actor, Order, parse_order_no, refund};
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
struct Reason {
    #[schema(min_length = 1, max_length = 200)]
    reason: String,
}

impl Reason {
    fn check(&self) -> Result<()> {
        Checks::new().text("reason", &self.reason, 1, 200).done()
    }
}

/// Ask for the money back
///
/// Before the order is shipped the shop gives it back by itself; after that an admin decides.
#[utoipa::path(
    post, path = "/api/order/{order_no}/refund", tag = "orders", security(("bearer" = [])),
    params(("order_no" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Reason,
    responses(
        (status = 202, body = Order),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`order_state`, `idempotency_in_progress`"),
    )
)]
async fn request(user: User, Path(order_no): Path<String>, request: Idempotent<Reason>) -> Result<Response> {
    let order_no = parse_order_no(&order_no)?;
    request.body.check()?;
    request
        .once(&user, async |asked, tx| {
            refund::request(tx, user.id, order_no, &asked.reason).await?;
            idempotency::Reply::new(StatusCode::ACCEPTED, &ordering::find(tx, user.id, order_no).await?)
        })
        .await
}

/// Grant a refund
#[utoipa::path(
    post, path = "/api/order/{order_no}/refund/approve", tag = "orders", security(("bearer" = [])),
    params(("order_no" = String, Path)),
    responses(
        (status = 200, body = Order),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`order_state`"),
    )
)]
async fn approve(staff: Staff<ORDERS_REFUND>, Path(order_no): Path<String>) -> Result<Reply<Order>> {
    let order_no = parse_order_no(&order_no)?;
    let order = mysql::transaction(async |tx| {
        refund::approve(tx, order_no).await?;
        let order = ordering::find_any(tx, order_no).await?;
        staff.record(tx, "refund.approve", order_no, (), &order.refund).await?;
        Ok(order)
    });
    order.await.map(Reply)
}

/// Refuse a refund
///
/// The order is `shipped` again, and completes by itself as it would have.
#[utoipa::path(
    post, path = "/api/order/{order_no}/refund/reject", tag = "orders", security(("bearer" = [])),
    params(("order_no" = String, Path)),
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
    Path(order_no): Path<String>,
    Json(why): Json<Reason>,
) -> Result<Reply<Order>> {
    let order_no = parse_order_no(&order_no)?;
    why.check()?;
    let auto_confirm_seconds = config::auto_confirm_seconds().await?;
    let order = mysql::transaction(async |tx| {
        refund::reject(tx, order_no, &why.reason, auto_confirm_seconds, Actor::Admin(staff.user.id)).await?;
        let order = ordering::find_any(tx, order_no).await?;
        staff.record(tx, "refund.reject", order_no, (), &order.refund).await?;
        Ok(order)
    });
    order.await.map(Reply)
}
