//! Who asks: access tokens (JWT, HS256) and the extractor [`User`].

use std::{collections::HashSet, sync::OnceLock};

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::{Method, header, request::Parts};
use jwt_simple::prelude::*;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Code, Context, Problem, Result, config, log, opaque,
    redis::{self, Reply, Script, arg, int},
    staff::Permissions,
};

const ISSUER: &str = "wasmall";
const AUDIENCE: &str = "wasmall";
const MIN_SECRET: usize = 32;

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    User,
    Admin,
}

impl Role {
    /// As the database keeps it.
    pub fn name(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Admin => "admin",
        }
    }

    /// From what the database keeps. What is no role of ours may do no more than a user.
    pub fn from_column(text: &str) -> Self {
        if text == "admin" { Role::Admin } else { Role::User }
    }
}

/// Who is signed in. As an extractor: 401 if nobody is. For what writes, a token of a session that has ended counts
/// as none.
#[derive(Debug, Clone, Copy)]
pub struct User {
    pub id: i64,
    pub role: Role,
    /// What an admin may do without.
    pub permissions: Permissions,
    pub session_id: i64,
}

impl User {
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    role: Role,
    #[serde(default, rename = "perms", skip_serializing_if = "Permissions::is_empty")]
    permissions: Permissions,
    sid: i64,
}

static KEY: OnceLock<HS256Key> = OnceLock::new();

async fn key() -> Result<&'static HS256Key> {
    if let Some(key) = KEY.get() {
        return Ok(key);
    }
    let secret = config::text("jwt_secret").await?;
    if secret.len() < MIN_SECRET {
        return Err(config::bad("jwt_secret", &format!("must have at least {MIN_SECRET} bytes")));
    }
    Ok(KEY.get_or_init(|| HS256Key::from_bytes(secret.as_bytes())))
}

/// 3 to 32 letters, digits, `_`, `-`, `.`, all of ASCII.
pub fn is_username(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    (3..=32).contains(&text.len()) && text.bytes().all(allowed)
}

/// An access token that lives for so many seconds.
pub async fn mint(user: User, seconds: i64) -> Result<String> {
    let lifetime = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    let User { id, role, permissions, session_id: sid } = user;
    let claims = jwt_simple::claims::Claims::with_custom_claims(Claims { role, permissions, sid }, lifetime)
        .with_issuer(ISSUER)
        .with_audience(AUDIENCE)
        .with_subject(id);
    key().await?.authenticate(claims).map_err(|error| {
        log::error(None, "no token could be made", &error);
        Problem::internal()
    })
}

/// The user whom a token names; `token_expired` or `unauthenticated` if it is not good.
fn verify(key: &HS256Key, token: &str) -> Result<User> {
    let options = VerificationOptions {
        allowed_issuers: Some(HashSet::from([ISSUER.to_owned()])),
        allowed_audiences: Some(HashSet::from([AUDIENCE.to_owned()])),
        time_tolerance: Some(Duration::from_secs(0)),
        // Another replica's clock may be ahead.
        accept_future: true,
        max_token_length: Some(4096),
        ..VerificationOptions::default()
    };
    let claims = key.verify_token::<Claims>(token, Some(options)).map_err(|error| {
        match error.downcast_ref::<jwt_simple::JWTError>() {
            Some(jwt_simple::JWTError::TokenHasExpired) => {
                Problem::new(Code::TokenExpired, "The access token has expired; refresh it")
            }
            _ => unauthenticated("The access token is not valid"),
        }
    })?;
    // Ours always end, and always name a user.
    let (Some(subject), Some(_)) = (claims.subject, claims.expires_at) else {
        return Err(unauthenticated("The access token is not valid"));
    };
    let id = subject.parse().map_err(|_| unauthenticated("The access token is not valid"))?;
    let Claims { role, permissions, sid: session_id } = claims.custom;
    Ok(User { id, role, permissions, session_id })
}

fn unauthenticated(detail: &str) -> Problem {
    Problem::new(Code::Unauthenticated, detail)
}

/// Who a token names. As an extractor: 401 if it is not good. Whether its session has ended is not looked up: who takes
/// this does so in a script of its own: a session has ended if there is a key `ended:<session>`.
pub struct Bearer(pub User);

async fn authenticate(parts: &Parts) -> Result<User> {
    let user = verified(parts).await?;
    if parts.method != Method::GET && parts.method != Method::HEAD && has_ended(user.session_id).await? {
        return Err(session_ended());
    }
    Ok(user)
}

