//! `GET /api/product/{product_id}`

use axum::response::Response;
use http::HeaderMap;
use kit::{
    Problem, Result, User, config,
    extract::Path,
    mysql::{self, Connection},
    params,
};

use crate::{
    fresh::Fresh,
    product::{COLUMNS, Product, ProductRow, Reader},
    window,
};

/// Look at a product
///
/// May be one second old. An admin sees what is off the shelf too, and always the present state.
#[utoipa::path(
    get, path = "/api/product/{product_id}", tag = "catalogue", security((), ("bearer" = [])),
    params(("product_id" = i64, Path), ("If-None-Match" = Option<String>, Header)),
    responses(
        (status = 200, body = Product, headers(("ETag" = String))),
        (status = 304, description = "The client has it already"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn show(user: Option<User>, Path(product_id): Path<i64>, headers: HeaderMap) -> Result<Response> {
    let product = match Reader::from(user) {
        Reader::Admin => Fresh::new(&read(product_id, Reader::Admin).await?)?,
        Reader::Anyone => {
            window::find(product_id, async || Fresh::new(&read(product_id, Reader::Anyone).await?)).await?
        }
    };
    Ok(product.respond(&headers))
}

/// A product as the reader may see it; 404 otherwise.
pub async fn read(product_id: i64, reader: Reader) -> Result<Product> {
    read_by(&mut mysql::connection().await?, product_id, reader).await
}

/// The same, by this connection.
pub async fn read_by(db: &mut Connection, product_id: i64, reader: Reader) -> Result<Product> {
    let sql = format!("SELECT {COLUMNS} FROM products WHERE id = ?");
    let row = db.query_one::<ProductRow>(&sql, params![product_id]).await?;
    let row = row.filter(|row| row.on_shelf || reader == Reader::Admin).ok_or_else(|| Problem::not_found("product"))?;
    Ok(row.into_product(reader, &config::currency().await?))
}
