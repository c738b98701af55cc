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
use search::Query as Words;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    category,
    fresh::{Fresh, Shelf},
    index::{self, Matches, Sql},
    product::{COLUMNS, Product, ProductRow, Reader},
};

static SHELF: Shelf<String> = Shelf::new();

const MAX_PRICE: i64 = 100_000_000_000;
/// Pages of a walk that may have too few matches. If as many do, the rest is looked for among the matches themselves.
const WALKS: usize = 2;
const HOT_SECONDS: i64 = 7 * 24 * 60 * 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
enum Sort {
    /// Newest first.
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
    /// What is named most like `q` first, then what sold most.
    #[serde(rename = "relevance")]
    Relevance,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// With all that lies below it.
    category_id: Option<i64>,
    /// Words of the name, literally and in any order: all of them, a Latin one by its beginning, a Chinese one by any part.
    #[param(max_length = 200)]
    q: Option<String>,
    #[param(minimum = 0)]
    min_price_cents: Option<i64>,
    #[param(minimum = 0)]
    max_price_cents: Option<i64>,
    /// `relevance` unless said if there is a `q`, or else `new`.
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
    /// Its relevance; none where sales alone decide.
    relevance: Option<i64>,
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
    let (mut search, limit) = (Search::new(filter)?, page.limit()?);
    let words = filter.words();
    let sort = filter.sort.unwrap_or(if words.is_some() { Sort::Relevance } else { Sort::New });
    let place = page.cursor::<Place>()?;
    if place.as_ref().is_some_and(|place| place.sort != sort) {
        return Err(Problem::invalid("cursor", "belongs to a list with another sort"));
    }
    if let Some(category_id) = filter.category_id {
        search.within(&category::with_descendants(category_id).await?);
    }

    let mut db = mysql::connection().await?;
    let mut matches = None;
    let mut relevance = None;
    if let Some(words) = &words {
        let found = Matches::find(&mut db, words).await?;
        // A list that was begun by relevance goes on so, even if many match by now.
        let ranked = place.as_ref().map_or(!found.are_many(), |place| place.relevance.is_some());
        if ranked && found.are_too_many() {
            return Err(Problem::invalid("cursor", "belongs to a list that is another by now; begin it anew"));
        }
        relevance = Some(words).filter(|_| sort == Sort::Relevance && ranked);
        search.find(words, &found, relevance.is_none() && found.are_many());
        matches = Some(found);
    } else if place.as_ref().is_some_and(|place| place.relevance.is_some()) {
        return Err(Problem::invalid("cursor", "belongs to a search"));
    }
    if let Some(words) = relevance {
        search.relevance = index::relevance(words);
    }
    if let Some(place) = &place {
        search.after(place);
    }
    let order = match sort {
        Sort::New => "id DESC",
        Sort::Price => "price_cents, id",
        Sort::PriceDown => "price_cents DESC, id DESC",
        Sort::Relevance if relevance.is_some() => "relevance DESC, sold DESC, id DESC",
        Sort::Sold | Sort::Relevance => "sold DESC, id DESC",
    };
    let currency = config::currency().await?;
    let place = |product: &Product| Place {
        sort,
        key: match sort {
            Sort::New => product.product_id,
            Sort::Price | Sort::PriceDown => product.price_cents.0,
            Sort::Sold | Sort::Relevance => product.sold,
        },
        id: product.product_id,
        relevance: relevance.map(|words| words.relevance(&product.name)),
    };
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1);
    let mut products = Vec::new();
    for round in 1.. {
        if let Some(found) = matches.as_ref().filter(|_| round > WALKS) {
            search.from = found.table();
        }
        let (sql, values) = search.select(order, limit);
        let rows = db.query::<ProductRow>(&sql, values).await?;
        let are_all = rows.len() < wanted;
        let rows: Vec<_> = rows.into_iter().map(|row| row.into_product(reader, &currency)).collect();
        let last = rows.last().map(place);
        let does_match = |product: &Product| matches.as_ref().is_none_or(|found| found.contain(product.product_id));
        products.extend(rows.into_iter().filter(does_match));
        match last {
            Some(last) if !are_all && products.len() < wanted => search.after(&last),
            _ => break,
        }
    }
    drop(db);
    Ok(Page::new(products, limit, place))
}

impl Filter {
    fn q(&self) -> &str {
        self.q.as_deref().unwrap_or_default().trim()
    }

    fn words(&self) -> Option<Words> {
        Some(self.q()).filter(|q| !q.is_empty()).map(Words::new)
    }
}

/// The statement of a list: its parts, and their parameters.
struct Search {
    /// A column to sort by.
    relevance: Sql,
    from: Sql,
    conditions: Vec<String>,
    values: Vec<ParameterValue>,
    /// What the page before leaves, and the same where a column above decides.
    after: Sql,
    having: Sql,
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
        checks.text("q", filter.q(), 0, 200).done()?;

        let mut search = Search {
            relevance: Sql::default(),
            from: ("products".to_owned(), vec![]),
            conditions: vec!["on_shelf = 1".to_owned()],
            values: vec![],
            after: Sql::default(),
            having: Sql::default(),
        };
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

    /// Products with these words: those that match, or, on a walk, those whose names have all that is looked for. Not all
    /// of them match, since a word may stand within another.
    fn find(&mut self, words: &Words, matches: &Matches, walk: bool) {
        match walk {
            false => self.from = matches.table(),
            true => index::has(&words.terms).for_each(|(condition, values)| self.add(condition, values)),
        }
        index::has(&words.parts).for_each(|(condition, values)| self.add(condition, values));
    }

    fn after(&mut self, place: &Place) {
        let (column, sign) = match (place.sort, place.relevance) {
            (Sort::New, _) => {
                self.after = (" AND id < ?".to_owned(), params![place.id]);
                return;
            }
            (Sort::Relevance, Some(relevance)) => {
                let condition = "HAVING relevance < ? OR (relevance = ? AND (sold < ? OR (sold = ? AND id < ?)))";
                self.having = (condition.to_owned(), params![relevance, relevance, place.key, place.key, place.id]);
                return;
            }
            (Sort::Price, _) => ("price_cents", ">"),
            (Sort::PriceDown, _) => ("price_cents", "<"),
            (Sort::Sold | Sort::Relevance, _) => ("sold", "<"),
        };
        let condition = format!(" AND ({column} {sign} ? OR ({column} = ? AND id {sign} ?))");
        self.after = (condition, params![place.key, place.key, place.id]);
    }

    fn select(&self, order: &str, limit: u32) -> Sql {
        let (relevance, relevance_values) = &self.relevance;
        let (from, from_values) = &self.from;
        let (after, after_values) = &self.after;
        let (having, having_values) = &self.having;
        let conditions = self.conditions.join(" AND ");
        let sql = format!(
            "SELECT {COLUMNS}{relevance} FROM {from} WHERE {conditions}{after} {having} ORDER BY {order} LIMIT ?"
        );
        let one_more = params![i64::from(limit).saturating_add(1)];
        (
            sql,
            [relevance_values, from_values, &self.values, after_values, having_values, &one_more]
                .map(Vec::as_slice)
                .concat(),
        )
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LimitQuery {
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

/// What sold best in the last seven days
#[utoipa::path(
    get, path = "/api/product/hot", tag = "catalogue", security((), ("bearer" = [])), params(LimitQuery),
    responses((status = 200, body = Hot), (status = 422, description = "`invalid`"))
)]
pub async fn hot(user: Option<User>, Query(query): Query<LimitQuery>, headers: HeaderMap) -> Result<Response> {
    let limit = query.limit()?;
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
