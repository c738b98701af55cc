//! Resetting a forgotten password, with a token that is sent by e-mail.

use kit::{
    Code, Problem, Result, Timestamp, UserId, auth,
    mysql::{Connection, Transaction},
    params, row,
};
use serde::{Deserialize, Serialize};

/// How long a token is valid.
pub const TTL_MINUTES: u32 = 30;

/// The payload of a `notify` job that sends a token to this user. The worker issues the token, so that only the mail
/// contains it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailResetToken {
    pub reset_password_of: UserId,
}

row! {
    struct ResetRow { user_id: UserId, expires_at: Timestamp }
}

/// The user with this name, if they have a verified e-mail address.
pub async fn find_recipient(db: &mut Connection, username: &str) -> Result<Option<UserId>> {
    const RECIPIENT: &str = "SELECT id FROM users WHERE username = ? AND email IS NOT NULL AND email_verified = 1";
    let found = db.query_one::<(UserId,)>(RECIPIENT, params![username]).await?;
    Ok(found.map(|(user_id,)| user_id))
}

/// Issues a token that works once, and revokes the earlier ones of a locked user.
pub async fn issue(tx: &mut Transaction, user_id: UserId) -> Result<String> {
    const INSERT: &str = "INSERT INTO password_resets (hash, user_id, expires_at) VALUES (?, ?, ?)";
    revoke(tx, user_id).await?;
    let token = auth::new_secret_token()?;
    let expires_at = Timestamp::now().plus_seconds(i64::from(TTL_MINUTES).saturating_mul(60));
    tx.execute(INSERT, params![auth::token_hash(&token).as_slice(), user_id, expires_at]).await?;
    Ok(token)
}

/// The user of a token; 401 `invalid_token` if it is not valid.
pub async fn verify(db: &mut Connection, token: &str) -> Result<UserId> {
    let sql = format!("SELECT {} FROM password_resets WHERE hash = ?", ResetRow::COLUMNS);
    let row: Option<ResetRow> = db.query_one(&sql, params![auth::token_hash(token).as_slice()]).await?;
    row.filter(|row| row.expires_at > Timestamp::now()).map(|row| row.user_id).ok_or_else(invalid_token)
}

/// Uses up a token of a locked user; 401 `invalid_token` if it has been used since.
pub async fn redeem(tx: &mut Transaction, user_id: UserId, token: &str) -> Result<()> {
    let sql = format!("SELECT {} FROM password_resets WHERE hash = ? FOR UPDATE", ResetRow::COLUMNS);
    let row: Option<ResetRow> = tx.query_one(&sql, params![auth::token_hash(token).as_slice()]).await?;
    match row {
        Some(row) if row.user_id == user_id => revoke(tx, user_id).await,
        _ => Err(invalid_token()),
    }
}

/// Revokes all tokens of a locked user.
pub async fn revoke(tx: &mut Transaction, user_id: UserId) -> Result<()> {
    const DELETE: &str = "DELETE FROM password_resets WHERE user_id = ?";
    Ok(tx.execute(DELETE, params![user_id]).await?)
}

fn invalid_token() -> Problem {
    Problem::new(Code::InvalidToken, "The token is not valid or has been used; request another one")
}
