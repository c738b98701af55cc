//! Setting a password anew, by a token that comes by mail.

use kit::{
    Code, Problem, Result, Timestamp, auth,
    mysql::{self, Transaction},
    params, row,
};
use serde::{Deserialize, Serialize};

use crate::lock;

/// How long a token is good.
pub const RESET_SECONDS: i64 = 30 * 60;

/// The job of `notify`: mail this user a token. It is made there, so that nobody but the mail ever has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reset {
    pub reset_password_of: i64,
}

row! {
    struct ResetRow { user_id: i64, expires_at: Timestamp }
}

impl Reset {
    /// A token that is good once, in the place of those that the user had.
    pub async fn token(tx: &mut Transaction, user_id: i64) -> Result<String> {
        const INSERT: &str = "INSERT INTO password_resets (hash, user_id, expires_at) VALUES (?, ?, ?)";
        lock(tx, user_id).await?;
        Self::forget(tx, user_id).await?;
        let token = auth::new_secret_token()?;
        let expires_at = Timestamp::now().plus_seconds(RESET_SECONDS);
        tx.execute(INSERT, params![auth::token_hash(&token).as_slice(), user_id, expires_at]).await?;
        Ok(token)
    }

    /// The user whose token it is; 401 `invalid_token` if it is nobody's any more.
    pub async fn user_of(token: &str) -> Result<i64> {
        const RESET: &str = "SELECT user_id, expires_at FROM password_resets WHERE hash = ?";
        let hash = auth::token_hash(token);
        let row = mysql::connection().await?.query_one::<ResetRow>(RESET, params![hash.as_slice()]).await?;
        row.filter(|row| row.expires_at > Timestamp::now()).map(|row| row.user_id).ok_or_else(Self::dead)
    }

    /// Uses a token of a user who is locked; 401 `invalid_token` if somebody was faster.
    pub async fn spend(tx: &mut Transaction, user_id: i64, token: &str) -> Result<()> {
        const RESET: &str = "SELECT user_id, expires_at FROM password_resets WHERE hash = ? FOR UPDATE";
        let hash = auth::token_hash(token);
        let row: Option<ResetRow> = tx.query_one(RESET, params![hash.as_slice()]).await?;
        match row {
            Some(row) if row.user_id == user_id => Self::forget(tx, user_id).await,
            _ => Err(Self::dead()),
        }
    }

    /// From the commit on, no token of a user who is locked is good.
    pub async fn forget(tx: &mut Transaction, user_id: i64) -> Result<()> {
        const DELETE: &str = "DELETE FROM password_resets WHERE user_id = ?";
        Ok(tx.execute(DELETE, params![user_id]).await?)
    }

    fn dead() -> Problem {
        Problem::new(Code::InvalidToken, "The token is not good any more; ask for another")
    }
}
