//! Sessions: a chain of refresh tokens, each good once.

use http::{HeaderMap, header};
use kit::{
    Code, Problem, Result, Timestamp, User,
    auth::{self, Role},
    config,
    mysql::{self, Transaction},
    params, row,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{Account, client_address, lock};

/// What somebody who has signed in gets.
#[derive(Serialize, ToSchema)]
pub struct Tokens {
    access_token: String,
    token_type: &'static str,
    /// Seconds for which the access token is good.
    expires_in: i64,
    /// Works once.
    refresh_token: String,
    user: SignedIn,
}

#[derive(Serialize, ToSchema)]
struct SignedIn {
    user_id: i64,
    username: String,
    role: Role,
}

/// Opens a session with its first tokens. 401 `invalid_credentials` if the password has changed since the account was
/// read.
pub async fn start(account: Account, headers: &HeaderMap) -> Result<Tokens> {
    const SESSION: &str = "
        INSERT INTO sessions (user_id, created_at, expires_at, user_agent, address) VALUES (?, ?, ?, ?, ?)";
    // One that is over is of no more use to anybody.
    const SWEEP: &str = "DELETE FROM sessions WHERE user_id = ? AND expires_at < ?";
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let agent: Option<String> = agent.map(|text| text.chars().take(200).collect());
    let ttl = config::number("session_ttl_seconds", 1, 315_360_000).await?;
    let token = auth::new_secret_token()?;
    let hash = auth::token_hash(&token);
    let (session_id, account) = mysql::transaction(async |tx| {
        // What ends all sessions waits for this one, or this one for it.
        let now_locked = lock(tx, account.id).await?;
        if now_locked.password_hash != account.password_hash {
            return Err(Problem::new(Code::InvalidCredentials, "The password has just been changed"));
        }
        let now = Timestamp::now();
        tx.execute(SWEEP, params![account.id, now]).await?;
        let values = params![account.id, now, now.plus_seconds(ttl), agent.as_deref(), client_address(headers)];
        tx.execute(SESSION, values).await?;
        let session_id = tx.last_insert_id().await?;
        insert_token(tx, &hash, session_id).await?;
        Ok((session_id, now_locked))
    })
    .await?;
    tokens(account, session_id, token).await
}

row! {
    struct TokenRow { session_id: i64, user_id: i64 }
}

row! {
    struct UsedRow { used_at: Option<i64>, expires_at: Timestamp, ended_at: Option<i64> }
}

enum Outcome {
    Fresh(Account, i64),
    /// The token was used before: whoever has it, the session is over.
    Reused(i64),
}

/// The next tokens of the session that the token belongs to.
pub async fn refresh(token: &str) -> Result<Tokens> {
    const SESSION: &str = "
        SELECT s.id AS session_id, s.user_id FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id
        WHERE t.hash = ?";
    const TOKEN: &str = "
        SELECT t.used_at, s.expires_at, s.ended_at FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id
        WHERE t.hash = ? FOR UPDATE";
    const USE: &str = "UPDATE refresh_tokens SET used_at = ? WHERE hash = ?";
    const SEEN: &str = "UPDATE sessions SET refreshed_at = ? WHERE id = ?";
    let hash = auth::token_hash(token);
    let next = auth::new_secret_token()?;
    let next_hash = auth::token_hash(&next);
    let outcome = mysql::transaction(async |tx| {
        let TokenRow { session_id, user_id } =
            tx.query_one(SESSION, params![hash.as_slice()]).await?.ok_or_else(dead)?;
        // The user first, as everywhere.
        let account = lock(tx, user_id).await?;
        let now = Timestamp::now();
        let row = tx.query_one::<UsedRow>(TOKEN, params![hash.as_slice()]).await?;
        let row = row.filter(|row| row.ended_at.is_none() && row.expires_at > now).ok_or_else(dead)?;
        if row.used_at.is_some() {
            mark_ended(tx, session_id).await?;
            return Ok(Outcome::Reused(session_id));
        }
        tx.execute(USE, params![now, hash.as_slice()]).await?;
        tx.execute(SEEN, params![now, session_id]).await?;
        insert_token(tx, &next_hash, session_id).await?;
        Ok(Outcome::Fresh(account, session_id))
    })
    .await?;
    match outcome {
        Outcome::Fresh(account, session_id) => tokens(account, session_id, next).await,
        Outcome::Reused(session_id) => {
            auth::end_sessions(&[session_id], access_ttl().await?).await?;
            Err(dead())
        }
    }
}

/// Ends the session that the user's token belongs to.
pub async fn end(user: User) -> Result<()> {
    // First what lives shorter: if the second step fails, the client tries again.
    auth::end_sessions(&[user.session_id], access_ttl().await?).await?;
    mysql::transaction(async |tx| mark_ended(tx, user.session_id).await).await
}

/// Ends all sessions of a user who is locked, but one: from the commit on no refresh token of theirs is good, and from
/// now on no access token.
pub async fn end_all(tx: &mut Transaction, user_id: i64, but: Option<i64>) -> Result<()> {
    const RUNNING: &str = "SELECT id FROM sessions WHERE user_id = ? AND ended_at IS NULL AND id <> ?";
    const END: &str = "UPDATE sessions SET ended_at = ? WHERE user_id = ? AND ended_at IS NULL AND id <> ?";
    let but = but.unwrap_or_default();
    let ids: Vec<i64> = tx.query::<(i64,)>(RUNNING, params![user_id, but]).await?.into_iter().map(|(id,)| id).collect();
    auth::end_sessions(&ids, access_ttl().await?).await?;
    Ok(tx.execute(END, params![Timestamp::now(), user_id, but]).await?)
}

/// 401 if a session of a user who is locked is over. For what writes without being asked to by the session's own token.
pub async fn must_run(tx: &mut Transaction, user_id: i64, session_id: i64) -> Result<()> {
    const RUNNING: &str =
        "SELECT id FROM sessions WHERE id = ? AND user_id = ? AND ended_at IS NULL AND expires_at > ?";
    let running = tx.query_one::<(i64,)>(RUNNING, params![session_id, user_id, Timestamp::now()]).await?;
    running.map(drop).ok_or_else(auth::session_ended)
}

/// Ends one of a user's sessions; 404 if it is somebody else's, or over.
pub async fn end_one(tx: &mut Transaction, user_id: i64, session_id: i64) -> Result<()> {
    const SESSION: &str = "
        SELECT id FROM sessions WHERE id = ? AND user_id = ? AND ended_at IS NULL AND expires_at > ? FOR UPDATE";
    let found = tx.query_one::<(i64,)>(SESSION, params![session_id, user_id, Timestamp::now()]).await?;
    found.ok_or_else(|| Problem::not_found("session"))?;
    auth::end_sessions(&[session_id], access_ttl().await?).await?;
    mark_ended(tx, session_id).await
}

fn dead() -> Problem {
    Problem::new(Code::InvalidToken, "The refresh token is not good any more; sign in again")
}

async fn insert_token(tx: &mut Transaction, hash: &[u8], session_id: i64) -> Result<()> {
    const INSERT: &str = "INSERT INTO refresh_tokens (hash, session_id) VALUES (?, ?)";
    Ok(tx.execute(INSERT, params![hash, session_id]).await?)
}

async fn mark_ended(tx: &mut Transaction, session_id: i64) -> Result<()> {
    const END: &str = "UPDATE sessions SET ended_at = ? WHERE id = ? AND ended_at IS NULL";
    Ok(tx.execute(END, params![Timestamp::now(), session_id]).await?)
}

async fn access_ttl() -> Result<i64> {
    config::number("access_ttl_seconds", 1, 86_400).await
}

async fn tokens(account: Account, session_id: i64, refresh_token: String) -> Result<Tokens> {
    let expires_in = access_ttl().await?;
    let (id, role, permissions) = (account.id, account.role(), account.permissions());
    Ok(Tokens {
        access_token: auth::mint(User { id, role, permissions, session_id }, expires_in).await?,
        token_type: "Bearer",
        expires_in,
        refresh_token,
        user: SignedIn { user_id: id, username: account.username, role },
    })
}
