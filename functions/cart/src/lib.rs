//! The cart.
// Arithmetic on money and stock must not overflow.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use axum::{
    Json as Reply, Router,
    routing::{delete, get},
};
use kit::{
    ProductId, Result, User,
    auth::TokenUser,
    config,
    extract::{Json, Query},
    validate::Validator,
};
use ordering::{
    MAX_QUANTITY,
    cart::{Cart, CartView},
};
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
    Validator::new().number("quantity", quantity, 1, MAX_QUANTITY).finish()
}

/// Get the cart
///
/// Totals count the selected items at today's prices, with promotions applied.
#[utoipa::path(
    get, path = "/api/cart", tag = "cart", security(("bearer" = [])), responses((status = 200, body = CartView))
)]
async fn show(user: User) -> Result<Reply<CartView>> {
    view(user, Cart::load(user.id).await?).await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "product_id": 1, "quantity": 2 }))]
struct NewItem {
    product_id: ProductId,
    #[schema(minimum = 1, maximum = 999, example = 2)]
    quantity: i64,
}

/// Add a product to the cart
///
/// It is selected.
#[utoipa::path(
    post, path = "/api/cart", tag = "cart", security(("bearer" = [])),
    request_body = NewItem, responses((status = 200, body = CartView))
)]
async fn add(TokenUser(user): TokenUser, Json(item): Json<NewItem>) -> Result<Reply<CartView>> {
    check_quantity(item.quantity)?;
    view(user, Cart::add(&user, item.product_id, item.quantity).await?).await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "product_id": 1, "quantity": 3, "selected": true }))]
struct ItemChange {
    product_id: ProductId,
    #[schema(minimum = 1, maximum = 999)]
    quantity: Option<i64>,
    selected: Option<bool>,
}

/// Change the quantity or selection of a product in the cart
///
/// What is omitted stays as it is. A product that is not in the cart is `not_found`.
#[utoipa::path(
    put, path = "/api/cart", tag = "cart", security(("bearer" = [])),
    request_body = ItemChange,
    responses((status = 200, body = CartView), (status = 404, description = "`not_found`"))
)]
async fn set(TokenUser(user): TokenUser, Json(change): Json<ItemChange>) -> Result<Reply<CartView>> {
    if let Some(quantity) = change.quantity {
        check_quantity(quantity)?;
    }
    view(user, Cart::set(&user, change.product_id, change.quantity, change.selected).await?).await
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Removal {
    product_id: ProductId,
}

/// Remove a product from the cart
///
/// A product that is not in the cart is no error.
#[utoipa::path(
    delete, path = "/api/cart", tag = "cart", security(("bearer" = [])), params(Removal),
    responses((status = 200, body = CartView), (status = 422, description = "`invalid`"))
)]
async fn remove(TokenUser(user): TokenUser, Query(removal): Query<Removal>) -> Result<Reply<CartView>> {
    view(user, Cart::remove(&user, removal.product_id).await?).await
}

/// Empty the cart
///
/// The reply is the empty cart.
#[utoipa::path(
    delete, path = "/api/cart/clear", tag = "cart", security(("bearer" = [])),
    responses((status = 200, body = CartView))
)]
async fn clear(TokenUser(user): TokenUser) -> Result<Reply<CartView>> {
    view(user, Cart::clear(&user).await?).await
}
