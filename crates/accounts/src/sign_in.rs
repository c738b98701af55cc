//! Signing in, and refreshing tokens: each refresh token of a session works once (refresh token rotation, RFC 9700,
//! section 4.14.2).

use http::HeaderMap;
use kit::{
    Code, Problem, Result, SessionId, Timestamp, User, UserId,
    auth::{self, Role},
    config,
    mysql::{self, Transaction},
    params, row,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{Account, account, session};

/// The tokens of a session.
#[derive(Serialize, ToSchema)]
pub struct Tokens {
    /// A JWT, for `Authorization: Bearer`.
    access_token: String,
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// How many seconds the access token is valid.
    #[schema(minimum = 1, example = 900)]
    expires_in: i64,
    /// Works once.
    refresh_token: String,
    user: SignedIn,
}

#[derive(Serialize, ToSchema)]
struct SignedIn {
    user_id: UserId,
    #[schema(example = "alice")]
    username: String,
    role: Role,
}

/// Starts a session. 401 `invalid_credentials` if the password has changed since the account was read, 403 `suspended` if
/// the user is suspended.
pub async fn sign_in(account: Account, headers: &HeaderMap) -> Result<Tokens> {
    let ttl = config::number("session_ttl_seconds", 1, 315_360_000).await?;
    let token = auth::new_secret_token()?;
    let hash = auth::token_hash(&token);
    let (session_id, account) = mysql::transaction(async |tx| {
        // With the lock, a request that ends all sessions does so before or after this session starts, not in between.
        let current = account::lock(tx, account.id).await?;
        if current.password_hash != account.password_hash {
            return Err(Problem::new(Code::InvalidCredentials, "The password has just been changed"));
        }
        if current.suspended_at.is_some() {
            return Err(Problem::new(Code::Suspended, "This account is suspended; ask the shop why"));
        }
        let session_id = session::insert(tx, account.id, ttl, headers).await?;
        insert_token(tx, &hash, session_id).await?;
        Ok((session_id, current))
    })
    .await?;
    tokens(account, session_id, token).await
}

row! {
    struct OwnerRow { session_id: SessionId as "s.id", user_id: UserId as "s.user_id" }
}

row! {
    struct TokenRow {
        used_at: Option<Timestamp> as "t.used_at", expires_at: Timestamp as "s.expires_at",
        ended_at: Option<Timestamp> as "s.ended_at",
    }
}

enum Refreshed {
    Next(Account, SessionId),
    /// The token was used before, so it may be stolen: the session has ended.
    Reused,
}

/// Exchanges a refresh token for the session's next tokens. 401 `invalid_token` if it is not valid; if it was used
/// before, the session ends.
pub async fn refresh(token: &str) -> Result<Tokens> {
    let hash = auth::token_hash(token);
    let next = auth::new_secret_token()?;
    let next_hash = auth::token_hash(&next);
    match mysql::transaction(async |tx| exchange(tx, &hash, &next_hash).await).await? {
        Refreshed::Next(account, session_id) => tokens(account, session_id, next).await,
        Refreshed::Reused => Err(invalid_token()),
    }
}

async fn exchange(tx: &mut Transaction, hash: &[u8], next_hash: &[u8]) -> Result<Refreshed> {
    const USE: &str = "UPDATE refresh_tokens SET used_at = ? WHERE hash = ?";
    let from = "FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id WHERE t.hash = ?";
    let owner = format!("SELECT {} {from}", OwnerRow::COLUMNS);
    let OwnerRow { session_id, user_id } = tx.query_one(&owner, params![hash]).await?.ok_or_else(invalid_token)?;
    kit::limit_writes(user_id).await?;
    // The user is always locked first.
    let account = account::find_locked(tx, user_id).await?.ok_or_else(invalid_token)?;
    let now = Timestamp::now();
    let token = format!("SELECT {} {from} FOR UPDATE", TokenRow::COLUMNS);
    let token: Option<TokenRow> = tx.query_one(&token, params![hash]).await?;
    let token = token.ok_or_else(invalid_token)?;
    if token.used_at.is_some() {
        // The access token first, and each time: Redis may have failed, or lost the mark.
        session::revoke_access(&[session_id]).await?;
        session::mark_ended(tx, session_id).await?;
        return Ok(Refreshed::Reused);
    }
    if token.ended_at.is_some() || token.expires_at <= now || account.suspended_at.is_some() {
        return Err(invalid_token());
    }
    tx.execute(USE, params![now, hash]).await?;
    session::mark_refreshed(tx, session_id).await?;
    insert_token(tx, next_hash, session_id).await?;
    Ok(Refreshed::Next(account, session_id))
}

fn invalid_token() -> Problem {
    Problem::new(Code::InvalidToken, "The refresh token is not valid; sign in again")
}

async fn insert_token(tx: &mut Transaction, hash: &[u8], session_id: SessionId) -> Result<()> {
    const INSERT: &str = "INSERT INTO refresh_tokens (hash, session_id) VALUES (?, ?)";
    Ok(tx.execute(INSERT, params![hash, session_id]).await?)
}

async fn tokens(account: Account, session_id: SessionId, refresh_token: String) -> Result<Tokens> {
    let expires_in = session::access_ttl_seconds().await?;
    let (id, role, permissions) = (account.id, account.role(), account.permissions());
    Ok(Tokens {
        access_token: auth::issue_access_token(User { id, role, permissions, session_id }, expires_in).await?,
        token_type: "Bearer",
        expires_in,
        refresh_token,
        user: SignedIn { user_id: id, username: account.username, role },
    })
}
