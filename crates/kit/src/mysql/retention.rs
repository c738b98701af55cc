//! Deleting old rows in small batches.

use super::{Error, Transaction};
use crate::{Timestamp, params};

/// Deletes up to `limit` rows whose `column` is before `time`, the oldest first; returns whether there are more. The column
/// needs an index.
pub async fn delete_before(
    tx: &mut Transaction,
    table: &str,
    column: &str,
    time: Timestamp,
    limit: i64,
) -> Result<bool, Error> {
    let delete = format!("DELETE FROM {table} WHERE {column} < ? ORDER BY {column} LIMIT ?");
    let more = format!("SELECT EXISTS (SELECT 1 FROM {table} WHERE {column} < ?) AS more");
    tx.execute(&delete, params![time, limit]).await?;
    Ok(tx.query_one::<(bool,)>(&more, params![time]).await?.is_some_and(|(more,)| more))
}
