//! Dead jobs: kept for a while, for somebody to look into.

use super::{job::NEVER, queue::Queue};
use crate::{
    Result, Timestamp,
    mysql::{Transaction, param, placeholders},
    params,
};

const KEEP_SECONDS: i64 = 90 * 24 * 60 * 60;

/// Deletes up to `limit` jobs that have been dead for 90 days; returns whether there may be more. The time counts from
/// when this function first finds them dead.
pub async fn delete_old(tx: &mut Transaction, limit: i64) -> Result<bool> {
    const NOTE: &str = "UPDATE jobs SET dead_since = ? WHERE queue = ? AND due_at = ? AND dead_since IS NULL LIMIT ?";
    const OLD: &str = "SELECT id FROM jobs WHERE queue = ? AND due_at = ? AND dead_since < ? LIMIT ?";
    let now = Timestamp::now();
    let mut may_be_more = false;
    for queue in Queue::all() {
        tx.execute(NOTE, params![now, queue, NEVER, limit]).await?;
        let old = tx.query::<(i64,)>(OLD, params![queue, NEVER, now.plus_seconds(-KEEP_SECONDS), limit]).await?;
        if !old.is_empty() {
            may_be_more = true;
            let delete = format!("DELETE FROM jobs WHERE id IN ({}) AND due_at = ?", placeholders(old.len()));
            let ids = old.into_iter().map(|(id,)| param(id)).chain(params![NEVER]);
            tx.execute(&delete, ids.collect()).await?;
        }
    }
    Ok(may_be_more)
}
