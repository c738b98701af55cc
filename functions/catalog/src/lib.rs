//! Products and categories, for shoppers and admins.
// Arithmetic on money and stock must not overflow.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod category;
mod detail;
mod list;
mod manage;
mod related;

use axum::{
    Router,
    routing::{get, post, put},
};
use utoipa::OpenApi;

kit::function!(router);

pub fn router() -> Router {
    Router::new()
        .route("/api/product", get(list::list).post(manage::create))
        .route("/api/product/hot", get(list::hot))
        .route("/api/product/batch", post(manage::batch))
        .route("/api/product/{product_id}", get(detail::show).put(manage::update).delete(manage::remove))
        .route("/api/product/{product_id}/related", get(related::related))
        .route("/api/product/{product_id}/stock", post(manage::stock))
        .route("/api/category", get(category::tree).post(category::create))
        .route("/api/category/{category_id}", put(category::update).delete(category::remove))
}

#[derive(OpenApi)]
#[openapi(paths(
    list::list,
    list::hot,
    detail::show,
    related::related,
    manage::create,
    manage::batch,
    manage::update,
    manage::remove,
    manage::stock,
    category::tree,
    category::create,
    category::update,
    category::remove,
))]
pub struct Api;
