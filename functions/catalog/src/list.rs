//! `GET /api/product`, `GET /api/product/hot`

use axum::response::Response;
use http::{HeaderMap, Uri};
use kit::{
    Problem, Result, Timestamp, User,
    check::Checks,
    config,
    extract::Query,
    mysql::{self, ParameterValue, marks, param},
    page::{Page, PageQuery},
    params,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    category,
    fresh::{Fresh, Shelf},
    product::{COLUMNS, Product, ProductRow, Reader},
};

static SHELF: Shelf<String> = Shelf::new();

const MAX_PRICE: i64 = 100_000_000_000;
const HOT_SECONDS: i64 = 7 * 24 * 60 * 60;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
enum Sort {
    /// Newest first.
    #[default]
    #[serde(rename = "new")]
    New,
    /// Cheapest first.
    #[serde(rename = "price")]
    Price,
    /// Dearest first.
    #[serde(rename = "-price")]
    PriceDown,
    /// Most sold first.
    #[serde(rename = "sold")]
    Sold,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// With all that lies below it.
    category_id: Option<i64>,
    /// A part of the name, literally.
    #[param(max_length = 200)]
    q: Option<String>,
    #[param(minimum = 0)]
    min_price_cents: Option<i64>,
    #[param(minimum = 0)]
    max_price_cents: Option<i64>,
    #[param(inline)]
    sort: Option<Sort>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
    /// `next_cursor` of the page before, of the same sort.
    cursor: Option<String>,
}

/// Where a page ended.
#[derive(Serialize, Deserialize)]
struct Place {
    sort: Sort,
    /// The last product's price or sales; its id for `new`.
    key: i64,
    id: i64,
}

/// List products on the shelf
#[utoipa::path(
    get, path = "/api/product", tag = "catalogue", security((), ("bearer" = [])), params(Filter),
    responses((status = 200, body = Page<Product>), (status = 422, description = "`invalid`"))
)]
pub async fn list(user: Option<User>, uri: Uri, Query(filter): Query<Filter>, headers: HeaderMap) -> Result<Response> {
    let page = match Reader::from(user) {
        Reader::Admin => Fresh::new(&find(&filter, Reader::Admin).await?)?,
        Reader::Anyone => {
            let key = uri.query().unwrap_or_default().to_owned();
            SHELF.get(key, async || Fresh::new(&find(&filter, Reader::Anyone).await?)).await?
        }
    };
    Ok(page.respond(&headers))
}

async fn find(filter: &Filter, reader: Reader) -> Result<Page<Product>> {
    let page = PageQuery { limit: filter.limit, cursor: filter.cursor.clone() };
    let (limit, sort) = (page.limit()?, filter.sort.unwrap_or_default());
    let place = page.cursor::<Place>()?;
    if place.as_ref().is_some_and(|place| place.sort != sort) {
        return Err(Problem::invalid("cursor", "belongs to a list with another sort"));
    }
    let mut search = Search::new(filter)?;
    if let Some(category_id) = filter.category_id {
        search.within(&category::with_descendants(category_id).await?);
    }
    if let Some(place) = place {
        search.after(&place);
    }
    let order = match sort {
        Sort::New => "id DESC",
        Sort::Price => "price_cents, id",
        Sort::PriceDown => "price_cents DESC, id DESC",
        Sort::Sold => "sold DESC, id DESC",
    };
    let conditions = search.conditions.join(" AND ");
    let sql = format!("SELECT {COLUMNS} FROM products WHERE {conditions} ORDER BY {order} LIMIT ?");
    search.values.extend(params![i64::from(limit).saturating_add(1)]);
    let rows = mysql::connection().await?.query::<ProductRow>(&sql, search.values).await?;
    let currency = config::currency().await?;
    let products = rows.into_iter().map(|row| row.into_product(reader, &currency)).collect();
    Ok(Page::new(products, limit, |product: &Product| Place {
        sort,
        key: match sort {
            Sort::New => product.product_id,
            Sort::Price | Sort::PriceDown => product.price_cents.0,
            Sort::Sold => product.sold,
        },
        id: product.product_id,
    }))
}

/// The WHERE of a list, and its parameters.
struct Search {
    conditions: Vec<String>,
    values: Vec<ParameterValue>,
}

