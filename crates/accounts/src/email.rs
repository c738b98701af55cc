//! A user's e-mail address. Until it is verified by a token that is mailed to it, it gets nothing else.

use kit::{
    Code, Problem, Result, Timestamp, UserId, auth,
    jobs::Queue,
    mysql::{Connection, Transaction},
    params, row,
};
use serde::{Deserialize, Serialize};

use crate::{
    Account, account,
    notice::{self, Change},
    password_reset,
};

/// How long a token is valid.
pub const TTL_HOURS: u32 = 24;

/// The payload of a `notify` job that sends a token to this user's address. The worker issues the token, so that only the
/// mail contains it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailVerificationToken {
    pub verify_email_of: UserId,
}

/// The payload of a `notify` job that tells an address that it was replaced.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TellFormerEmail {
    pub former_email: i64,
}

/// Enqueues a mail with a token, if the user has an address that is not verified.
pub async fn request_verification(tx: &mut Transaction, user_id: UserId) -> Result<()> {
    let mail = MailVerificationToken { verify_email_of: user_id };
    tx.enqueue(&[Queue::Notify.job(&mail, Timestamp::now())?]).await
}

/// Replaces or removes the address of a locked user. The new one is not verified; the old one is told.
pub async fn change(tx: &mut Transaction, account: &Account, email: Option<&str>) -> Result<()> {
    const FORMER: &str = "INSERT INTO former_emails (user_id, email) VALUES (?, ?)";
    if let Some(former) = account.verified_email() {
        tx.execute(FORMER, params![account.id, former]).await?;
        let job = TellFormerEmail { former_email: tx.last_insert_id().await? };
        tx.enqueue(&[Queue::Notify.job(&job, Timestamp::now())?]).await?;
    }
    // A token that was mailed to the old address must not set the password any more.
    password_reset::revoke(tx, account.id).await?;
    revoke(tx, account.id).await?;
    account::set_email(tx, account.id, email, false).await?;
    notice::send(tx, account.id, Change::EmailChanged).await?;
    match email {
        Some(_) => request_verification(tx, account.id).await,
        None => Ok(()),
    }
}

/// Issues a token for the address of a locked user, and revokes the earlier ones.
pub async fn issue(tx: &mut Transaction, user_id: UserId, email: &str) -> Result<String> {
    const INSERT: &str = "INSERT INTO email_verifications (hash, user_id, email, expires_at) VALUES (?, ?, ?, ?)";
    revoke(tx, user_id).await?;
    let token = auth::new_secret_token()?;
    let expires_at = Timestamp::now().plus_seconds(i64::from(TTL_HOURS).saturating_mul(3600));
    tx.execute(INSERT, params![auth::token_hash(&token).as_slice(), user_id, email, expires_at]).await?;
    Ok(token)
}

row! {
    struct VerificationRow { user_id: UserId, email: String, expires_at: Timestamp }
}

/// Verifies the address to which the token was mailed; 401 `invalid_token` if the token is not valid.
pub async fn verify(tx: &mut Transaction, token: &str) -> Result<()> {
    let hash = auth::token_hash(token);
    let sql = format!("SELECT {} FROM email_verifications WHERE hash = ?", VerificationRow::COLUMNS);
    let row: Option<VerificationRow> = tx.query_one(&sql, params![hash.as_slice()]).await?;
    let user_id = row.ok_or_else(invalid_token)?.user_id;
    // The user is always locked first.
    let account = account::find_locked(tx, user_id).await?.ok_or_else(invalid_token)?;
    let row: Option<VerificationRow> = tx.query_one(&format!("{sql} FOR UPDATE"), params![hash.as_slice()]).await?;
    let is_valid =
        |row: &VerificationRow| row.expires_at > Timestamp::now() && Some(&row.email) == account.email.as_ref();
    row.filter(is_valid).ok_or_else(invalid_token)?;
    revoke(tx, user_id).await?;
    account::set_email_verified(tx, user_id).await
}

fn invalid_token() -> Problem {
    Problem::new(Code::InvalidToken, "The token is not valid or has been used; request another one")
}

/// Revokes all tokens of a locked user.
async fn revoke(tx: &mut Transaction, user_id: UserId) -> Result<()> {
    const DELETE: &str = "DELETE FROM email_verifications WHERE user_id = ?";
    Ok(tx.execute(DELETE, params![user_id]).await?)
}

row! {
    /// An address that was replaced, and whose it was.
    pub struct FormerEmail { pub user_id: UserId, pub email: String }
}

/// An address that is still to be told.
pub async fn find_former(db: &mut Connection, former_email: i64) -> Result<Option<FormerEmail>> {
    let sql = format!("SELECT {} FROM former_emails WHERE id = ?", FormerEmail::COLUMNS);
    Ok(db.query_one(&sql, params![former_email]).await?)
}

/// Forgets an address that was told.
pub async fn forget_former(tx: &mut Transaction, former_email: i64) -> Result<()> {
    const DELETE: &str = "DELETE FROM former_emails WHERE id = ?";
    Ok(tx.execute(DELETE, params![former_email]).await?)
}
