//! Product summaries in Redis, where the scripts of carts read them.
//!
//! MySQL is authoritative. A transaction that changes a product evicts it after the commit, so carts show the change at
//! once; a concurrent reader can put the old summary back for [`TTL_MS`] at most.

use std::collections::BTreeMap;

use kit::{
    ProductId, Result, log,
    mysql::{self, Transaction},
    redis::{self, Script, arg, int},
};

use crate::summary::{self, Lock, ProductSummary};

const TTL_MS: i64 = 900;

/// KEYS: the keys of the products. ARGV: the time to live in milliseconds, then the JSON of each.
static STORE: Script = Script::new(
    r"
    for i, key in ipairs(KEYS) do redis.call('SET', key, ARGV[i + 1], 'PX', ARGV[1]) end
    return 1",
);

/// The cart's scripts build the same key.
fn key(product_id: ProductId) -> String {
    format!("product:{product_id}")
}

/// Reads products from MySQL and caches them.
pub async fn read_through(product_ids: &[ProductId]) -> Result<BTreeMap<ProductId, ProductSummary>> {
    if product_ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let products = summary::read(&mut mysql::connection().await?, product_ids, Lock::None).await?;
    let keys: Vec<_> = products.keys().map(|id| key(*id)).collect();
    let values = products.values().map(|product| arg(serde_json::to_vec(product).unwrap_or_default()));
    let arguments = std::iter::once(int(TTL_MS)).chain(values).collect();
    STORE.run(&keys.iter().map(String::as_str).collect::<Vec<_>>(), arguments).await?;
    Ok(products)
}

/// Evicts products that a transaction changes, after its commit. If Redis can't be reached, the old summaries expire
/// within a second.
pub fn evict_after_commit(tx: &mut Transaction, product_ids: impl IntoIterator<Item = ProductId>) {
    let keys: Vec<_> = product_ids.into_iter().map(|id| arg(key(id))).collect();
    if !keys.is_empty() {
        tx.after_commit(async {
            log::warn_if_failed(
                "changed products could not be evicted from the cache",
                redis::command("DEL", keys).await,
            )
        });
    }
}
