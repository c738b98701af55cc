//! What admins do to products.

use axum::{Json as Reply, response::Response};
use http::StatusCode;
use kit::{
    Code, Problem, Result, Timestamp,
    check::Checks,
    extract::{Json, Path, nullable},
    idempotency::{self, Idempotent},
    mysql::{self, Transaction, marks, param},
    params, row,
    staff::{CATALOG_WRITE, Staff},
};
use ordering::{Cents, facts};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    detail::read_by,
    index,
    product::{Product, Reader},
};

const MAX_PRICE: i64 = 100_000_000_000;
const MAX_STOCK: i64 = 1_000_000_000;
const MAX_BATCH: usize = 1000;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProduct {
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// 1 to 100,000,000,000.
    price_cents: Cents,
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    stock: i64,
    category_id: Option<i64>,
    #[schema(max_length = 10_000)]
    description: Option<String>,
    /// http, https or a path.
    #[schema(max_length = 2048)]
    image_url: Option<String>,
    /// True unless said.
    on_shelf: Option<bool>,
}

/// What is to change; what is not named stays.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProductChange {
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    price_cents: Option<Cents>,
    /// Null takes the product out of its category.
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<i64>)]
    category_id: Option<Option<i64>>,
    #[schema(max_length = 10_000)]
    description: Option<String>,
    /// Null takes the picture away.
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, max_length = 2048)]
    image_url: Option<Option<String>>,
    on_shelf: Option<bool>,
}

fn check_name(checks: &mut Checks, name: &str) {
    checks.text("name", name, 1, 200);
}

fn check_price(checks: &mut Checks, price: Cents) {
    checks.number("price_cents", price.0, 1, MAX_PRICE);
}

fn check_description(checks: &mut Checks, description: &str) {
    checks.text("description", description, 0, 10_000);
}

fn check_image_url(checks: &mut Checks, url: &str) {
    let scheme = url.starts_with("https://") || url.starts_with("http://");
    // `//host` would be another site's.
    let path = url.starts_with('/') && !url.starts_with("//");
    checks.text("image_url", url, 1, 2048).that(scheme || path, "image_url", "must be http, https or a path");
}

/// 422 unless the category is there, and stays until the transaction ends.
async fn check_category(tx: &mut Transaction, category_id: Option<i64>) -> Result<()> {
    const CATEGORY: &str = "SELECT id FROM categories WHERE id = ? LOCK IN SHARE MODE";
    let Some(id) = category_id else { return Ok(()) };
    match tx.query_one::<(i64,)>(CATEGORY, params![id]).await? {
        Some(_) => Ok(()),
        None => Err(Problem::invalid("category_id", "is no category")),
    }
}

