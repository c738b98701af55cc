//! Sign-in by an identity from elsewhere: OpenID Connect, the authorization code flow with PKCE
//! (<https://openid.net/specs/openid-connect-core-1_0.html>, RFC 7636).

mod identity;
mod provider;

use accounts::{Tokens, client_address, session};
use axum::{
    Json as Reply, Router,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use kit::{
    Code, Problem, Result, User, config,
    extract::{Path, Query},
    opaque, rate,
    redis::{self, Reply as _, arg, int},
};
use provider::Provider;
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

/// How long somebody may take to sign in at the provider.
const PATIENCE_SECONDS: i64 = 600;

/// What is kept of a sign-in under way, under its `state`.
#[derive(Serialize, Deserialize)]
struct Attempt {
    provider: String,
    /// What the ID token has to repeat.
    nonce: String,
    /// What proves to the token endpoint that it was we who began (PKCE).
    verifier: String,
    /// What the browser that began has in a cookie: a `state` from anywhere else is worth nothing.
    browser: String,
    /// Who was signed in and wants the identity linked, and their session.
    user: Option<(i64, i64)>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Beginning {
    /// `false`: 200 with the address in the body, for a script that can't see a redirect.
    redirect: Option<bool>,
}

#[derive(Serialize, ToSchema)]
struct Address {
    authorization_url: String,
}

/// Sign in elsewhere
///
/// Leads to the provider, which leads back. With an access token, the identity is linked to that account if the provider
/// has verified the account's e-mail address.
#[utoipa::path(
    get, path = "/api/user/oidc/{provider}", tag = "accounts", security((), ("bearer" = [])),
    params(("provider" = String, Path), Beginning),
    responses(
        (status = 200, body = Address, description = "With `redirect=false`"),
        (status = 302, headers(("Location" = String)), description = "To the provider"),
        (status = 404, description = "`not_found`: the shop has no such provider"),
        (status = 429, description = "`rate_limited`"),
    )
)]
async fn begin(
    user: Option<User>,
    Path(name): Path<String>,
    Query(how): Query<Beginning>,
    headers: HeaderMap,
) -> Result<Response> {
    let provider = Provider::configured(&name).await?;
    let (rate, burst) =
        (config::number("login_rate", 1, 1_000_000).await?, config::number("login_burst", 1, 1_000_000).await?);
    rate::limit(&format!("oidc:{}", client_address(&headers)), rate, burst).await?;
    let random = || opaque::random::<32>().map(|bytes| opaque::to_base64(&bytes));
    let (state, attempt) = (
        random()?,
        Attempt {
            provider: name,
            nonce: random()?,
            verifier: random()?,
            browser: random()?,
            user: user.map(|user| (user.id, user.session_id)),
        },
    );
    let json = serde_json::to_string(&attempt).map_err(|_| Problem::internal())?;
    redis::command("SET", vec![arg(key(&state)), arg(json), arg("EX"), int(PATIENCE_SECONDS)]).await?;
    let authorization_url = provider.authorization_url(&state, &attempt.nonce, &attempt.verifier);
    let cookie = cookie(&attempt.browser, PATIENCE_SECONDS, provider.is_secure());
    let headers = [(header::SET_COOKIE, cookie), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    if how.redirect == Some(false) {
        return Ok((headers, Reply(Address { authorization_url })).into_response());
    }
    let location = HeaderValue::try_from(authorization_url).map_err(|_| Problem::internal())?;
    Ok((StatusCode::FOUND, headers, [(header::LOCATION, location)]).into_response())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Answer {
    state: String,
    code: Option<String>,
    /// Why the provider did not sign anybody in.
    error: Option<String>,
}

/// Come back from there
///
/// Whom the shop does not know yet gets an account; it is never linked to one that only has the same e-mail address.
#[utoipa::path(
    get, path = "/api/user/oidc/{provider}/callback", tag = "accounts",
    params(("provider" = String, Path), Answer),
    responses(
        (status = 200, body = Tokens),
        (
            status = 401,
            description = "`invalid_credentials`: the provider signed nobody in; \
                           `unauthenticated`: the session that is to be linked has ended"
        ),
        (status = 403, description = "`forbidden`: the provider has not verified the account's e-mail address"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`identity_taken`"),
        (status = 422, description = "`invalid`"),
    )
)]
async fn callback(Path(name): Path<String>, Query(answer): Query<Answer>, headers: HeaderMap) -> Result<Response> {
    let provider = Provider::configured(&name).await?;
    let attempt = attempt(&name, &answer.state, &headers).await?;
    let code = match (answer.code, answer.error) {
        (Some(code), None) => code,
        _ => return Err(Problem::new(Code::InvalidCredentials, "The provider did not sign you in")),
    };
    let claims = provider.claims(&code, &attempt.verifier, &attempt.nonce).await?;
    let account = match attempt.user {
        Some((user_id, session_id)) => identity::link(&name, &claims, user_id, session_id).await?,
        None => identity::sign_in(&name, &claims).await?,
    };
    let tokens = session::start(account, &headers).await?;
    let headers = [
        (header::SET_COOKIE, cookie("", 0, provider.is_secure())),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, Reply(tokens)).into_response())
}

/// The attempt that the browser began, once; 422 otherwise.
async fn attempt(name: &str, state: &str, headers: &HeaderMap) -> Result<Attempt> {
    let begun = match redis::command("GETDEL", vec![arg(key(state))]).await?.text(0) {
        Some(json) => serde_json::from_str::<Attempt>(json).ok(),
        None => None,
    };
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split("; "));
    begun
        .filter(|attempt| attempt.provider == name)
        .filter(|attempt| pairs.any(|pair| pair.strip_prefix("oidc=") == Some(attempt.browser.as_str())))
        .ok_or_else(|| Problem::invalid("state", "belongs to no sign-in that this browser began: begin again"))
}

fn key(state: &str) -> String {
    format!("oidc:{state}")
}

/// Lax: it has to come along when the provider leads back.
fn cookie(value: &str, seconds: i64, secure: bool) -> HeaderValue {
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("oidc={value}; Path=/api/user/oidc; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}
