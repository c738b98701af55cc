//! `GET /api/product/{product_id}/related`

use axum::response::Response;
use http::HeaderMap;
use kit::{
    ProductId, Result,
    extract::{Path, Query},
    mysql,
    permissions::CATALOG_WRITE,
    single_flight,
    staff::Staff,
};
use products::{
    Product, Reader, bought_together,
    cached_reply::{CachedReply, InstanceCache},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::list::LimitQuery;

static CACHE: InstanceCache<(ProductId, u32)> = InstanceCache::new();

#[derive(Serialize, ToSchema)]
pub struct Related {
    items: Vec<Product>,
}

/// List what is bought together with a product
///
/// The most frequent first, then the best sellers of its category. Counted from paid orders, shortly after the payment.
#[utoipa::path(
    get, path = "/api/product/{product_id}/related", tag = "catalogue", security((), ("bearer" = [])),
    params(("product_id" = ProductId, Path), LimitQuery),
    responses(
        (status = 200, body = Related),
        (status = 404, description = "`not_found`"),
        (status = 422, description = "`invalid`"),
    )
)]
pub async fn related(
    staff: Option<Staff<CATALOG_WRITE>>,
    Path(product_id): Path<ProductId>,
    Query(query): Query<LimitQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let limit = query.limit()?;
    let related = match Reader::from(staff) {
        Reader::Admin => find(product_id, limit, Reader::Admin).await?,
        Reader::Anyone => {
            let key = format!("page:related:{product_id}:{limit}");
            let read = async || find(product_id, limit, Reader::Anyone).await;
            CACHE.get((product_id, limit), async || CachedReply::shared(&key, read).await).await?
        }
    };
    Ok(related.respond(&headers))
}

async fn find(product_id: ProductId, limit: u32, reader: Reader) -> Result<CachedReply> {
    let product = products::find(&mut mysql::connection().await?, product_id, reader).await?;
    let rank = async || bought_together::related(&mut mysql::connection().await?, &product).await;
    let ranking = match reader {
        Reader::Admin => rank().await?,
        Reader::Anyone => single_flight::get(&format!("ranking:related:{product_id}"), rank).await?,
    };
    let items = products::first_of(&mut mysql::connection().await?, &ranking, limit, reader).await?;
    CachedReply::new(&Related { items })
}
