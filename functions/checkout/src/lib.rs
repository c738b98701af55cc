//! From the cart to an order.
// Money and stock are counted here.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use std::sync::Mutex;

use axum::{Json as Reply, Router, response::Response, routing::post};
use http::StatusCode;
use kit::{
    Result, User,
    check::Checks,
    config,
    extract::OptionalJson,
    idempotency::{self, Idempotent},
    mysql,
};
use ordering::{OffShelf, Order, Purchase, Quote, cart::Cart, coupon, facts, place};
use serde::Deserialize;
use utoipa::{OpenApi, ToSchema};

kit::function!(router);

pub fn router() -> Router {
    Router::new().route("/api/checkout", post(check_out)).route("/api/checkout/quote", post(quote))
}

#[derive(OpenApi)]
#[openapi(paths(quote, check_out))]
pub struct Api;

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct QuoteRequest {
    #[schema(min_length = 1, max_length = 32)]
    coupon_code: Option<String>,
}

/// What the selected items of the cart come to
///
/// With the coupon, which is not used by that.
#[utoipa::path(
    post, path = "/api/checkout/quote", tag = "orders", security(("bearer" = [])),
    request_body = Option<QuoteRequest>,
    responses((status = 200, body = Quote), (status = 409, description = "`coupon_invalid`"))
)]
async fn quote(user: User, OptionalJson(request): OptionalJson<QuoteRequest>) -> Result<Reply<Quote>> {
    let coupon = match request.coupon_code {
        Some(code) => {
            Checks::new().text("coupon_code", &code, 1, 32).done()?;
            Some(coupon::usable(&mut mysql::connection().await?, user.id, &code).await?)
        }
        None => None,
    };
    let cart = Cart::load(user.id).await?.view(user.id, coupon.as_ref(), &config::currency().await?).await?;
    Ok(Reply(cart.totals))
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct Checkout {
    /// One of the user's own.
    address_id: Option<i64>,
    #[schema(min_length = 1, max_length = 32)]
    coupon_code: Option<String>,
    #[schema(max_length = 500)]
    note: Option<String>,
}

/// Order what is selected in the cart
///
/// The items bought leave the cart. `out_of_stock` names each product that there is too little of. A cart has one checkout
/// at a time: `idempotency_in_progress` says that another is under way.
#[utoipa::path(
    post, path = "/api/checkout", tag = "orders", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<Checkout>,
    responses(
        (status = 201, body = Order),
        (status = 409, description = "`out_of_stock`, `coupon_invalid`, `idempotency_in_progress`"),
    )
)]
async fn check_out(user: User, request: Idempotent<Checkout>) -> Result<Response> {
    let currency = config::currency().await?;
    let ttl_seconds = config::number("order_ttl_seconds", 1, 31_536_000).await?;
    let bought = Mutex::new(Vec::new());
    Cart::begin_checkout(user.id).await?;
    let result = request
        .once(&user, async |checkout, tx| {
            let lines = Cart::load(user.id).await?.selected();
            let purchase = Purchase {
                user_id: user.id,
                lines: &lines,
                off_shelf: OffShelf::Skip,
                address_id: checkout.address_id,
                coupon_code: checkout.coupon_code.as_deref(),
                note: checkout.note.as_deref(),
                currency: &currency,
                ttl_seconds,
            };
            let order = place(tx, &purchase).await?;
            if let Ok(mut bought) = bought.lock() {
                *bought = order.lines().collect();
            }
            idempotency::Reply::new(StatusCode::CREATED, &order)
        })
        .await;
    // A reply that is repeated bought nothing now.
    let is_order = result.as_ref().is_ok_and(|response| response.status() == StatusCode::CREATED);
    let bought = bought.into_inner().ok().filter(|_| is_order).unwrap_or_default();
    // The order stands whether or not the cart can be told; the log has the reason.
    let _ = Cart::end_checkout(user.id, &bought).await;
    if !bought.is_empty() {
        facts::forget(bought.iter().map(|line| line.product_id)).await;
    }
    result
}
