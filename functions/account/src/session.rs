//! `/api/user/session`

use accounts::{
    account,
    session::{self, Session},
};
use axum::Json as Reply;
use http::StatusCode;
use kit::{
    Result, SessionId, User,
    extract::{Path, Query},
    mysql,
    pagination::{Page, PageQuery},
};

/// List my sessions
///
/// Newest first.
#[utoipa::path(
    get, operation_id = "sessions", path = "/api/user/session", tag = "accounts", security(("bearer" = [])),
    params(PageQuery),
    responses((status = 200, body = Page<Session>), (status = 422, description = "`invalid`"))
)]
pub async fn list(user: User, Query(page): Query<PageQuery>) -> Result<Reply<Page<Session>>> {
    session::list(&mut mysql::connection().await?, &user, &page).await.map(Reply)
}

/// End one of my sessions
///
/// From then on its refresh token is refused, and its access token is refused for writes.
#[utoipa::path(
    delete, operation_id = "end_session", path = "/api/user/session/{session_id}", tag = "accounts",
    security(("bearer" = [])),
    params(("session_id" = SessionId, Path)),
    responses((status = 204), (status = 404, description = "`not_found`"))
)]
pub async fn end(user: User, Path(session_id): Path<SessionId>) -> Result<StatusCode> {
    mysql::transaction(async |tx| {
        account::lock(tx, user.id).await?;
        session::end(tx, user.id, session_id).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End all my other sessions
///
/// From then on their refresh tokens are refused, and their access tokens are refused for writes.
#[utoipa::path(
    delete, operation_id = "end_other_sessions", path = "/api/user/session", tag = "accounts",
    security(("bearer" = [])),
    responses((status = 204))
)]
pub async fn end_others(user: User) -> Result<StatusCode> {
    mysql::transaction(async |tx| {
        account::lock(tx, user.id).await?;
        session::end_all(tx, user.id, Some(user.session_id)).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
