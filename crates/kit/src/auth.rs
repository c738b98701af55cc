//! Authentication: access tokens (JWT, HS256) and the extractors [`User`] and [`TokenUser`].

use std::{collections::HashSet, sync::OnceLock};

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::{Method, header, request::Parts};
use jwt_simple::prelude::*;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};
use utoipa::ToSchema;

use crate::{
    Code, Context, Problem, Result, SessionId, UserId, config,
    permissions::Permissions,
    random,
    redis::{self, Reply, Script, arg, int},
    session_ended,
};

const ISSUER: &str = "wasmall";
const AUDIENCE: &str = "wasmall";
const MIN_SECRET: usize = 32;

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    User,
    Admin,
}

impl Role {
    /// Reads the column. An unknown role, such as one of a later version, counts as `User`.
    pub fn from_column(text: &str) -> Self {
        text.parse().unwrap_or(Role::User)
    }

    /// The name in the API and the database.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The signed-in user. As an extractor it rejects with 401 if the request has no valid access token. For a write, which is
/// any method but GET and HEAD, it also rejects with 401 if the session has ended, and with 429 above the write limit.
#[derive(Debug, Clone, Copy)]
pub struct User {
    pub id: UserId,
    pub role: Role,
    /// An admin needs no permissions.
    pub permissions: Permissions,
    pub session_id: SessionId,
}

impl User {
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// Whether the user is an admin, or has one of the permissions whose bits are set.
    pub fn may(&self, permissions: u8) -> bool {
        self.is_admin() || self.permissions.has_any(permissions)
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    role: Role,
    #[serde(default, rename = "perms", skip_serializing_if = "Permissions::is_empty")]
    permissions: Permissions,
    sid: SessionId,
}

static KEY: OnceLock<HS256Key> = OnceLock::new();

async fn key() -> Result<&'static HS256Key> {
    if let Some(key) = KEY.get() {
        return Ok(key);
    }
    let secret = config::text("jwt_secret").await?;
    if secret.len() < MIN_SECRET {
        return Err(config::invalid("jwt_secret", format!("must have at least {MIN_SECRET} bytes")));
    }
    Ok(KEY.get_or_init(|| HS256Key::from_bytes(secret.as_bytes())))
}

/// Whether a text is a well-formed username: 3 to 32 ASCII letters, digits, `_`, `-` and `.`.
pub fn is_username(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    (3..=32).contains(&text.len()) && text.bytes().all(allowed)
}

/// Issues an access token that is valid for this many seconds: a JWT (RFC 7519), signed with HS256. 503 if `jwt_secret`
/// is too short.
pub async fn issue_access_token(user: User, seconds: i64) -> Result<String> {
    let lifetime = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    let User { id, role, permissions, session_id: sid } = user;
    let claims = jwt_simple::claims::Claims::with_custom_claims(Claims { role, permissions, sid }, lifetime)
        .with_issuer(ISSUER)
        .with_audience(AUDIENCE)
        .with_subject(id);
    key().await?.authenticate(claims).map_err(|error| Problem::internal().because(format!("no token: {error}")))
}

/// The user of a token; 401 `token_expired` or `unauthenticated` if it is not valid.
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
    // Tokens that we issue always expire and always name a user.
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

/// Like [`User`], but neither checks whether the session has ended nor counts a write. It is for a handler whose own Redis
/// script does both ([`Script::run_write`]), which saves a round trip.
pub struct TokenUser(pub User);

/// Like [`User`], but not counted as a write. It is for what only reads, whatever its method, and for signing out.
pub struct UncountedUser(pub User);

static CHECK_WRITE: Script = Script::new(concat!(crate::write_lua!(), "return 1"));

async fn authenticate(parts: &Parts) -> Result<User> {
    let user = verified(parts).await?;
    if parts.method != Method::GET && parts.method != Method::HEAD {
        CHECK_WRITE.run_write(user.id, user.session_id, &[], vec![]).await?;
    }
    Ok(user)
}

async fn verified(parts: &Parts) -> Result<User> {
    let header =
        parts.headers.get(header::AUTHORIZATION).ok_or_else(|| unauthenticated("An access token is required"))?;
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
        context.set_user_id(user.id);
    }
    Ok(user)
}

