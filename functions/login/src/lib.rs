//! Login, refresh, logout.

use accounts::{
    Tokens, account, client, lockout, password, session,
    sign_in::{self, sign_in},
};
use axum::{Json as Reply, Router, routing::post};
use http::{HeaderMap, StatusCode};
use kit::{
    Code, Problem, Result,
    auth::{self, UncountedUser},
    extract::Json,
    mysql,
    password::verify,
};
use serde::Deserialize;
use utoipa::{OpenApi, ToSchema};

kit::function!(router);

pub fn router() -> Router {
    Router::new()
        .route("/api/user/login", post(login))
        .route("/api/user/refresh", post(refresh))
        .route("/api/user/logout", post(logout))
}

#[derive(OpenApi)]
#[openapi(paths(login, refresh, logout))]
pub struct Api;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "username": "alice", "password": "correct horse" }))]
struct Credentials {
    username: String,
    #[schema(format = "password")]
    password: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "refresh_token": "dGhlIHJlZnJlc2hfdG9rZW4gb2YgdGhlIGxvZ2lu" }))]
struct Refresh {
    refresh_token: String,
}

/// Log in
///
/// A wrong password and an unknown username get the same answer. Ten failures in 15 minutes lock the username for
/// 15 minutes.
#[utoipa::path(
    post, path = "/api/user/login", tag = "accounts",
    request_body = Credentials,
    responses(
        (status = 200, body = Tokens),
        (status = 401, description = "`invalid_credentials`"),
        (status = 403, description = "`suspended`"),
        (status = 429, description = "`rate_limited`"),
    )
)]
async fn login(headers: HeaderMap, Json(given): Json<Credentials>) -> Result<Reply<Tokens>> {
    client::limit_rate("login", &headers).await?;
    let wrong = || Problem::new(Code::InvalidCredentials, "The username or the password is wrong");
    // MySQL ignores accents and spaces at the end, so other spellings find the same user. Each would have a lockout of
    // its own.
    if !auth::is_username(&given.username) {
        // Takes as long as for a real user.
        verify(&given.password, None).await?;
        return Err(wrong());
    }
    lockout::check(&given.username).await?;
    let account = account::find_by_username(&mut mysql::connection().await?, &given.username).await?;
    let is_right = password::verify(&given.username, account.as_ref(), &given.password).await?;
    let account = account.filter(|_| is_right).ok_or_else(wrong)?;
    sign_in(account, &headers).await.map(Reply)
}

/// Refresh the access token
///
/// A refresh token works once: the reply has the next one. Using it again ends the session.
#[utoipa::path(
    post, path = "/api/user/refresh", tag = "accounts",
    request_body = Refresh,
    responses((status = 200, body = Tokens), (status = 401, description = "`invalid_token`"), (status = 429, description = "`rate_limited`"))
)]
async fn refresh(Json(given): Json<Refresh>) -> Result<Reply<Tokens>> {
    sign_in::refresh(&given.refresh_token).await.map(Reply)
}

/// Log out
///
/// From then on the session's refresh token is refused, and its access token is refused for writes.
#[utoipa::path(
    post, path = "/api/user/logout", tag = "accounts", security(("bearer" = [])),
    responses((status = 204))
)]
async fn logout(UncountedUser(user): UncountedUser) -> Result<StatusCode> {
    session::sign_out(&user).await?;
    Ok(StatusCode::NO_CONTENT)
}
