//! Sign-in through an identity provider: OpenID Connect, the authorization code flow with PKCE
//! (<https://openid.net/specs/openid-connect-core-1_0.html>, RFC 7636).

mod identity;
mod pending;
mod provider;

use accounts::{Tokens, client, sign_in::sign_in};
use axum::{
    Json as Reply, Router,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use kit::{
    Problem, Result, User,
    extract::{Path, Query},
};
use pending::PendingSignIn;
use provider::{Provider, refused};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

kit::function!(router);

pub fn router() -> Router {
    Router::new()
        .route("/api/user/oidc/{provider}", get(begin))
        .route("/api/user/oidc/{provider}/callback", get(callback))
}

#[derive(OpenApi)]
#[openapi(paths(begin, callback))]
pub struct Api;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct BeginQuery {
    /// With `false` the address comes in the body of a 200, for scripts, which can't see where a redirect leads.
    redirect: Option<bool>,
}

#[derive(Serialize, ToSchema)]
struct Authorization {
    #[schema(format = "uri")]
    authorization_url: String,
}

/// Sign in through an identity provider
///
/// Redirects to the provider, which redirects back to the callback. With an access token, the identity is linked to that
/// user's account, provided that the provider has verified the account's e-mail address.
#[utoipa::path(
    get, path = "/api/user/oidc/{provider}", tag = "accounts", security((), ("bearer" = [])),
    params(("provider" = String, Path), BeginQuery),
    responses(
        (status = 200, body = Authorization, description = "With `redirect=false`"),
        (status = 302, headers(("Location" = String)), description = "To the provider"),
        (status = 404, description = "`not_found`: the shop has no such provider"),
        (status = 429, description = "`rate_limited`"),
    )
)]
async fn begin(
    user: Option<User>,
    Path(name): Path<String>,
    Query(query): Query<BeginQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let provider = Provider::configured(&name).await?;
    client::limit_rate("oidc", &headers).await?;
    let (state, pending) = PendingSignIn::store(name, user).await?;
    let authorization_url = provider.authorization_url(&state, &pending.nonce, &pending.verifier);
    let cookie = cookie(&pending.browser, pending::TTL_SECONDS, provider.is_secure());
    let headers = [(header::SET_COOKIE, cookie), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    if query.redirect == Some(false) {
        return Ok((headers, Reply(Authorization { authorization_url })).into_response());
    }
    let location = HeaderValue::try_from(authorization_url).map_err(|error| Problem::internal().because(error))?;
    Ok((StatusCode::FOUND, headers, [(header::LOCATION, location)]).into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct CallbackQuery {
    /// As in the redirect to the provider.
    #[param(pattern = "^[A-Za-z0-9_-]+$")]
    state: String,
    /// The authorization code, if the provider signed the user in.
    code: Option<String>,
    /// Why the provider did not sign the user in.
    error: Option<String>,
}

/// Complete a sign-in through an identity provider
///
/// The provider redirects here. An identity that is linked to no account gets a new one. It is never linked to an
/// existing account just because the e-mail address is the same.
#[utoipa::path(
    get, path = "/api/user/oidc/{provider}/callback", tag = "accounts",
    params(("provider" = String, Path), CallbackQuery),
    responses(
        (status = 200, body = Tokens),
        (
            status = 401,
            description = "`invalid_credentials`: the provider did not sign the user in; \
                           `unauthenticated`: the session that asked to link the identity has ended"
        ),
        (
            status = 403,
            description = "`forbidden`: the provider has not verified the account's e-mail address; `suspended`"
        ),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`identity_taken`"),
        (status = 422, description = "`invalid`"),
    )
)]
async fn callback(
    Path(name): Path<String>,
    Query(query): Query<CallbackQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let provider = Provider::configured(&name).await?;
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let browser = cookies.flat_map(|cookies| cookies.split("; ")).filter_map(|pair| pair.strip_prefix("oidc="));
    let pending = PendingSignIn::take(&query.state, &name, &browser.collect::<Vec<_>>()).await?;
    let (Some(code), None) = (query.code, query.error) else { return Err(refused()) };
    let claims = provider.claims(&code, &pending.verifier, &pending.nonce).await?;
    let account = match pending.user {
        Some((user_id, session_id)) => identity::link(&name, &claims, user_id, session_id).await?,
        None => identity::sign_in(&name, &claims).await?,
    };
    let tokens = sign_in(account, &headers).await?;
    let headers = [
        (header::SET_COOKIE, cookie("", 0, provider.is_secure())),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, Reply(tokens)).into_response())
}

/// `SameSite=Lax`, so that browsers send it when the provider redirects back.
fn cookie(value: &str, seconds: i64, secure: bool) -> HeaderValue {
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("oidc={value}; Path=/api/user/oidc; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}
