//! Login, refresh, logout.

use accounts::{Account, LOCKOUT, Tokens, client_address, session};
use axum::{Json as Reply, Router, routing::post};
use http::{HeaderMap, StatusCode};
use kit::{Code, Problem, Result, User, auth, config, extract::Json, mysql, params, password, rate};
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
struct Credentials {
    username: String,
    password: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Refresh {
    refresh_token: String,
}

/// Sign in
///
/// A wrong password and an unknown name are answered alike. Ten failures in 15 minutes lock the name for 15 minutes.
#[utoipa::path(
    post, path = "/api/user/login", tag = "accounts",
    request_body = Credentials,
    responses(
        (status = 200, body = Tokens),
        (status = 401, description = "`invalid_credentials`"),
        (status = 429, description = "`rate_limited`"),
    )
)]
async fn login(headers: HeaderMap, Json(given): Json<Credentials>) -> Result<Reply<Tokens>> {
    const USER: &str = "SELECT id, username, password_hash, role, permissions FROM users WHERE username = ?";
    let (rate, burst) =
        (config::number("login_rate", 1, 1_000_000).await?, config::number("login_burst", 1, 1_000_000).await?);
    rate::limit(&format!("login:{}", client_address(&headers)), rate, burst).await?;
    // MySQL finds a name by other spellings too, with accents or a blank at its end: each would have a lock of its own.
    let name = auth::is_username(&given.username).then(|| given.username.to_ascii_lowercase());
    if let Some(name) = &name {
        LOCKOUT.check(name).await?;
    }
    let user = match &name {
        Some(name) => mysql::connection().await?.query_one::<Account>(USER, params![name]).await?,
        None => None,
    };
    // Who has none signs in elsewhere.
    let hash = user.as_ref().map(|user| user.password_hash.as_str()).filter(|hash| !hash.is_empty());
    let matches = password::verify(&given.password, hash)?;
    let Some(user) = user.filter(|_| matches) else {
        if let Some(name) = &name {
            LOCKOUT.failed(name).await?;
        }
        return Err(Problem::new(Code::InvalidCredentials, "The user name or the password is wrong"));
    };
    if let Some(name) = &name {
        LOCKOUT.succeeded(name).await?;
    }
    session::start(user, &headers).await.map(Reply)
}

/// Trade a refresh token for new tokens
///
/// A refresh token works once. One that comes a second time ends the whole session.
#[utoipa::path(
    post, path = "/api/user/refresh", tag = "accounts",
    request_body = Refresh,
    responses((status = 200, body = Tokens), (status = 401, description = "`invalid_token`"))
)]
async fn refresh(Json(given): Json<Refresh>) -> Result<Reply<Tokens>> {
    session::refresh(&given.refresh_token).await.map(Reply)
}

/// Sign out
///
/// The session's refresh token is dead at once; its access token can't change anything any more.
#[utoipa::path(
    post, path = "/api/user/logout", tag = "accounts", security(("bearer" = [])),
    responses((status = 204))
)]
async fn logout(user: User) -> Result<StatusCode> {
    session::end(user).await?;
    Ok(StatusCode::NO_CONTENT)
}