/// Add a product
#[utoipa::path(
    post, path = "/api/product", tag = "catalogue", security(("bearer" = [])),
    request_body = NewProduct,
    responses((status = 201, body = Product), (status = 403, description = "`forbidden`"))
)]
pub async fn create(staff: Staff<CATALOG_WRITE>, Json(new): Json<NewProduct>) -> Result<(StatusCode, Reply<Product>)> {
    const INSERT: &str = "
        INSERT INTO products (name, description, image_url, category_id, price_cents, available, on_shelf,
                              created_at, updated_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let mut checks = Checks::new();
    check_name(&mut checks, &new.name);
    check_price(&mut checks, new.price_cents);
    checks.number("stock", new.stock, 0, MAX_STOCK);
    check_description(&mut checks, new.description.as_deref().unwrap_or_default());
    if let Some(url) = &new.image_url {
        check_image_url(&mut checks, url);
    }
    checks.done()?;

    let product = mysql::transaction(async |tx| {
        check_category(tx, new.category_id).await?;
        let now = Timestamp::now();
        let values = params![
            &new.name,
            new.description.as_deref().unwrap_or_default(),
            new.image_url.as_deref(),
            new.category_id,
            new.price_cents,
            new.stock,
            new.on_shelf.unwrap_or(true),
            now,
            now,
        ];
        tx.execute(INSERT, values).await?;
        let product_id = tx.last_insert_id().await?;
        index::keep(tx, product_id, &new.name).await?;
        record_movement(tx, product_id, new.stock, "initial stock", staff.user.id).await?;
        let product = read_by(tx, product_id, Reader::Admin).await?;
        staff.record(tx, "product.create", product_id, (), &product).await?;
        Ok(product)
    });
    Ok((StatusCode::CREATED, Reply(product.await?)))
}

/// Change a product
#[utoipa::path(
    put, path = "/api/product/{product_id}", tag = "catalogue", security(("bearer" = [])),
    params(("product_id" = i64, Path)),
    request_body = ProductChange,
    responses(
        (status = 200, body = Product),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn update(
    staff: Staff<CATALOG_WRITE>,
    Path(product_id): Path<i64>,
    Json(change): Json<ProductChange>,
) -> Result<Reply<Product>> {
    let mut checks = Checks::new();
    // What to set, and to which values.
    let (mut columns, mut values) = (vec!["updated_at = ?"], params![Timestamp::now()]);
    if let Some(name) = &change.name {
        check_name(&mut checks, name);
        columns.push("name = ?");
        values.extend(params![name]);
    }
    if let Some(price) = change.price_cents {
        check_price(&mut checks, price);
        columns.push("price_cents = ?");
        values.extend(params![price]);
    }
    if let Some(category_id) = change.category_id {
        columns.push("category_id = ?");
        values.extend(params![category_id]);
    }
    if let Some(description) = &change.description {
        check_description(&mut checks, description);
        columns.push("description = ?");
        values.extend(params![description]);
    }
    if let Some(image_url) = &change.image_url {
        if let Some(url) = image_url {
            check_image_url(&mut checks, url);
        }
        columns.push("image_url = ?");
        values.extend(params![image_url.as_deref()]);
    }
    if let Some(on_shelf) = change.on_shelf {
        columns.push("on_shelf = ?");
        values.extend(params![on_shelf]);
    }
    checks.done()?;
    values.extend(params![product_id]);
    let sql = format!("UPDATE products SET {} WHERE id = ?", columns.join(", "));

    let product = mysql::transaction(async |tx| {
        lock(tx, product_id).await?;
        check_category(tx, change.category_id.flatten()).await?;
        let before = read_by(tx, product_id, Reader::Admin).await?;
        tx.execute(&sql, values.clone()).await?;
        if let Some(name) = &change.name {
            index::keep(tx, product_id, name).await?;
        }
        let after = read_by(tx, product_id, Reader::Admin).await?;
        staff.record(tx, "product.update", product_id, &before, &after).await?;
        Ok(after)
    })
    .await?;
    facts::forget([product_id]).await;
    Ok(Reply(product))
}

/// Take a product off the shelf
///
/// Orders keep their copy of it.
#[utoipa::path(
    delete, path = "/api/product/{product_id}", tag = "catalogue", security(("bearer" = [])),
    params(("product_id" = i64, Path)),
    responses(
        (status = 204),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn remove(staff: Staff<CATALOG_WRITE>, Path(product_id): Path<i64>) -> Result<StatusCode> {
    const REMOVE: &str = "UPDATE products SET on_shelf = 0, updated_at = ? WHERE id = ?";
    mysql::transaction(async |tx| {
        lock(tx, product_id).await?;
        let before = read_by(tx, product_id, Reader::Admin).await?;
        tx.execute(REMOVE, params![Timestamp::now(), product_id]).await?;
        staff.record(tx, "product.remove", product_id, &before, ()).await
    })
    .await?;
    facts::forget([product_id]).await;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    #[schema(min_items = 1, max_items = 1000)]
    product_ids: Vec<i64>,
    on_shelf: bool,
}

#[derive(Serialize, ToSchema)]
pub struct Updated {
    /// How many products are so now.
    updated: usize,
}

/// Put products on the shelf or take them off
#[utoipa::path(
    post, path = "/api/product/batch", tag = "catalogue", security(("bearer" = [])),
    request_body = Batch,
    responses((status = 200, body = Updated), (status = 403, description = "`forbidden`"))
)]
pub async fn batch(staff: Staff<CATALOG_WRITE>, Json(mut batch): Json<Batch>) -> Result<Reply<Updated>> {
    let ids = &mut batch.product_ids;
    ids.sort_unstable();
    ids.dedup();
    let in_bounds = (1..=MAX_BATCH).contains(&ids.len());
    Checks::new().that(in_bounds, "product_ids", format!("must be 1 to {MAX_BATCH}")).done()?;
    let ids = batch.product_ids.as_slice();
    let list = marks(ids.len());
    let found = format!("SELECT id FROM products WHERE id IN ({list}) ORDER BY id FOR UPDATE");
    let update = format!("UPDATE products SET on_shelf = ?, updated_at = ? WHERE id IN ({list})");

    mysql::transaction(async |tx| {
        let found = tx.query::<(i64,)>(&found, ids.iter().map(|id| param(*id)).collect()).await?;
        if let Some(missing) = ids.iter().find(|id| !found.contains(&(**id,))) {
            return Err(Problem::invalid("product_ids", format!("{missing} is no product")));
        }
        let mut values = params![batch.on_shelf, Timestamp::now()];
        values.extend(ids.iter().map(|id| param(*id)));
        tx.execute(&update, values).await?;
        staff.record(tx, "product.batch", "", (), &batch).await
    })
    .await?;
    facts::forget(ids.iter().copied()).await;
    Ok(Reply(Updated { updated: ids.len() }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StockChange {
    /// Goods in are positive, written off negative.
    #[schema(minimum = -1_000_000_000, maximum = 1_000_000_000)]
    delta: i64,
    #[schema(min_length = 1, max_length = 200)]
    reason: String,
}

#[derive(Serialize, ToSchema)]
pub struct Stock {
    available: i64,
    reserved: i64,
    sold: i64,
}

row! {
    struct StockRow { available: i64, reserved: i64, sold: i64 }
}

const LOCK: &str = "SELECT available, reserved, sold FROM products WHERE id = ? FOR UPDATE";

async fn lock(tx: &mut Transaction, product_id: i64) -> Result<StockRow> {
    let row = tx.query_one(LOCK, params![product_id]).await?;
    row.ok_or_else(|| Problem::not_found("product"))
}

async fn record_movement(tx: &mut Transaction, product_id: i64, delta: i64, reason: &str, user_id: i64) -> Result<()> {
    const MOVEMENT: &str = "
        INSERT INTO stock_movements (product_id, delta, reason, user_id, created_at) VALUES (?, ?, ?, ?, ?)";
    Ok(tx.execute(MOVEMENT, params![product_id, delta, reason, user_id, Timestamp::now()]).await?)
}

/// Book goods in or out
#[utoipa::path(
    post, path = "/api/product/{product_id}/stock", tag = "catalogue", security(("bearer" = [])),
    params(("product_id" = i64, Path), ("Idempotency-Key" = Option<String>, Header)),
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
    Path(product_id): Path<i64>,
    request: Idempotent<StockChange>,
) -> Result<Response> {
    const CHANGE: &str = "UPDATE products SET available = ?, updated_at = ? WHERE id = ?";
    let mut checks = Checks::new();
    checks.number("delta", request.body.delta, MAX_STOCK.saturating_neg(), MAX_STOCK);
    checks.text("reason", &request.body.reason, 1, 200).done()?;
    let response = request
        .once(&staff.user, async |change, tx| {
            let row = lock(tx, product_id).await?;
            let available = row.available.saturating_add(change.delta);
            if available < 0 {
                let detail = format!("There are {} available", row.available);
                return Err(Problem::new(Code::OutOfStock, detail));
            }
            if available > MAX_STOCK {
                return Err(Problem::invalid("delta", format!("must not bring the stock above {MAX_STOCK}")));
            }
            tx.execute(CHANGE, params![available, Timestamp::now(), product_id]).await?;
            record_movement(tx, product_id, change.delta, &change.reason, staff.user.id).await?;
            let (before, after) = (json!({ "available": row.available }), json!({ "available": available }));
            staff.record(tx, "product.stock", product_id, before, after).await?;
            let stock = Stock { available, reserved: row.reserved, sold: row.sold };
            idempotency::Reply::new(StatusCode::OK, &stock)
        })
        .await?;
    facts::forget([product_id]).await;
    Ok(response)
}
