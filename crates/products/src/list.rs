//! Lists of products on the shelf: filtered, searched, sorted, by pages.

use kit::{
    CategoryId, Problem, ProductId, Result, config,
    mysql::{self, ParameterValue, param, placeholders},
    pagination::{Page, PageQuery},
    params,
    validate::Validator,
};
use search::Query as Words;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    MAX_PRICE, category,
    product::{Product, Reader},
    search_index::{self, Matches, Sql},
};

/// The most scans for a page, which may each find too few matches. After that, the rest is read from the list of
/// matches.
const MAX_SCANS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum Sort {
    /// Newest first.
    #[serde(rename = "new")]
    New,
    /// Cheapest first.
    #[serde(rename = "price")]
    Price,
    /// Most expensive first.
    #[serde(rename = "-price")]
    PriceDown,
    /// Most sold first.
    #[serde(rename = "sold")]
    Sold,
    /// Best match of `q` first, then most sold.
    #[serde(rename = "relevance")]
    Relevance,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Products of this category and all categories below it.
    category_id: Option<CategoryId>,
    /// Words of the name, in any order, all of them: a Latin word is found by its beginning, a Chinese one by any part. No
    /// character has a special meaning.
    #[param(max_length = 200, example = "headphones")]
    q: Option<String>,
    /// Products at this price or above.
    #[param(minimum = 0, maximum = 100_000_000_000_i64)]
    min_price_cents: Option<i64>,
    /// Products at this price or below.
    #[param(minimum = 0, maximum = 100_000_000_000_i64)]
    max_price_cents: Option<i64>,
    /// Default: `relevance` with `q`, else `new`.
    #[param(inline)]
    sort: Option<Sort>,
    /// The maximum number of items.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
    /// `next_cursor` of the previous page of the same list.
    #[param(pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
}

/// The position of a page's last item, which the cursor contains.
#[derive(Serialize, Deserialize)]
struct Position {
    sort: Sort,
    /// Its price or sales; its id for `new`.
    key: i64,
    id: ProductId,
    /// Its relevance; none if the list is not sorted by it.
    relevance: Option<i64>,
}

/// A page of the list.
pub async fn find(filter: &Filter, reader: Reader) -> Result<Page<Product>> {
    let page = PageQuery { limit: filter.limit, cursor: filter.cursor.clone() };
    let (mut search, limit) = (Search::new(filter)?, page.limit()?);
    let words = filter.words();
    let sort = filter.sort.unwrap_or(if words.is_some() { Sort::Relevance } else { Sort::New });
    let position = page.cursor::<Position>()?;
    if position.as_ref().is_some_and(|position| position.sort != sort) {
        return Err(Problem::invalid("cursor", "belongs to a list with another sort order"));
    }
    let mut db = mysql::connection().await?;
    if let Some(category_id) = filter.category_id {
        search.in_categories(&category::with_descendants(&mut db, category_id).await?);
    }

    let mut matches = None;
    let mut relevance = None;
    if let Some(words) = &words {
        let found = Matches::find(&mut db, words).await?;
        // A list whose first page was sorted by relevance stays so, even if many products match by now.
        let ranked = position.as_ref().map_or(!found.are_many(), |position| position.relevance.is_some());
        if ranked && found.are_too_many() {
            return Err(Problem::invalid("cursor", "belongs to a list that has changed too much; start over"));
        }
        relevance = Some(words).filter(|_| sort == Sort::Relevance && ranked);
        search.restrict_to(words, &found, relevance.is_none() && found.are_many());
        matches = Some(found);
    } else if position.as_ref().is_some_and(|position| position.relevance.is_some()) {
        return Err(Problem::invalid("cursor", "belongs to a search"));
    }
    if let Some(words) = relevance {
        search.relevance = search_index::relevance(words);
    }
    if let Some(position) = &position {
        search.after(position);
    }
    let order = match sort {
        Sort::New => "id DESC",
        Sort::Price => "price_cents, id",
        Sort::PriceDown => "price_cents DESC, id DESC",
        Sort::Relevance if relevance.is_some() => "relevance DESC, sold DESC, id DESC",
        Sort::Sold | Sort::Relevance => "sold DESC, id DESC",
    };
    let currency = config::currency().await?;
    let position = |product: &Product| Position {
        sort,
        key: match sort {
            Sort::New => product.product_id.get(),
            Sort::Price | Sort::PriceDown => product.price_cents.0,
            Sort::Sold | Sort::Relevance => product.sold,
        },
        id: product.product_id,
        relevance: relevance.map(|words| words.relevance(&product.name)),
    };
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1);
    let mut products = Vec::new();
    for round in 1.. {
        if let Some(found) = matches.as_ref().filter(|_| round > MAX_SCANS) {
            search.from = found.table();
        }
        let (sql, values) = search.select(order, limit);
        let rows = db.query::<Product>(&sql, values).await?;
        let is_last_page = rows.len() < wanted;
        let rows: Vec<_> = rows.into_iter().map(|row| row.shown_to(reader, &currency)).collect();
        let last = rows.last().map(position);
        let is_match = |product: &Product| matches.as_ref().is_none_or(|found| found.contain(product.product_id));
        products.extend(rows.into_iter().filter(is_match));
        match last {
            Some(last) if !is_last_page && products.len() < wanted => search.after(&last),
            _ => break,
        }
    }
    drop(db);
    Ok(Page::new(products, limit, position))
}