impl Search {
    fn new(filter: &Filter) -> Result<Self> {
        let mut checks = Checks::new();
        if let Some(price) = filter.min_price_cents {
            checks.number("min_price_cents", price, 0, MAX_PRICE);
        }
        if let Some(price) = filter.max_price_cents {
            checks.number("max_price_cents", price, 0, MAX_PRICE);
        }
        let q = filter.q.as_deref().unwrap_or_default().trim();
        checks.text("q", q, 0, 200).done()?;

        let mut search = Search { conditions: vec!["on_shelf = 1".to_owned()], values: vec![] };
        if !q.is_empty() {
            search.add("name LIKE ? ESCAPE '!'", params![like(q)]);
        }
        if let Some(price) = filter.min_price_cents {
            search.add("price_cents >= ?", params![price]);
        }
        if let Some(price) = filter.max_price_cents {
            search.add("price_cents <= ?", params![price]);
        }
        Ok(search)
    }

    fn add(&mut self, condition: impl Into<String>, values: Vec<ParameterValue>) {
        self.conditions.push(condition.into());
        self.values.extend(values);
    }

    fn within(&mut self, category_ids: &[i64]) {
        let ids = category_ids.iter().map(|id| param(*id)).collect();
        self.add(format!("category_id IN ({})", marks(category_ids.len())), ids);
    }

    fn after(&mut self, place: &Place) {
        let (column, sign) = match place.sort {
            Sort::New => return self.add("id < ?", params![place.id]),
            Sort::Price => ("price_cents", ">"),
            Sort::PriceDown => ("price_cents", "<"),
            Sort::Sold => ("sold", "<"),
        };
        let condition = format!("({column} {sign} ? OR ({column} = ? AND id {sign} ?))");
        self.add(condition, params![place.key, place.key, place.id]);
    }
}

/// A pattern that finds the text anywhere, with nothing in it that means more than itself.
fn like(text: &str) -> String {
    let escaped = text.replace('!', "!!").replace('%', "!%").replace('_', "!_");
    format!("%{escaped}%")
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct HotQuery {
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
}

#[derive(Serialize, ToSchema)]
pub struct Hot {
    items: Vec<Product>,
}

/// What sold best in the last seven days
#[utoipa::path(
    get, path = "/api/product/hot", tag = "catalogue", security((), ("bearer" = [])), params(HotQuery),
    responses((status = 200, body = Hot), (status = 422, description = "`invalid`"))
)]
pub async fn hot(user: Option<User>, Query(query): Query<HotQuery>, headers: HeaderMap) -> Result<Response> {
    let limit = PageQuery { limit: query.limit, cursor: None }.limit()?;
    let hot = match Reader::from(user) {
        Reader::Admin => Fresh::new(&find_hot(limit, Reader::Admin).await?)?,
        Reader::Anyone => {
            let key = format!("hot {limit}");
            let read = async || Fresh::new(&find_hot(limit, Reader::Anyone).await?);
            SHELF.get(key.clone(), async || Fresh::shared(&format!("page:{key}"), read).await).await?
        }
    };
    Ok(hot.respond(&headers))
}

async fn find_hot(limit: u32, reader: Reader) -> Result<Hot> {
    let sql = format!(
        "SELECT {COLUMNS} FROM products JOIN (
             SELECT i.product_id, SUM(i.quantity) AS quantity
             FROM orders o JOIN order_items i ON i.order_no = o.order_no
             WHERE o.paid_at >= ? AND o.status IN ('paid', 'shipped', 'completed')
             GROUP BY i.product_id
         ) recent ON recent.product_id = products.id
         WHERE on_shelf = 1 ORDER BY recent.quantity DESC, id DESC LIMIT ?"
    );
    let since = Timestamp::now().plus_seconds(HOT_SECONDS.saturating_neg());
    let rows = mysql::connection().await?.query::<ProductRow>(&sql, params![since, i64::from(limit)]).await?;
    let currency = config::currency().await?;
    Ok(Hot { items: rows.into_iter().map(|row| row.into_product(reader, &currency)).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_its_text_and_nothing_else() {
        assert_eq!(like("手机"), "%手机%");
        assert_eq!(like("100%_!"), "%100!%!_!!%");
    }
}