impl<S: Sync> FromRequestParts<S> for User {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        authenticate(parts).await
    }
}

impl<S: Sync> FromRequestParts<S> for TokenUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        verified(parts).await.map(TokenUser)
    }
}

impl<S: Sync> FromRequestParts<S> for UncountedUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let user = verified(parts).await?;
        if has_ended(user.session_id).await? {
            return Err(session_ended());
        }
        Ok(UncountedUser(user))
    }
}

/// Where no token is required, an invalid one counts as none.
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

/// Refuses the sessions' access tokens from now on. `access_ttl_seconds` is how long an access token is valid: after
/// that Redis can drop the mark.
pub async fn end_sessions(session_ids: &[SessionId], access_ttl_seconds: i64) -> Result<()> {
    let ttl = access_ttl_seconds.saturating_add(1);
    // A script blocks Redis while it runs, so the number of its arguments is bounded.
    for ids in session_ids.chunks(1000) {
        let ids = ids.iter().map(|id| id.get());
        END.run(&[], std::iter::once(ttl).chain(ids).map(int).collect()).await?;
    }
    Ok(())
}

/// Whether the access tokens of a session are refused.
pub(crate) async fn has_ended(session_id: SessionId) -> Result<bool> {
    let reply = redis::command("EXISTS", vec![arg(format!("ended:{session_id}"))]).await?;
    Ok(reply.int(0) == Some(1))
}

/// A new token for refreshing a session or resetting a password: 256 random bits.
pub fn new_secret_token() -> Result<String> {
    random::token::<32>()
}

/// The SHA-256 digest of such a token, which the database stores instead. Since the token is random, neither a salt nor
/// a slow hash is needed.
pub fn token_hash(token: &str) -> Vec<u8> {
    use sha2::Digest;
    sha2::Sha256::digest(token).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(key: &HS256Key, issuer: &str, lifetime: u64) -> String {
        let claims = Claims { role: Role::User, permissions: Permissions::default(), sid: 3.try_into().unwrap() };
        let claims = jwt_simple::claims::Claims::with_custom_claims(claims, Duration::from_secs(lifetime));
        key.authenticate(claims.with_issuer(issuer).with_audience(AUDIENCE).with_subject(7)).unwrap()
    }

    #[test]
    fn accepts_only_its_own_tokens() {
        let (ours, other) = (HS256Key::generate(), HS256Key::generate());
        let user = verify(&ours, &token(&ours, ISSUER, 60)).unwrap();
        assert_eq!((user.id.get(), user.session_id.get(), user.role), (7, 3, Role::User));
        let refused = |token: &str| verify(&ours, token).unwrap_err().code;
        assert_eq!(refused(&token(&other, ISSUER, 60)), Code::Unauthenticated);
        assert_eq!(refused(&token(&ours, "other", 60)), Code::Unauthenticated);
        let good = token(&ours, ISSUER, 60);
        let body = good.split('.').nth(1).unwrap();
        let none = crate::base64url::encode(br#"{"alg":"none","typ":"JWT"}"#);
        assert_eq!(refused(&format!("{none}.{body}.")), Code::Unauthenticated);
        assert_eq!(refused("a.b.c"), Code::Unauthenticated);
        assert_eq!(refused(""), Code::Unauthenticated);
    }

    #[test]
    fn reports_an_expired_token() {
        let key = HS256Key::generate();
        let past = jwt_simple::claims::Claims::with_custom_claims(
            Claims { role: Role::Admin, permissions: Permissions::default(), sid: 1.try_into().unwrap() },
            Duration::from_secs(1),
        );
        let mut past = past.with_issuer(ISSUER).with_audience(AUDIENCE).with_subject(7);
        past.expires_at = Some(Clock::now_since_epoch() - Duration::from_secs(2));
        assert_eq!(verify(&key, &key.authenticate(past).unwrap()).unwrap_err().code, Code::TokenExpired);
    }
}