impl Filter {
    fn q(&self) -> &str {
        self.q.as_deref().unwrap_or_default().trim()
    }

    fn words(&self) -> Option<Words> {
        Some(self.q()).filter(|q| !q.is_empty()).map(Words::new)
    }
}

/// The parts of a list's SELECT, with their parameters.
struct Search {
    /// A computed column to sort by.
    relevance: Sql,
    from: Sql,
    conditions: Vec<String>,
    values: Vec<ParameterValue>,
    /// The condition that skips previous pages; `having` if it is about a computed column.
    after: Sql,
    having: Sql,
}

impl Search {
    fn new(filter: &Filter) -> Result<Self> {
        let mut validator = Validator::new();
        if let Some(price) = filter.min_price_cents {
            validator.number("min_price_cents", price, 0, MAX_PRICE);
        }
        if let Some(price) = filter.max_price_cents {
            validator.number("max_price_cents", price, 0, MAX_PRICE);
        }
        validator.text("q", filter.q(), 0, 200).finish()?;

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

    fn in_categories(&mut self, category_ids: &[CategoryId]) {
        let ids = category_ids.iter().copied().map(param).collect();
        self.add(format!("category_id IN ({})", placeholders(category_ids.len())), ids);
    }

    /// Restricts the list to products with these words: the matches or, in a scan, products whose names contain the
    /// words. Not all of the latter match, since a word may be part of another one.
    fn restrict_to(&mut self, words: &Words, matches: &Matches, scan: bool) {
        match scan {
            false => self.from = matches.table(),
            true => {
                search_index::contains_all(&words.terms).for_each(|(condition, values)| self.add(condition, values))
            }
        }
        search_index::contains_all(&words.parts).for_each(|(condition, values)| self.add(condition, values));
    }

    fn after(&mut self, position: &Position) {
        let (column, sign) = match (position.sort, position.relevance) {
            (Sort::New, _) => {
                self.after = (" AND id < ?".to_owned(), params![position.id]);
                return;
            }
            (Sort::Relevance, Some(relevance)) => {
                let condition = "HAVING relevance < ? OR (relevance = ? AND (sold < ? OR (sold = ? AND id < ?)))";
                self.having =
                    (condition.to_owned(), params![relevance, relevance, position.key, position.key, position.id]);
                return;
            }
            (Sort::Price, _) => ("price_cents", ">"),
            (Sort::PriceDown, _) => ("price_cents", "<"),
            (Sort::Sold | Sort::Relevance, _) => ("sold", "<"),
        };
        let condition = format!(" AND ({column} {sign} ? OR ({column} = ? AND id {sign} ?))");
        self.after = (condition, params![position.key, position.key, position.id]);
    }

    fn select(&self, order: &str, limit: u32) -> Sql {
        let (relevance, relevance_values) = &self.relevance;
        let (from, from_values) = &self.from;
        let (after, after_values) = &self.after;
        let (having, having_values) = &self.having;
        let conditions = self.conditions.join(" AND ");
        let sql = format!(
            "SELECT {}{relevance} FROM {from} WHERE {conditions}{after} {having} ORDER BY {order} LIMIT ?",
            Product::COLUMNS
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
