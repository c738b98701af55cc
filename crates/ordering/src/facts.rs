//! What a cart has to know of the products in it, kept in Redis for a moment: name, price, stock, categories.
//!
//! MySQL has the truth. Whoever changes it forgets the product here after the commit, so a cart shows the change at
//! once; a reader that was under way just then can bring the old facts back for [`TTL_MS`] at most.

use std::collections::BTreeMap;

use kit::{
    Result,
    mysql::{self, marks, param},
    redis::{self, Script, arg, int},
    row,
};
use serde::{Deserialize, Serialize};

use crate::{
    Cents,
    categories::{self, Categories},
};

const TTL_MS: i64 = 900;

row! {
    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub(crate) struct Facts {
        pub id: i64, pub name: String, pub image_url: Option<String>, pub price_cents: Cents, pub available: i64,
        pub on_shelf: bool, pub categories: Categories,
    }
}

/// KEYS: the products' keys. ARGV: TTL, and a text for each.
static KEEP: Script = Script::new(
    r"
    for i, key in ipairs(KEYS) do redis.call('SET', key, ARGV[i + 1], 'PX', ARGV[1]) end
    return 1",
);

/// Also spelt out in the cart's scripts.
fn key(product_id: i64) -> String {
    format!("facts:{product_id}")
}

/// Reads products from MySQL, and keeps what it read.
pub(crate) async fn read(product_ids: &[i64]) -> Result<BTreeMap<i64, Facts>> {
    if product_ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let sql = format!(
        "SELECT id, name, image_url, price_cents, available, on_shelf, {} AS categories
         FROM products WHERE id IN ({})",
        categories::OF_PRODUCT,
        marks(product_ids.len())
    );
    let ids = product_ids.iter().map(|id| param(*id)).collect();
    let rows = mysql::connection().await?.query::<Facts>(&sql, ids).await?;
    let keys: Vec<_> = rows.iter().map(|row| key(row.id)).collect();
    let texts = rows.iter().map(|row| arg(serde_json::to_vec(row).unwrap_or_default()));
    let arguments = std::iter::once(int(TTL_MS)).chain(texts).collect();
    KEEP.run(&keys.iter().map(String::as_str).collect::<Vec<_>>(), arguments).await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// To be called after a commit that changed products. The change stands whether or not Redis can be told: the log has
/// the reason, and what it knows is gone within a second.
pub async fn forget(product_ids: impl IntoIterator<Item = i64>) {
    let keys: Vec<_> = product_ids.into_iter().map(|id| arg(key(id))).collect();
    if !keys.is_empty() {
        let _ = redis::command("DEL", keys).await;
    }
}
