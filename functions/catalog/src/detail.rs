//! `GET /api/product/{product_id}`

use axum::response::Response;
use http::HeaderMap;
use kit::{ProductId, Result, extract::Path, mysql, permissions::CATALOG_WRITE, staff::Staff};
use products::{Product, Reader, cached_reply::CachedReply, product_page_cache};

/// Get a product
///
/// The reply may be up to one second old. An admin always gets the current state, and also what is off the shelf.
#[utoipa::path(
    get, path = "/api/product/{product_id}", tag = "catalogue", security((), ("bearer" = [])),
    params(("product_id" = ProductId, Path), ("If-None-Match" = Option<String>, Header)),
    responses(
        (status = 200, body = Product, headers(("ETag" = String, description = "For `If-None-Match`"))),
        (status = 304, description = "Not modified since the reply with this `ETag`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn show(
    staff: Option<Staff<CATALOG_WRITE>>,
    Path(product_id): Path<ProductId>,
    headers: HeaderMap,
) -> Result<Response> {
    let product = match Reader::from(staff) {
        Reader::Admin => read(product_id, Reader::Admin).await?,
        Reader::Anyone => product_page_cache::find(product_id, async || read(product_id, Reader::Anyone).await).await?,
    };
    Ok(product.respond(&headers))
}

async fn read(product_id: ProductId, reader: Reader) -> Result<CachedReply> {
    CachedReply::new(&products::find(&mut mysql::connection().await?, product_id, reader).await?)
}
