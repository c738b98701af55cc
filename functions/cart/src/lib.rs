//! The cart.
// Money and stock are counted here.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use axum::{
    Json as Reply, Router,
    routing::{delete, get},
};
use kit::{
    Result, User,
    check::Checks,
    config,
    extract::{Json, Query},
};
use ordering::{CartView, MAX_QUANTITY, cart::Cart};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi, ToSchema};

kit::function!(router);

pub fn router() -> Router {
    Router::new()
        .route("/api/cart", get(show).post(add).put(set).delete(remove))
        .route("/api/cart/clear", delete(clear))
}

#[derive(OpenApi)]
#[openapi(paths(show, add, set, remove, clear))]
pub struct Api;

async fn view(user: User, cart: Cart) -> Result<Reply<CartView>> {
    cart.view(user.id, None, &config::currency().await?).await.map(Reply)
}

fn check_quantity(quantity: i64) -> Result<()> {
    Checks::new().number("quantity", quantity, 1, MAX_QUANTITY).done()
}

/// Look into the cart
///
/// Totals count what is selected, at today's price, promotions applied.
#[utoipa::path(
    get, path = "/api/cart", tag = "cart", security(("bearer" = [])), responses((status = 200, body = CartView))
)]
async fn show(user: User) -> Result<Reply<CartView>> {
    view(user, Cart::load(user.id).await?).await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Addition {
    product_id: i64,
    #[schema(minimum = 1, maximum = 999)]
    quantity: i64,
}

/// Add to the cart
///
/// What is added is selected.
#[utoipa::path(
    post, path = "/api/cart", tag = "cart", security(("bearer" = [])),
    request_body = Addition, responses((status = 200, body = CartView))
)]
async fn add(user: User, Json(addition): Json<Addition>) -> Result<Reply<CartView>> {
    check_quantity(addition.quantity)?;
    view(user, Cart::add(user.id, addition.product_id, addition.quantity).await?).await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Setting {
    product_id: i64,
    #[schema(minimum = 1, maximum = 999)]
    quantity: Option<i64>,
    selected: Option<bool>,
}

/// Set quantity or selection of what is in the cart
#[utoipa::path(
    put, path = "/api/cart", tag = "cart", security(("bearer" = [])),
    request_body = Setting,
    responses((status = 200, body = CartView), (status = 404, description = "`not_found`"))
)]
async fn set(user: User, Json(setting): Json<Setting>) -> Result<Reply<CartView>> {
    if let Some(quantity) = setting.quantity {
        check_quantity(quantity)?;
    }
    view(user, Cart::set(user.id, setting.product_id, setting.quantity, setting.selected).await?).await
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Removal {
    product_id: i64,
}

/// Take a product out of the cart
#[utoipa::path(
    delete, path = "/api/cart", tag = "cart", security(("bearer" = [])), params(Removal),
    responses((status = 200, body = CartView), (status = 422, description = "`invalid`"))
)]
async fn remove(user: User, Query(removal): Query<Removal>) -> Result<Reply<CartView>> {
    view(user, Cart::remove(user.id, removal.product_id).await?).await
}

/// Empty the cart
#[utoipa::path(
    delete, path = "/api/cart/clear", tag = "cart", security(("bearer" = [])),
    responses((status = 200, body = CartView))
)]
async fn clear(user: User) -> Result<Reply<CartView>> {
    view(user, Cart::clear(user.id).await?).await
}
