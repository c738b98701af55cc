//! A user's sessions.

use http::{HeaderMap, header};
use kit::{
    Problem, Result, SessionId, Timestamp, User, UserId, auth, config,
    mysql::{self, Connection, Transaction},
    pagination::{Page, PageQuery},
    params, row,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{account, client};

row! {
    #[derive(Serialize, ToSchema)]
    pub struct Session {
        session_id: SessionId as "id",
        created_at: Timestamp,
        /// When its refresh token was last used.
        #[schema(required)]
        refreshed_at: Option<Timestamp>,
        expires_at: Timestamp,
        /// The `User-Agent` that signed in.
        #[schema(required, max_length = 200, example = "curl/8.14.1")]
        user_agent: Option<String>,
        /// The IP address that signed in.
        #[schema(required, example = "203.0.113.7")]
        address: Option<String>,
        /// Whether this request belongs to it.
        current: bool = false,
    }
}

/// The user's active sessions, newest first.
pub async fn list(db: &mut Connection, user: &User, page: &PageQuery) -> Result<Page<Session>> {
    let sql = format!(
        "SELECT {} FROM sessions
         WHERE user_id = ? AND ended_at IS NULL AND expires_at > ? AND id < ? ORDER BY id DESC LIMIT ?",
        Session::COLUMNS
    );
    let (limit, before) = (page.limit()?, page.cursor::<i64>()?.unwrap_or(i64::MAX));
    let values = params![user.id, Timestamp::now(), before, i64::from(limit).saturating_add(1)];
    let mut sessions = db.query::<Session>(&sql, values).await?;
    for session in &mut sessions {
        session.current = session.session_id == user.session_id;
    }
    Ok(Page::new(sessions, limit, |session| session.session_id))
}

/// When a session of the user began.
pub(crate) async fn began_at(db: &mut Connection, user_id: UserId, session_id: SessionId) -> Result<Option<Timestamp>> {
    const BEGAN: &str = "SELECT created_at FROM sessions WHERE id = ? AND user_id = ?";
    let found = db.query_one::<(Timestamp,)>(BEGAN, params![session_id, user_id]).await?;
    Ok(found.map(|(at,)| at))
}

/// The most sessions that a user has: beyond that, the oldest end.
const MAX_SESSIONS: i64 = 50;

/// Starts a session of a locked user, deletes their expired ones, and ends the oldest if there are too many.
pub(crate) async fn insert(
    tx: &mut Transaction,
    user_id: UserId,
    ttl_seconds: i64,
    headers: &HeaderMap,
) -> Result<SessionId> {
    const DELETE_EXPIRED: &str = "DELETE FROM sessions WHERE user_id = ? AND expires_at < ?";
    const INSERT: &str = "
        INSERT INTO sessions (user_id, created_at, expires_at, user_agent, address) VALUES (?, ?, ?, ?, ?)";
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let agent: Option<String> = agent.map(|text| text.chars().take(200).collect());
    let now = Timestamp::now();
    tx.execute(DELETE_EXPIRED, params![user_id, now]).await?;
    end_oldest(tx, user_id).await?;
    let address = client::address(headers).await?.map(|address| address.to_string());
    let values = params![user_id, now, now.plus_seconds(ttl_seconds), agent, address];
    tx.execute(INSERT, values).await?;
    let session_id = tx.last_insert_id().await?;
    tx.proven_by("SELECT 1 FROM sessions WHERE id = ? FOR UPDATE", params![session_id]);
    Ok(session_id)
}

/// Ends the oldest sessions of a locked user, so that there is room for another one.
async fn end_oldest(tx: &mut Transaction, user_id: UserId) -> Result<()> {
    const SURPLUS: &str = "
        SELECT id FROM sessions WHERE user_id = ? AND ended_at IS NULL ORDER BY id DESC LIMIT 1000 OFFSET ?";
    const END: &str = "UPDATE sessions SET ended_at = ? WHERE user_id = ? AND ended_at IS NULL AND id <= ?";
    let surplus = tx.query::<(SessionId,)>(SURPLUS, params![user_id, MAX_SESSIONS.saturating_sub(1)]).await?;
    let surplus: Vec<_> = surplus.into_iter().map(|(id,)| id).collect();
    let Some(newest) = surplus.first() else { return Ok(()) };
    revoke_access(&surplus).await?;
    Ok(tx.execute(END, params![Timestamp::now(), user_id, *newest]).await?)
}

/// 401 if a session of a locked user has ended. For a write that the session requested earlier, in another request.
pub async fn require_active(tx: &mut Transaction, user_id: UserId, session_id: SessionId) -> Result<()> {
    const ACTIVE: &str = "SELECT id FROM sessions WHERE id = ? AND user_id = ? AND ended_at IS NULL AND expires_at > ?";
    let active = tx.query_one::<(SessionId,)>(ACTIVE, params![session_id, user_id, Timestamp::now()]).await?;
    active.map(drop).ok_or_else(kit::session_ended)
}

/// Ends the session of the user's token.
pub async fn sign_out(user: &User) -> Result<()> {
    mysql::transaction(async |tx| {
        account::lock(tx, user.id).await?;
        // The access token first: if the commit fails, the client tries again.
        revoke_access(&[user.session_id]).await?;
        mark_ended(tx, user.session_id).await
    })
    .await
}

/// Ends one session of a locked user; 404 if it is another user's, or has ended.
pub async fn end(tx: &mut Transaction, user_id: UserId, session_id: SessionId) -> Result<()> {
    const ACTIVE: &str = "
        SELECT id FROM sessions WHERE id = ? AND user_id = ? AND ended_at IS NULL AND expires_at > ? FOR UPDATE";
    let active = tx.query_one::<(SessionId,)>(ACTIVE, params![session_id, user_id, Timestamp::now()]).await?;
    active.ok_or_else(|| Problem::not_found("session"))?;
    revoke_access(&[session_id]).await?;
    mark_ended(tx, session_id).await
}

/// Ends all sessions of a locked user but `except`: their access tokens are refused from now on, their refresh tokens
/// from the commit on.
pub async fn end_all(tx: &mut Transaction, user_id: UserId, except: Option<SessionId>) -> Result<()> {
    const ACTIVE: &str = "SELECT id FROM sessions WHERE user_id = ? AND ended_at IS NULL AND id <> ?";
    const END: &str = "UPDATE sessions SET ended_at = ? WHERE user_id = ? AND ended_at IS NULL AND id <> ?";
    let except = except.map_or(0, SessionId::get);
    let active = tx.query::<(SessionId,)>(ACTIVE, params![user_id, except]).await?;
    revoke_access(&active.into_iter().map(|(id,)| id).collect::<Vec<_>>()).await?;
    Ok(tx.execute(END, params![Timestamp::now(), user_id, except]).await?)
}

pub(crate) async fn mark_ended(tx: &mut Transaction, session_id: SessionId) -> Result<()> {
    const END: &str = "UPDATE sessions SET ended_at = ? WHERE id = ? AND ended_at IS NULL";
    Ok(tx.execute(END, params![Timestamp::now(), session_id]).await?)
}

pub(crate) async fn mark_refreshed(tx: &mut Transaction, session_id: SessionId) -> Result<()> {
    const REFRESHED: &str = "UPDATE sessions SET refreshed_at = ? WHERE id = ?";
    Ok(tx.execute(REFRESHED, params![Timestamp::now(), session_id]).await?)
}

/// Refuses the access tokens of sessions from now on.
pub(crate) async fn revoke_access(session_ids: &[SessionId]) -> Result<()> {
    auth::end_sessions(session_ids, access_ttl_seconds().await?).await
}

pub(crate) async fn access_ttl_seconds() -> Result<i64> {
    config::number("access_ttl_seconds", 1, 86_400).await
}
