//! `/api/user/session`: where one is signed in.

use accounts::{lock, session};
use axum::Json as Reply;
use http::StatusCode;
use kit::{
    Result, Timestamp, User,
    extract::{Path, Query},
    mysql,
    page::{Page, PageQuery},
    params, row,
};
use serde::Serialize;
use utoipa::ToSchema;

row! {
    struct SessionRow {
        session_id: i64, created_at: Timestamp, refreshed_at: Option<Timestamp>, expires_at: Timestamp,
        user_agent: Option<String>, address: Option<String>,
    }
}

#[derive(Serialize, ToSchema)]
pub struct Session {
    session_id: i64,
    created_at: Timestamp,
    /// When its refresh token was used last.
    #[schema(required)]
    refreshed_at: Option<Timestamp>,
    expires_at: Timestamp,
    /// What it was begun with.
    #[schema(required)]
    user_agent: Option<String>,
    /// From where it was begun: an IP address.
    #[schema(required)]
    address: Option<String>,
    /// The one that this request belongs to.
    current: bool,
}

/// One's sessions, the newest first
#[utoipa::path(
    get, operation_id = "sessions", path = "/api/user/session", tag = "accounts", security(("bearer" = [])),
    params(PageQuery),
    responses((status = 200, body = Page<Session>), (status = 422, description = "`invalid`"))
)]
pub async fn list(user: User, Query(page): Query<PageQuery>) -> Result<Reply<Page<Session>>> {
    const SESSIONS: &str = "
        SELECT id AS session_id, created_at, refreshed_at, expires_at, user_agent, address FROM sessions
        WHERE user_id = ? AND ended_at IS NULL AND expires_at > ? AND id < ? ORDER BY id DESC LIMIT ?";
    let (limit, before) = (page.limit()?, page.cursor::<i64>()?.unwrap_or(i64::MAX));
    let values = params![user.id, Timestamp::now(), before, i64::from(limit).saturating_add(1)];
    let rows = mysql::connection().await?.query::<SessionRow>(SESSIONS, values).await?;
    let sessions = rows.into_iter().map(|row| Session {
        session_id: row.session_id,
        created_at: row.created_at,
        refreshed_at: row.refreshed_at,
        expires_at: row.expires_at,
        user_agent: row.user_agent,
        address: row.address,
        current: row.session_id == user.session_id,
    });
    Ok(Reply(Page::new(sessions.collect(), limit, |session| session.session_id)))
}

/// End one of one's sessions
///
/// Its refresh token is dead at once; its access token can't change anything any more.
#[utoipa::path(
    delete, operation_id = "end_session", path = "/api/user/session/{session_id}", tag = "accounts",
    security(("bearer" = [])),
    params(("session_id" = i64, Path)),
    responses((status = 204), (status = 404, description = "`not_found`"))
)]
pub async fn end(user: User, Path(session_id): Path<i64>) -> Result<StatusCode> {
    mysql::transaction(async |tx| {
        lock(tx, user.id).await?;
        session::end_one(tx, user.id, session_id).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End all of one's sessions but this
#[utoipa::path(
    delete, operation_id = "end_other_sessions", path = "/api/user/session", tag = "accounts",
    security(("bearer" = [])),
    responses((status = 204))
)]
pub async fn end_others(user: User) -> Result<StatusCode> {
    mysql::transaction(async |tx| {
        lock(tx, user.id).await?;
        session::end_all(tx, user.id, Some(user.session_id)).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
