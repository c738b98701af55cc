//! Which products are bought together.

use std::collections::BTreeMap;

use kit::{
    ProductId, Result,
    mysql::{Connection, Transaction, param, placeholders},
    params,
};

use crate::product::{MAX_RANKING, Product};

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
