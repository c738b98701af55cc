//! Products by what is in their names: `product_terms` and `products.search_text`, kept by whoever changes a name.

use kit::{
    Result,
    mysql::{Connection, ParameterValue, Transaction},
    params,
};
use search::{Query, Term};

/// From so many products on it is quicker to walk all of them in the order that is asked for until a page is full. By
/// then, what a name has in common with the query tells little: sales decide.
const MANY: i64 = 2000;

/// A part of a statement, with its parameters.
pub type Sql = (String, Vec<ParameterValue>);

/// Has a product found by this name, and by no other.
pub async fn keep(tx: &mut Transaction, product_id: i64, name: &str) -> Result<()> {
    const FORGET: &str = "DELETE FROM product_terms WHERE product_id = ?";
    const TEXT: &str = "UPDATE products SET search_text = ? WHERE id = ?";
    let text = search::fold(name);
    let terms = search::terms(&text);
    tx.execute(FORGET, params![product_id]).await?;
    if !terms.is_empty() {
        let rows = vec!["(?, ?)"; terms.len()].join(", ");
        let sql = format!("INSERT INTO product_terms (product_id, term) VALUES {rows}");
        tx.execute(&sql, terms.iter().flat_map(|term| params![product_id, term.as_bytes()]).collect()).await?;
    }
    Ok(tx.execute(TEXT, params![text, product_id]).await?)
}

/// Whether so many products match that they are better walked. Counted no further than that.
pub async fn are_many(db: &mut Connection, query: &Query) -> Result<bool> {
    if query.terms.is_empty() {
        return Ok(false);
    }
    let (matching, values) = matching(query);
    let sql = format!("SELECT COUNT(*) FROM ({matching} LIMIT {MANY}) AS matching");
    Ok(db.query_one::<(i64,)>(&sql, values).await?.is_some_and(|(count,)| count >= MANY))
}

/// The products with all terms of a query, as a table to select from; read before anything else.
pub fn table(query: &Query) -> Sql {
    let (matching, values) = matching(query);
    (format!("({matching}) AS matching STRAIGHT_JOIN products ON products.id = matching.product_id"), values)
}

fn matching(query: &Query) -> Sql {
    let others = 1..query.terms.len();
    let joins: String =
        others.map(|n| format!(" JOIN product_terms t{n} ON t{n}.product_id = t0.product_id")).collect();
    let (conditions, values): (Vec<_>, Vec<_>) =
        query.terms.iter().enumerate().map(|(n, term)| condition(&format!("t{n}"), term)).unzip();
    let conditions = conditions.join(" AND ");
    (format!("SELECT DISTINCT t0.product_id FROM product_terms t0{joins} WHERE {conditions}"), values.concat())
}

/// Whether a product has a term, for each: for those who walk. A subquery with a limit is left where it stands.
pub fn has_terms(query: &Query) -> impl Iterator<Item = Sql> {
    query.terms.iter().map(|term| {
        let (condition, values) = condition("t", term);
        let any = "SELECT 1 FROM product_terms t WHERE t.product_id = products.id AND";
        (format!("({any} {condition} LIMIT 1) = 1"), values)
    })
}

/// Whether a product's name has what the terms don't tell.
pub fn has_parts(query: &Query) -> impl Iterator<Item = Sql> {
    query.parts.iter().map(|part| ("LOCATE(?, search_text) > 0".to_owned(), params![part]))
}

fn condition(table: &str, term: &Term) -> Sql {
    let (first, last) = term.range();
    match first == last {
        true => (format!("{table}.term = ?"), params![first]),
        false => (format!("{table}.term BETWEEN ? AND ?"), params![first, last.as_slice()]),
    }
}

/// [`Query::relevance`], as a column.
pub fn relevance(query: &Query) -> Sql {
    const RELEVANCE: &str = ", CASE WHEN search_text = ? THEN 3 WHEN LOCATE(?, search_text) = 1 THEN 2
                               WHEN LOCATE(?, search_text) > 1 THEN 1 ELSE 0 END AS relevance";
    (RELEVANCE.to_owned(), params![&query.text, &query.text, &query.text])
}
