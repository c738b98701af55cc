//! Promotions and coupons: set up by the staff, claimed by users.
// Arithmetic on money and stock must not overflow.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod coupon;
mod promotion;
mod wallet;

use axum::{
    Router,
    routing::{get, post},
};
use utoipa::OpenApi;

kit::function!(router);

pub fn router() -> Router {
    Router::new()
        .route("/api/admin/promotion", get(promotion::list).post(promotion::create))
        .route(
            "/api/admin/promotion/{promotion_id}",
            get(promotion::show).put(promotion::update).delete(promotion::remove),
        )
        .route("/api/admin/coupon", get(coupon::list).post(coupon::create))
        .route("/api/admin/coupon/{coupon_id}", get(coupon::show).put(coupon::update).delete(coupon::remove))
        .route("/api/user/coupon", get(wallet::list))
        .route("/api/user/coupon/{code}/claim", post(wallet::claim))
}

#[derive(OpenApi)]
#[openapi(paths(
    promotion::list,
    promotion::create,
    promotion::show,
    promotion::update,
    promotion::remove,
    coupon::list,
    coupon::create,
    coupon::show,
    coupon::update,
    coupon::remove,
    wallet::list,
    wallet::claim,
))]
pub struct Api;
