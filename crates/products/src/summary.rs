//! What carts and orders need of a product.

use std::collections::BTreeMap;

use kit::{
    Cents, ProductId, Result,
    mysql::{Connection, param, placeholders},
    row,
};
use serde::{Deserialize, Serialize};

use crate::category_path::CategoryPath;

row! {
    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct ProductSummary {
        pub id: ProductId,
        pub name: String,
        pub image_url: Option<String>,
        pub price_cents: Cents,
        pub available: i64,
        pub on_shelf: bool,
        // The tree has at most five levels.
        pub categories: CategoryPath as "
            (SELECT CONCAT_WS(',', c1.id, c1.parent_id, c2.parent_id, c3.parent_id, c4.parent_id)
             FROM categories c1 LEFT JOIN categories c2 ON c2.id = c1.parent_id
             LEFT JOIN categories c3 ON c3.id = c2.parent_id LEFT JOIN categories c4 ON c4.id = c3.parent_id
             WHERE c1.id = products.category_id)",
    }
}

/// Whether to lock the rows, in the order of their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    None,
    ForUpdate,
}

/// The products with these ids; unknown ids are left out.
pub async fn read(
    db: &mut Connection,
    product_ids: &[ProductId],
    lock: Lock,
) -> Result<BTreeMap<ProductId, ProductSummary>> {
    let sql = format!(
        "SELECT {} FROM products WHERE id IN ({}) ORDER BY id {}",
        ProductSummary::COLUMNS,
        placeholders(product_ids.len()),
        if lock == Lock::ForUpdate { "FOR UPDATE" } else { "" }
    );
    let rows = db.query::<ProductSummary>(&sql, product_ids.iter().copied().map(param).collect()).await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}
