//! Sessions: a chain of refresh tokens, each good once.

use http::{HeaderMap, header};
use kit::{
    Code, Problem, Result, Timestamp, User,
    auth::{self, Role},
    config,
    mysql::{self, Transaction},
    params, row,
    staff::Permissions,
};

use crate::{SignedIn, Tokens, client_address};

/// Whose session it is.
pub struct Account {
    pub id: i64,
    pub username: String,
    pub role: Role,
    pub permissions: Permissions,
}

row! {
    struct TokenRow {
        session_id: i64, used_at: Option<i64>, expires_at: i64, ended_at: Option<i64>,
        user_id: i64, username: String, role: String, permissions: i64,
    }
}

/// Opens a session with its first tokens.
pub async fn start(account: Account, headers: &HeaderMap) -> Result<Tokens> {
    const SESSION: &str = "
        INSERT INTO sessions (user_id, created_at, expires_at, user_agent, address) VALUES (?, ?, ?, ?, ?)";
    // One that is over is of no more use to anybody.
    const SWEEP: &str = "DELETE FROM sessions WHERE user_id = ? AND expires_at < ?";
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let agent: Option<String> = agent.map(|text| text.chars().take(200).collect());
    let ttl = config::number("session_ttl_seconds", 1, 315_360_000).await?;
    let token = auth::new_refresh_token()?;
    let hash = auth::refresh_token_hash(&token);
    let session_id = mysql::transaction(async |tx| {
        let now = Timestamp::now();
        tx.execute(SWEEP, params![account.id, now]).await?;
        tx.execute(SESSION, params![account.id, now, now.plus_seconds(ttl), agent.as_deref(), client_address(headers)])
            .await?;
        let session_id = tx.last_insert_id().await?;
        insert_token(tx, &hash, session_id).await?;
        Ok(session_id)
    })
    .await?;
    tokens(account, session_id, token).await
}

enum Outcome {
    Fresh(Account, i64),
    /// The token was used before: whoever has it, the session is over.
    Reused(i64),
}

/// The next tokens of the session that the token belongs to.
pub async fn refresh(token: &str) -> Result<Tokens> {
    const TOKEN: &str = "
        SELECT t.session_id, t.used_at, s.expires_at, s.ended_at, s.user_id, u.username, u.role, u.permissions
        FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id JOIN users u ON u.id = s.user_id
        WHERE t.hash = ? FOR UPDATE";
    const SEEN: &str = "UPDATE sessions SET refreshed_at = ? WHERE id = ?";
    const USE: &str = "UPDATE refresh_tokens SET used_at = ? WHERE hash = ?";
    let hash = auth::refresh_token_hash(token);
    let next = auth::new_refresh_token()?;
    let next_hash = auth::refresh_token_hash(&next);
    let outcome = mysql::transaction(async |tx| {
        let now = Timestamp::now();
        let row = tx.query_one::<TokenRow>(TOKEN, params![hash.as_slice()]).await?;
        let row = row.filter(|row| row.ended_at.is_none() && row.expires_at > now.0).ok_or_else(dead)?;
        if row.used_at.is_some() {
            mark_ended(tx, row.session_id).await?;
            return Ok(Outcome::Reused(row.session_id));
        }
        tx.execute(USE, params![now, hash.as_slice()]).await?;
        insert_token(tx, &next_hash, row.session_id).await?;
        tx.execute(SEEN, params![now, row.session_id]).await?;
        let account = Account {
            id: row.user_id,
            username: row.username,
            role: Role::from_column(&row.role),
            permissions: Permissions::from_bits(row.permissions),
        };
        Ok(Outcome::Fresh(account, row.session_id))
    })
    .await?;
    match outcome {
        Outcome::Fresh(account, session_id) => tokens(account, session_id, next).await,
        Outcome::Reused(session_id) => {
            auth::end_session(session_id, access_ttl().await?).await?;
            Err(dead())
        }
    }
}

/// Ends the session that the user's token belongs to.
pub async fn end(user: User) -> Result<()> {
    // First what lives shorter: if the second step fails, the client tries again.
    auth::end_session(user.session_id, access_ttl().await?).await?;
    mysql::transaction(async |tx| mark_ended(tx, user.session_id).await).await
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
    let Account { id, username, role, permissions } = account;
    let user = User { id, role, permissions, session_id };
    Ok(Tokens {
        access_token: auth::mint(user, expires_in).await?,
        token_type: "Bearer",
        expires_in,
        refresh_token,
        user: SignedIn { user_id: id, username, role },
    })
}
