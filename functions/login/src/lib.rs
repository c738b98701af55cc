//! Login, refresh, logout: the only function that mints tokens.

mod session;

use axum::{Json as Reply, Router, routing::post};
use http::{HeaderMap, StatusCode};
use kit::{
    Code, Problem, Result, User,
    auth::{self, Role},
    config,
    extract::Json,
    mysql, params, password,
    rate::{self, Lockout},
    row,
    staff::Permissions,
};
use serde::{Deserialize, Serialize};
use session::Account;
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

/// So many wrong passwords within so long lock a name for as long.
const LOCKOUT: Lockout = Lockout { failures: 10, seconds: 15 * 60 };

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

#[derive(Serialize, ToSchema)]
struct Tokens {
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

row! {
    struct UserRow { id: i64, username: String, password_hash: String, role: String, permissions: i64 }
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
        Some(name) => mysql::connection().await?.query_one::<UserRow>(USER, params![name]).await?,
        None => None,
    };
    let matches = password::verify(&given.password, user.as_ref().map(|user| user.password_hash.as_str()))?;
    let Some(user) = user.filter(|_| matches) else {
        if let Some(name) = &name {
            LOCKOUT.failed(name).await?;
        }
        return Err(Problem::new(Code::InvalidCredentials, "The user name or the password is wrong"));
    };
    if let Some(name) = &name {
        LOCKOUT.succeeded(name).await?;
    }
    let account = Account {
        id: user.id,
        username: user.username,
        role: Role::from_column(&user.role),
        permissions: Permissions::from_bits(user.permissions),
    };
    session::start(account, &headers).await.map(Reply)
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

/// The client's IP address, as Spin saw it; a proxy's if there is one before it.
fn client_address(headers: &HeaderMap) -> &str {
    let address = headers.get("spin-client-addr").and_then(|value| value.to_str().ok()).unwrap_or("unknown");
    address.rsplit_once(':').map_or(address, |(ip, _port)| ip)
}
