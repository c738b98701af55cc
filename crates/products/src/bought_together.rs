//! Which products are bought together.

use std::collections::BTreeMap;

use kit::{
    ProductId, Result,
    mysql::{Connection, Transaction, param, placeholders},
    params,
};

use crate::product::{Product, Reader, find};

/// Pairs that one statement counts at most: a statement has at most 65,535 parameters.
const COUNTED_AT_ONCE: usize = 1000;

/// Counts the pairs of the products of each order, in both directions. They are ordered by id, so that two
/// transactions with common pairs lock them in the same order.
pub async fn count_pairs(tx: &mut Transaction, orders: impl IntoIterator<Item = Vec<ProductId>>) -> Result<()> {
    let mut pairs = BTreeMap::<_, i64>::new();
    for products in orders {
        for product in &products {
            for other in products.iter().filter(|other| *other != product) {
                let times = pairs.entry((*product, *other)).or_default();
                *times = times.saturating_add(1);
            }
        }
    }
    let pairs: Vec<_> = pairs.into_iter().collect();
    for pairs in pairs.chunks(COUNTED_AT_ONCE) {
        let sql = format!(
            "INSERT INTO product_pairs (product_id, other_id, times) VALUES {}
             ON DUPLICATE KEY UPDATE times = times + VALUES(times)",
            vec!["(?, ?, ?)"; pairs.len()].join(", ")
        );
        let values = pairs.iter().flat_map(|((product, other), times)| params![*product, *other, *times]);
        tx.execute(&sql, values.collect()).await?;
    }
    Ok(())
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
