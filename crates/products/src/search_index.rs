//! The search index: `product_terms` and `products.search_text`, updated in the transaction that changes a name.

use kit::{
    ProductId, Result,
    mysql::{Connection, ParameterValue, Transaction, param, placeholders},
    params, row,
};
use search::{Query, block};

/// From this many matches on it is faster to scan all products in the requested order until a page is full. Relevance
/// means little then, so the list is sorted by sales.
const MANY: usize = 1000;
/// More matches than this are never sorted by relevance.
const TOO_MANY: usize = 10 * MANY;

/// A part of a statement, with its parameters.
pub type Sql = (String, Vec<ParameterValue>);

row! {
    /// A block of a term's posting list.
    struct Postings { term: Vec<u8>, block: i64, products: Vec<u8> }
}

/// Indexes a product under its new name and removes the terms of the old one. The product must be locked, or new.
pub async fn update(tx: &mut Transaction, product_id: ProductId, name: &str) -> Result<()> {
    const BEFORE: &str = "SELECT search_text FROM products WHERE id = ?";
    const TEXT: &str = "UPDATE products SET search_text = ? WHERE id = ?";
    let before: Option<(Option<String>,)> = tx.query_one(BEFORE, params![product_id]).await?;
    let before = search::terms(&before.and_then(|(text,)| text).unwrap_or_default());
    let text = search::fold(name);
    let terms = search::terms(&text);
    let (block, offset) = block::locate(product_id.get());

    if !before.is_subset(&terms) {
        // All changed terms, which every writer locks in this order.
        let changed: Vec<_> = before.symmetric_difference(&terms).map(|term| param(term.as_bytes())).collect();
        let sql = format!(
            "SELECT term, block, products FROM product_terms WHERE term IN ({}) AND block = ? ORDER BY term FOR UPDATE",
            placeholders(changed.len())
        );
        let mut lists: Vec<Postings> = tx.query(&sql, [changed, params![block]].concat()).await?;
        lists.retain(|list| std::str::from_utf8(&list.term).is_ok_and(|term| before.contains(term)));
        lists.iter_mut().for_each(|list| list.products = block::without(&list.products, offset));
        write(tx, lists, "VALUES(products)").await?;
    }
    let new =
        terms.difference(&before).map(|term| Postings { term: term.clone().into(), block, products: offset.into() });
    write(tx, new.collect(), "CONCAT(products, VALUES(products))").await?;
    Ok(tx.execute(TEXT, params![text, product_id]).await?)
}

/// Writes blocks. `update` is the SQL expression for the new value of those that exist.
async fn write(tx: &mut Transaction, lists: Vec<Postings>, update: &str) -> Result<()> {
    if lists.is_empty() {
        return Ok(());
    }
    let rows = vec!["(?, ?, ?)"; lists.len()].join(", ");
    let sql = format!(
        "INSERT INTO product_terms (term, block, products) VALUES {rows} ON DUPLICATE KEY UPDATE products = {update}"
    );
    let values = lists.iter().flat_map(|list| params![list.term.as_slice(), list.block, list.products.as_slice()]);
    Ok(tx.execute(&sql, values.collect()).await?)
}

/// The products with all terms of a query, in ascending order.
pub struct Matches(Vec<i64>);

impl Matches {
    pub async fn find(db: &mut Connection, query: &Query) -> Result<Self> {
        if query.terms.is_empty() {
            return Ok(Matches(Vec::new()));
        }
        let count = query.terms.len();
        let sql = format!("SELECT term, block, products FROM product_terms WHERE term IN ({})", placeholders(count));
        let terms = query.terms.iter().map(|term| param(term.as_bytes())).collect();
        let lists: Vec<Postings> = db.query(&sql, terms).await?;
        Ok(Matches(block::intersect(count, lists.into_iter().map(|list| (list.block, list.products)))))
    }

    pub fn are_many(&self) -> bool {
        self.0.len() >= MANY
    }

    pub fn are_too_many(&self) -> bool {
        self.0.len() > TOO_MANY
    }

    pub fn contain(&self, product_id: ProductId) -> bool {
        self.0.binary_search(&product_id.get()).is_ok()
    }

    /// The matches as a table to select products from.
    pub fn table(&self) -> Sql {
        const TABLE: &str = "JSON_TABLE(?, '$[*]' COLUMNS (product_id BIGINT PATH '$')) AS matching
                             STRAIGHT_JOIN products ON products.id = matching.product_id";
        let ids: Vec<_> = self.0.iter().map(i64::to_string).collect();
        (TABLE.to_owned(), params![format!("[{}]", ids.join(","))])
    }
}

/// One condition for each part: the product's name contains it.
pub fn contains_all(parts: &[String]) -> impl Iterator<Item = Sql> {
    parts.iter().map(|part| ("LOCATE(?, search_text) > 0".to_owned(), params![part]))
}

/// [`Query::relevance`], as a column.
pub fn relevance(query: &Query) -> Sql {
    const RELEVANCE: &str = ", CASE WHEN search_text = ? THEN 3 WHEN LOCATE(?, search_text) = 1 THEN 2
                               WHEN LOCATE(?, search_text) > 1 THEN 1 ELSE 0 END AS relevance";
    (RELEVANCE.to_owned(), params![&query.text, &query.text, &query.text])
}
