//! Deleting what is no longer needed, in batches of up to `limit` rows. Each function returns whether there may be more.

use kit::{
    Result, Timestamp,
    mysql::{self, Transaction},
    params,
};

const MONTH_SECONDS: i64 = 30 * 24 * 60 * 60;
const YEAR_SECONDS: i64 = 365 * 24 * 60 * 60;

fn before(seconds: i64) -> Timestamp {
    Timestamp::now().plus_seconds(seconds.saturating_neg())
}

/// Sessions that ended 30 days ago, by a sign-out or by expiry, and the refresh tokens that were used 30 days ago. Tokens
/// first, since a session may have thousands, which would all be deleted with it.
pub async fn delete_ended_sessions(tx: &mut Transaction, limit: i64) -> Result<bool> {
    let month_ago = before(MONTH_SECONDS);
    for (table, column) in [("refresh_tokens", "used_at"), ("sessions", "ended_at"), ("sessions", "expires_at")] {
        if mysql::delete_before(tx, table, column, month_ago, limit).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Tokens for a new password, and for verifying an address, that expired 30 days ago.
pub async fn delete_mailed_tokens(tx: &mut Transaction, limit: i64) -> Result<bool> {
    for table in ["password_resets", "email_verifications"] {
        if mysql::delete_before(tx, table, "expires_at", before(MONTH_SECONDS), limit).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Messages that are a year old. They are in the order of their ids, so their time needs no index.
pub async fn delete_messages(tx: &mut Transaction, limit: i64) -> Result<bool> {
    const LAST: &str = "
        SELECT MAX(id) AS id FROM (SELECT id, created_at FROM messages ORDER BY id LIMIT ?) oldest WHERE created_at < ?";
    const DELETE: &str = "DELETE FROM messages WHERE id <= ? AND created_at < ?";
    let year_ago = before(YEAR_SECONDS);
    let last = tx.query_one::<(Option<i64>,)>(LAST, params![limit, year_ago]).await?;
    let Some((Some(last),)) = last else { return Ok(false) };
    tx.execute(DELETE, params![last, year_ago]).await?;
    Ok(true)
}
