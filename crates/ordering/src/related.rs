//! Which products are bought together.

use kit::{Result, mysql::Transaction, params};

/// An order counts with its first lines: pairs grow with the square.
const MOST_LINES: i64 = 20;

/// Counts the pairs of an order's products, each in both directions. By their ids, so that two orders which have pairs in
/// common lock them in the same order.
pub async fn count(tx: &mut Transaction, order_no: &str) -> Result<()> {
    const PRODUCTS: &str = "SELECT product_id FROM order_items WHERE order_no = ? ORDER BY line LIMIT ?";
    let mut products = tx.query::<(i64,)>(PRODUCTS, params![order_no, MOST_LINES]).await?;
    products.sort_unstable();
    let pairs: Vec<_> = products
        .iter()
        .flat_map(|(product,)| products.iter().map(move |(other,)| (*product, *other)))
        .filter(|(product, other)| product != other)
        .collect();
    if pairs.is_empty() {
        return Ok(());
    }
    let rows = vec!["(?, ?, 1)"; pairs.len()].join(", ");
    let sql = format!(
        "INSERT INTO product_pairs (product_id, other_id, times) VALUES {rows}
         ON DUPLICATE KEY UPDATE times = times + 1"
    );
    Ok(tx.execute(&sql, pairs.into_iter().flat_map(|(product, other)| params![product, other]).collect()).await?)
}
