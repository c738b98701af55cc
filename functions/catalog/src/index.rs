//! Products by what is in their names: `product_terms` and `products.search_text`, kept by whoever changes a name.

use kit::{
    Result,
    mysql::{Connection, ParameterValue, Transaction, marks, param},
    params,
};
use search::Query;

/// From so many products on it is quicker to walk all of them in the order that is asked for until a page is full. By
/// then, what a name has in common with the query tells little: sales decide.
pub const MANY: i64 = 1000;

/// A part of a statement, with its parameters.
pub type Sql = (String, Vec<ParameterValue>);

/// Has a product found by this name, and by no other. The product is locked, or new.
pub async fn keep(tx: &mut Transaction, product_id: i64, name: &str) -> Result<()> {
    const BEFORE: &str = "SELECT search_text FROM products WHERE id = ?";
    const TEXT: &str = "UPDATE products SET search_text = ? WHERE id = ?";
    let before: Option<(Option<String>,)> = tx.query_one(BEFORE, params![product_id]).await?;
    let before = search::terms(&before.and_then(|(text,)| text).unwrap_or_default());
    let text = search::fold(name);
    let terms = search::terms(&text);
    let gone: Vec<_> = before.difference(&terms).map(|term| param(term.as_bytes())).collect();
    if !gone.is_empty() {
        let sql = format!("DELETE FROM product_terms WHERE term IN ({}) AND product_id = ?", marks(gone.len()));
        tx.execute(&sql, [gone, params![product_id]].concat()).await?;
    }
    let new: Vec<_> = terms.difference(&before).flat_map(|term| params![term.as_bytes(), product_id]).collect();
    if !new.is_empty() {
        let rows = vec!["(?, ?)"; new.len() / 2].join(", ");
        tx.execute(&format!("INSERT INTO product_terms (term, product_id) VALUES {rows}"), new).await?;
    }
    Ok(tx.execute(TEXT, params![text, product_id]).await?)
}

/// The products with all terms of a query.
pub struct Matches(Vec<(i64,)>);

impl Matches {
    /// None if there are as many as `many`.
    pub async fn find(db: &mut Connection, query: &Query, many: i64) -> Result<Option<Self>> {
        const COUNT: &str = "SELECT COUNT(*) FROM (SELECT 1 FROM product_terms WHERE term = ? LIMIT ?) AS matching";
        // Rows cost more to fetch than to count, and only one term alone is likely to have that many.
        if let [term] = query.terms.as_slice()
            && db.query_one(COUNT, params![term.as_bytes(), many]).await? >= Some((many,))
        {
            return Ok(None);
        }
        let others = 1..query.terms.len();
        let joins: String =
            others.map(|n| format!(" JOIN product_terms t{n} ON t{n}.product_id = t0.product_id")).collect();
        let conditions: Vec<_> = (0..query.terms.len()).map(|n| format!("t{n}.term = ?")).collect();
        let conditions = conditions.join(" AND ");
        let sql = format!("SELECT t0.product_id FROM product_terms t0{joins} WHERE {conditions} LIMIT ?");
        let terms = query.terms.iter().map(|term| param(term.as_bytes()));
        let ids = match query.terms.is_empty() {
            true => Vec::new(),
            false => db.query(&sql, terms.chain(params![many]).collect()).await?,
        };
        let are_few = i64::try_from(ids.len()).is_ok_and(|count| count < many);
        Ok(are_few.then_some(Matches(ids)))
    }

    /// As a table to select products from.
    pub fn table(self) -> Sql {
        const TABLE: &str = "JSON_TABLE(?, '$[*]' COLUMNS (product_id BIGINT PATH '$')) AS matching
                             STRAIGHT_JOIN products ON products.id = matching.product_id";
        let ids: Vec<_> = self.0.into_iter().map(|(id,)| id.to_string()).collect();
        (TABLE.to_owned(), params![format!("[{}]", ids.join(","))])
    }
}

/// Whether a product has a term, for each: for those who walk. A subquery with a limit is left where it stands.
pub fn has_terms(query: &Query) -> impl Iterator<Item = Sql> {
    const HAS: &str = "(SELECT 1 FROM product_terms WHERE term = ? AND product_id = products.id LIMIT 1) = 1";
    query.terms.iter().map(|term| (HAS.to_owned(), params![term.as_bytes()]))
}

/// Whether a product's name has what the terms don't tell.
pub fn has_parts(query: &Query) -> impl Iterator<Item = Sql> {
    query.parts.iter().map(|part| ("LOCATE(?, search_text) > 0".to_owned(), params![part]))
}

/// [`Query::relevance`], as a column.
pub fn relevance(query: &Query) -> Sql {
    const RELEVANCE: &str = ", CASE WHEN search_text = ? THEN 3 WHEN LOCATE(?, search_text) = 1 THEN 2
                               WHEN LOCATE(?, search_text) > 1 THEN 1 ELSE 0 END AS relevance";
    (RELEVANCE.to_owned(), params![&query.text, &query.text, &query.text])
}
