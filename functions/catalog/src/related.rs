//! `GET /api/product/{product_id}/related`

use axum::response::Response;
use http::HeaderMap;
use kit::{
    Result, User,
    extract::{Path, Query},
    mysql::{self, marks, param},
    params,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    detail::read_by,
    fresh::{Fresh, Shelf},
    list::LimitQuery,
    product::{COLUMNS, Product, ProductRow, Reader},
};

static SHELF: Shelf<(i64, u32)> = Shelf::new();

#[derive(Serialize, ToSchema)]
pub struct Related {
    items: Vec<Product>,
}

/// What is bought together with a product
///
/// Most often first, then what sells best in its category. Counted from paid orders, a moment after the payment.
#[utoipa::path(
    get, path = "/api/product/{product_id}/related", tag = "catalogue", security((), ("bearer" = [])),
    params(("product_id" = i64, Path), LimitQuery),
    responses(
        (status = 200, body = Related),
        (status = 404, description = "`not_found`"),
        (status = 422, description = "`invalid`"),
    )
)]
pub async fn related(
    user: Option<User>,
    Path(product_id): Path<i64>,
    Query(query): Query<LimitQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let limit = query.limit()?;
    let related = match Reader::from(user) {
        Reader::Admin => Fresh::new(&find(product_id, limit, Reader::Admin).await?)?,
        Reader::Anyone => {
            let key = format!("page:related:{product_id}:{limit}");
            let read = async || Fresh::new(&find(product_id, limit, Reader::Anyone).await?);
            SHELF.get((product_id, limit), async || Fresh::shared(&key, read).await).await?
        }
    };
    Ok(related.respond(&headers))
}

async fn find(product_id: i64, limit: u32, reader: Reader) -> Result<Related> {
    let mut db = mysql::connection().await?;
    let product = read_by(&mut db, product_id, reader).await?;
    let bought = format!(
        "SELECT {COLUMNS} FROM product_pairs STRAIGHT_JOIN products ON products.id = other_id
         WHERE product_id = ? AND on_shelf = 1 ORDER BY times DESC, other_id DESC LIMIT ?"
    );
    let mut rows = db.query::<ProductRow>(&bought, params![product_id, i64::from(limit)]).await?;
    let missing = i64::from(limit).saturating_sub(i64::try_from(rows.len()).unwrap_or_default());
    if missing > 0
        && let Some(category_id) = product.category_id
    {
        let known: Vec<_> = rows.iter().map(|row| row.id).chain([product_id]).collect();
        let similar = format!(
            "SELECT {COLUMNS} FROM products WHERE category_id = ? AND on_shelf = 1 AND id NOT IN ({})
             ORDER BY sold DESC, id DESC LIMIT ?",
            marks(known.len())
        );
        let known = known.into_iter().map(param);
        let values = [params![category_id], known.collect(), params![missing]].concat();
        rows.extend(db.query::<ProductRow>(&similar, values).await?);
    }
    Ok(Related { items: rows.into_iter().map(|row| row.into_product(reader, &product.currency)).collect() })
}
