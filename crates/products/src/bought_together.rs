//! Which products are bought together.

use kit::{
    ProductId, Result,
    mysql::{Connection, Transaction, param, placeholders},
    params,
};

use crate::product::{MAX_RANKING, Product};

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

/// What was bought most often together with a product, then the best sellers of its category.
pub async fn related(db: &mut Connection, product: &Product) -> Result<Vec<ProductId>> {
    const BOUGHT: &str = "
        SELECT other_id FROM product_pairs STRAIGHT_JOIN products ON products.id = other_id
        WHERE product_pairs.product_id = ? AND on_shelf = 1 ORDER BY times DESC, other_id DESC LIMIT ?";
    let bought = db.query::<(ProductId,)>(BOUGHT, params![product.product_id, MAX_RANKING]).await?;
    let mut related: Vec<_> = bought.into_iter().map(|(id,)| id).collect();
    let missing = MAX_RANKING.saturating_sub(i64::try_from(related.len()).unwrap_or_default());
    if missing > 0
        && let Some(category_id) = product.category_id
    {
        let similar = format!(
            "SELECT id FROM products WHERE category_id = ? AND on_shelf = 1 AND id NOT IN ({})
             ORDER BY sold DESC, id DESC LIMIT ?",
            placeholders(related.len().saturating_add(1))
        );
        let known = related.iter().copied().chain([product.product_id]).map(param);
        let values = [params![category_id], known.collect(), params![missing]].concat();
        related.extend(db.query::<(ProductId,)>(&similar, values).await?.into_iter().map(|(id,)| id));
    }
    Ok(related)
}