/// For a token whose session has ended.
pub fn session_ended() -> Problem {
    unauthenticated("The session has ended")
}

async fn verified(parts: &Parts) -> Result<User> {
    let header =
        parts.headers.get(header::AUTHORIZATION).ok_or_else(|| unauthenticated("An access token is needed"))?;
    let (scheme, token) = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or_else(|| unauthenticated("Send Bearer <token>"))?;
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(unauthenticated("Send Bearer <token>"));
    }
    let user = verify(key().await?, token.trim())?;
    if let Some(context) = parts.extensions.get::<Context>() {
        context.signed_in(user.id);
    }
    Ok(user)
}

impl<S: Sync> FromRequestParts<S> for User {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        authenticate(parts).await
    }
}

impl<S: Sync> FromRequestParts<S> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        verified(parts).await.map(Bearer)
    }
}

/// Where a token is not needed, a bad one counts as none.
impl<S: Sync> OptionalFromRequestParts<S> for User {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>> {
        match authenticate(parts).await {
            Ok(user) => Ok(Some(user)),
            Err(problem) if matches!(problem.code, Code::Unauthenticated | Code::TokenExpired) => Ok(None),
            Err(problem) => Err(problem),
        }
    }
}

/// ARGV: seconds, then sessions.
static END: Script = Script::new(
    r"
    for i = 2, #ARGV do redis.call('SET', 'ended:' .. ARGV[i], '1', 'EX', ARGV[1]) end
    return 1",
);

/// Refuses the access tokens of sessions for as long as they could still live.
pub async fn end_sessions(session_ids: &[i64], access_ttl_seconds: i64) -> Result<()> {
    let ttl = access_ttl_seconds.saturating_add(1);
    // As many as a script's parameters may be, with room to spare.
    for ids in session_ids.chunks(1000) {
        END.run(&[], [ttl].iter().chain(ids).map(|number| int(*number)).collect()).await?;
    }
    Ok(())
}

async fn has_ended(session_id: i64) -> Result<bool> {
    let reply = redis::command("EXISTS", vec![arg(format!("ended:{session_id}"))]).await?;
    Ok(reply.int(0) == Some(1))
}

/// A refresh token or one that comes by mail: for who gets it alone.
pub fn new_secret_token() -> Result<String> {
    Ok(opaque::to_base64(&opaque::random::<32>()?))
}

/// What the database keeps of such a token. It is random, so a plain digest does.
pub fn token_hash(token: &str) -> Vec<u8> {
    use sha2::Digest;
    sha2::Sha256::digest(token).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(key: &HS256Key, issuer: &str, lifetime: u64) -> String {
        let claims = Claims { role: Role::User, permissions: Permissions::default(), sid: 3 };
        let claims = jwt_simple::claims::Claims::with_custom_claims(claims, Duration::from_secs(lifetime));
        key.authenticate(claims.with_issuer(issuer).with_audience(AUDIENCE).with_subject(7)).unwrap()
    }

    #[test]
    fn takes_its_own_tokens_only() {
        let (ours, other) = (HS256Key::generate(), HS256Key::generate());
        let user = verify(&ours, &token(&ours, ISSUER, 60)).unwrap();
        assert_eq!((user.id, user.session_id, user.role), (7, 3, Role::User));
        let refused = |token: &str| verify(&ours, token).unwrap_err().code;
        assert_eq!(refused(&token(&other, ISSUER, 60)), Code::Unauthenticated);
        assert_eq!(refused(&token(&ours, "somebody", 60)), Code::Unauthenticated);
        let good = token(&ours, ISSUER, 60);
        let body = good.split('.').nth(1).unwrap();
        let none = opaque::to_base64(br#"{"alg":"none","typ":"JWT"}"#);
        assert_eq!(refused(&format!("{none}.{body}.")), Code::Unauthenticated);
        assert_eq!(refused("a.b.c"), Code::Unauthenticated);
        assert_eq!(refused(""), Code::Unauthenticated);
    }

    #[test]
    fn says_that_a_token_has_expired() {
        let key = HS256Key::generate();
        let past = jwt_simple::claims::Claims::with_custom_claims(
            Claims { role: Role::Admin, permissions: Permissions::default(), sid: 1 },
            Duration::from_secs(1),
        );
        let mut past = past.with_issuer(ISSUER).with_audience(AUDIENCE).with_subject(7);
        past.expires_at = Some(Clock::now_since_epoch() - Duration::from_secs(2));
        assert_eq!(verify(&key, &key.authenticate(past).unwrap()).unwrap_err().code, Code::TokenExpired);
    }
}
