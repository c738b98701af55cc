//! Checkout: from the cart to an order.
// Arithmetic on money and stock must not overflow.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use axum::{Json as Reply, Router, response::Response, routing::post};
use http::StatusCode;
use kit::{
    AddressId, Result, User,
    auth::UncountedUser,
    config,
    extract::OptionalJson,
    idempotency::{self, Idempotent, is_replay},
    mysql,
    validate::Validator,
};
use ordering::{OffShelf, Order, PlaceOrder, Quote, cart::Cart, coupon, place};
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
#[schema(example = json!({ "coupon_code": "WELCOME10" }))]
struct QuoteRequest {
    #[schema(min_length = 1, max_length = 32, example = "WELCOME10")]
    coupon_code: Option<String>,
}

/// Quote the selected items of the cart
///
/// The coupon, if there is one, is applied but not redeemed.
#[utoipa::path(
    post, path = "/api/checkout/quote", tag = "orders", security(("bearer" = [])),
    request_body = Option<QuoteRequest>,
    responses((status = 200, body = Quote), (status = 409, description = "`coupon_invalid`"))
)]
async fn quote(
    UncountedUser(user): UncountedUser,
    OptionalJson(request): OptionalJson<QuoteRequest>,
) -> Result<Reply<Quote>> {
    let coupon = match request.coupon_code {
        Some(code) => {
            Validator::new().text("coupon_code", &code, 1, 32).finish()?;
            Some(coupon::redeemable(&mut mysql::connection().await?, user.id, &code).await?)
        }
        None => None,
    };
    let cart = Cart::load(user.id).await?.view(user.id, coupon.as_ref(), &config::currency().await?).await?;
    Ok(Reply(cart.totals))
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({ "coupon_code": "WELCOME10", "note": "Please ring twice" }))]
struct Checkout {
    /// One of the user's addresses.
    address_id: Option<AddressId>,
    #[schema(min_length = 1, max_length = 32, example = "WELCOME10")]
    coupon_code: Option<String>,
    #[schema(max_length = 500)]
    note: Option<String>,
}

/// Order the selected items of the cart
///
/// The ordered items leave the cart. `out_of_stock` names each product of which there is too little. A cart has one
/// checkout at a time: `idempotency_in_progress` means that another one is in progress.
#[utoipa::path(
    post, path = "/api/checkout", tag = "orders", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = Option<Checkout>,
    responses(
        (status = 201, body = Order),
        (status = 409, description = "`out_of_stock`, `coupon_invalid`, `pending_limit`, `idempotency_in_progress`"),
    )
)]
async fn check_out(user: User, request: Idempotent<Checkout>) -> Result<Response> {
    let currency = config::currency().await?;
    let ttl_seconds = config::number("order_ttl_seconds", 1, 31_536_000).await?;
    let max_pending = config::number("max_pending_orders", 1, 1_000_000).await?;
    let lock = Cart::begin_checkout(user.id).await?;
    let result = request
        .once(&user, async |checkout, tx| {
            let lines = Cart::load(user.id).await?.selected();
            let request = PlaceOrder {
                user_id: user.id,
                lines: &lines,
                off_shelf: OffShelf::Skip,
                address_id: checkout.address_id,
                coupon_code: checkout.coupon_code.as_deref(),
                note: checkout.note.as_deref(),
                currency: &currency,
                ttl_seconds,
                max_pending,
            };
            let order = place(tx, &request).await?;
            lock.complete(tx, order.lines());
            idempotency::Reply::new(StatusCode::CREATED, &order)
        })
        .await;
    let has_ordered =
        result.as_ref().is_ok_and(|response| response.status() == StatusCode::CREATED && !is_replay(response));
    if !has_ordered {
        lock.abandon().await;
    }
    result
}
