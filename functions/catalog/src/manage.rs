//! Product management, for the staff.

use axum::{Json as Reply, response::Response};
use http::StatusCode;
use kit::{
    ProductId, Result,
    extract::{Json, Path},
    idempotency::{self, Idempotent},
    mysql,
    permissions::CATALOG_WRITE,
    staff::Staff,
    validate::Validator,
};
use products::{MAX_STOCK, NewProduct, Product, ProductChange, Stock, stock};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

const MAX_BATCH: usize = 1000;

/// Create a product
///
/// It is on the shelf unless `on_shelf` is false.
#[utoipa::path(
    post, path = "/api/product", tag = "catalogue", security(("bearer" = [])),
    request_body = NewProduct,
    responses((status = 201, body = Product), (status = 403, description = "`forbidden`"))
)]
pub async fn create(staff: Staff<CATALOG_WRITE>, Json(new): Json<NewProduct>) -> Result<(StatusCode, Reply<Product>)> {
    new.check()?;
    let product = mysql::transaction(async |tx| {
        let product = products::insert(tx, &new, staff.user.id).await?;
        staff.record(tx, "product.create", product.product_id, (), &product).await?;
        Ok(product)
    });
    Ok((StatusCode::CREATED, Reply(product.await?)))
}

/// Change a product
///
/// Not its stock: `POST /api/product/{product_id}/stock` adjusts that.
#[utoipa::path(
    put, path = "/api/product/{product_id}", tag = "catalogue", security(("bearer" = [])),
    params(("product_id" = ProductId, Path)),
    request_body = ProductChange,
    responses(
        (status = 200, body = Product),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn update(
    staff: Staff<CATALOG_WRITE>,
    Path(product_id): Path<ProductId>,
    Json(change): Json<ProductChange>,
) -> Result<Reply<Product>> {
    change.check()?;
    let product = mysql::transaction(async |tx| {
        let (before, after) = products::update(tx, product_id, &change).await?;
        staff.record(tx, "product.update", product_id, &before, &after).await?;
        Ok(after)
    });
    product.await.map(Reply)
}

/// Take a product off the shelf
///
/// Orders keep their copy of it.
#[utoipa::path(
    delete, path = "/api/product/{product_id}", tag = "catalogue", security(("bearer" = [])),
    params(("product_id" = ProductId, Path)),
    responses(
        (status = 204),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn remove(staff: Staff<CATALOG_WRITE>, Path(product_id): Path<ProductId>) -> Result<StatusCode> {
    mysql::transaction(async |tx| {
        let before = products::take_off_shelf(tx, product_id).await?;
        staff.record(tx, "product.remove", product_id, &before, ()).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "product_ids": [1, 2], "on_shelf": true }))]
pub struct Batch {
    #[schema(min_items = 1, max_items = 1000)]
    product_ids: Vec<ProductId>,
    on_shelf: bool,
}

#[derive(Serialize, ToSchema)]
pub struct Updated {
    /// The number of products.
    #[schema(minimum = 1)]
    updated: usize,
}

/// Put products on the shelf or take them off
///
/// If one of them does not exist, none is changed.
#[utoipa::path(
    post, path = "/api/product/batch", tag = "catalogue", security(("bearer" = [])),
    request_body = Batch,
    responses((status = 200, body = Updated), (status = 403, description = "`forbidden`"))
)]
pub async fn batch(staff: Staff<CATALOG_WRITE>, Json(mut batch): Json<Batch>) -> Result<Reply<Updated>> {
    batch.product_ids.sort_unstable();
    batch.product_ids.dedup();
    let updated = batch.product_ids.len();
    let in_bounds = (1..=MAX_BATCH).contains(&updated);
    Validator::new().require(in_bounds, "product_ids", format!("must be 1 to {MAX_BATCH}")).finish()?;
    mysql::transaction(async |tx| {
        products::set_on_shelf(tx, &batch.product_ids, batch.on_shelf).await?;
        staff.record(tx, "product.batch", "", (), &batch).await
    })
    .await?;
    Ok(Reply(Updated { updated }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "delta": 50, "reason": "delivery 4711" }))]
pub struct StockChange {
    /// Positive for goods received, negative for goods written off.
    #[schema(minimum = -1_000_000_000, maximum = 1_000_000_000, example = 50)]
    delta: i64,
    #[schema(min_length = 1, max_length = 200, example = "delivery 4711")]
    reason: String,
}

/// Adjust the stock of a product
///
/// It never falls below zero: that is `out_of_stock`.
#[utoipa::path(
    post, path = "/api/product/{product_id}/stock", tag = "catalogue", security(("bearer" = [])),
    params(("product_id" = ProductId, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = StockChange,
    responses(
        (status = 200, body = Stock),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`out_of_stock`, `idempotency_in_progress`"),
    )
)]
pub async fn stock(
    staff: Staff<CATALOG_WRITE>,
    Path(product_id): Path<ProductId>,
    request: Idempotent<StockChange>,
) -> Result<Response> {
    let mut validator = Validator::new();
    validator.number("delta", request.body.delta, MAX_STOCK.saturating_neg(), MAX_STOCK);
    validator.text("reason", &request.body.reason, 1, 200).finish()?;
    request
        .once(&staff.user, async |change, tx| {
            let (before, after) = stock::adjust(tx, product_id, change.delta, &change.reason, staff.user.id).await?;
            let available = |stock: &Stock| json!({ "available": stock.available });
            staff.record(tx, "product.stock", product_id, available(&before), available(&after)).await?;
            idempotency::Reply::new(StatusCode::OK, &after)
        })
        .await
}
