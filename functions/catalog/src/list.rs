//! `GET /api/product`, `GET /api/product/hot`

use axum::response::Response;
use http::{HeaderMap, Uri};
use kit::{
    Result,
    extract::Query,
    mysql,
    pagination::{Page, PageQuery},
    permissions::CATALOG_WRITE,
    single_flight,
    staff::Staff,
};
use ordering::hot_products;
use products::{
    Product, Reader,
    cached_reply::{CachedReply, InstanceCache},
    list::{self, Filter},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

static CACHE: InstanceCache<String> = InstanceCache::new();

/// List products
///
/// Products on the shelf. A reply may be up to one second old, except for admins.
#[utoipa::path(
    get, path = "/api/product", tag = "catalogue", security((), ("bearer" = [])), params(Filter),
    responses((status = 200, body = Page<Product>), (status = 422, description = "`invalid`"))
)]
pub async fn list(
    staff: Option<Staff<CATALOG_WRITE>>,
    uri: Uri,
    Query(filter): Query<Filter>,
    headers: HeaderMap,
) -> Result<Response> {
    let page = match Reader::from(staff) {
        Reader::Admin => CachedReply::new(&list::find(&filter, Reader::Admin).await?)?,
        Reader::Anyone => {
            let key = uri.query().unwrap_or_default().to_owned();
            CACHE.get(key, async || CachedReply::new(&list::find(&filter, Reader::Anyone).await?)).await?
        }
    };
    Ok(page.respond(&headers))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LimitQuery {
    /// The maximum number of items.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
}

impl LimitQuery {
    pub fn limit(&self) -> Result<u32> {
        PageQuery { limit: self.limit, cursor: None }.limit()
    }
}

#[derive(Serialize, ToSchema)]
pub struct Hot {
    items: Vec<Product>,
}

/// List the best sellers of the last seven days
///
/// The best-selling first.
#[utoipa::path(
    get, path = "/api/product/hot", tag = "catalogue", security((), ("bearer" = [])), params(LimitQuery),
    responses((status = 200, body = Hot), (status = 422, description = "`invalid`"))
)]
pub async fn hot(
    staff: Option<Staff<CATALOG_WRITE>>,
    Query(query): Query<LimitQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let limit = query.limit()?;
    let hot = match Reader::from(staff) {
        Reader::Admin => find_hot(limit, Reader::Admin).await?,
        Reader::Anyone => {
            let key = format!("page:hot {limit}");
            let read = async || find_hot(limit, Reader::Anyone).await;
            CACHE.get(key.clone(), async || CachedReply::shared(&key, read).await).await?
        }
    };
    Ok(hot.respond(&headers))
}

async fn find_hot(limit: u32, reader: Reader) -> Result<CachedReply> {
    let rank = async || hot_products(&mut mysql::connection().await?).await;
    let ranking = match reader {
        Reader::Admin => rank().await?,
        Reader::Anyone => single_flight::get("ranking:hot", rank).await?,
    };
    let items = products::first_of(&mut mysql::connection().await?, &ranking, limit, reader).await?;
    CachedReply::new(&Hot { items })
}
