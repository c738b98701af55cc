//! Which products are bought together.

use kit::{
    ProductId, Result,
    mysql::{Connection, Transaction, param, placeholders},
    params,
};

use crate::product::{Product, Reader, find};

/// Counts the pairs of the products of an order, each in both directions. They are ordered by id, so that two orders with
/// common pairs lock them in the same order.
pub async fn count_pairs(tx: &mut Transaction, mut products: Vec<ProductId>) -> Result<()> {
    products.sort_unstable();
    let pairs: Vec<_> = products
        .iter()
        .flat_map(|product| products.iter().map(move |other| (*product, *other)))
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

/// What was bought most often together with a product, then the best sellers of its category. 404 if the reader may not
/// see the product.
pub async fn related(db: &mut Connection, product_id: ProductId, limit: u32, reader: Reader) -> Result<Vec<Product>> {
    let product = find(db, product_id, reader).await?;
    let bought = format!(
        "SELECT {} FROM product_pairs STRAIGHT_JOIN products ON products.id = other_id
         WHERE product_pairs.product_id = ? AND on_shelf = 1 ORDER BY times DESC, other_id DESC LIMIT ?",
        Product::COLUMNS
    );
    let mut rows = db.query::<Product>(&bought, params![product_id, i64::from(limit)]).await?;
    let missing = i64::from(limit).saturating_sub(i64::try_from(rows.len()).unwrap_or_default());
    if missing > 0
        && let Some(category_id) = product.category_id
    {
        let known: Vec<_> = rows.iter().map(|row| row.product_id).chain([product_id]).collect();
        let similar = format!(
            "SELECT {} FROM products WHERE category_id = ? AND on_shelf = 1 AND id NOT IN ({})
             ORDER BY sold DESC, id DESC LIMIT ?",
            Product::COLUMNS,
            placeholders(known.len())
        );
        let known = known.into_iter().map(param);
        let values = [params![category_id], known.collect(), params![missing]].concat();
        rows.extend(db.query::<Product>(&similar, values).await?);
    }
    Ok(rows.into_iter().map(|row| row.shown_to(reader, &product.currency)).collect())
}
