//! Authentication: access tokens (JWT, HS256) and the extractors [`User`] and [`TokenUser`].

use std::{borrow::Cow, sync::OnceLock};

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::{Method, header, request::Parts};
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};
use utoipa::ToSchema;

use crate::{
    Code, Context, Problem, Result, SessionId, Timestamp, UserId, config,
    jwt::Key,
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
    pub fn may(&self, permissions: u16) -> bool {
        self.is_admin() || self.permissions.has_any(permissions)
    }
}

/// The claims of an access token. The times are in seconds since 1970.
#[derive(Serialize, Deserialize)]
struct Claims<'a> {
    iss: Cow<'a, str>,
    aud: Cow<'a, str>,
    sub: String,
    iat: i64,
    exp: i64,
    role: Role,
    #[serde(default, rename = "perms", skip_serializing_if = "Permissions::is_empty")]
    permissions: Permissions,
    sid: SessionId,
}

static KEY: OnceLock<Key> = OnceLock::new();

async fn key() -> Result<&'static Key> {
    if let Some(key) = KEY.get() {
        return Ok(key);
    }
    let secret = config::text("jwt_secret").await?;
    let too_short = || config::invalid("jwt_secret", format!("must have at least {MIN_SECRET} bytes"));
    let key = Key::new(secret.as_bytes()).filter(|_| secret.len() >= MIN_SECRET).ok_or_else(too_short)?;
    Ok(KEY.get_or_init(|| key))
}

/// Whether a text is a well-formed username: 3 to 32 ASCII letters, digits, `_`, `-` and `.`.
pub fn is_username(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    (3..=32).contains(&text.len()) && text.bytes().all(allowed)
}

/// Issues an access token that is valid for this many seconds. 503 if `jwt_secret` is too short.
pub async fn issue_access_token(user: User, seconds: i64) -> Result<String> {
    issue(key().await?, user, seconds).map_err(|error| Problem::internal().because(format!("no token: {error}")))
}

fn issue(key: &Key, user: User, seconds: i64) -> serde_json::Result<String> {
    let User { id, role, permissions, session_id: sid } = user;
    let iat = Timestamp::now().0 / 1000;
    let exp = iat.saturating_add(seconds);
    key.sign(&Claims {
        iss: ISSUER.into(),
        aud: AUDIENCE.into(),
        sub: id.to_string(),
        iat,
        exp,
        role,
        permissions,
        sid,
    })
}

/// The user of a token; 401 `token_expired` or `unauthenticated` if it is not valid. Its `iat` is not looked at: another
/// replica's clock may be ahead.
fn verify(key: &Key, token: &str) -> Result<User> {
    let invalid = || unauthenticated("The access token is not valid");
    let claims: Claims = key.verify(token).ok_or_else(invalid)?;
    if claims.iss != ISSUER || claims.aud != AUDIENCE {
        return Err(invalid());
    }
    if claims.exp <= Timestamp::now().0 / 1000 {
        return Err(Problem::new(Code::TokenExpired, "The access token has expired; refresh it"));
    }
    let id = claims.sub.parse().map_err(|_| invalid())?;
    let Claims { role, permissions, sid: session_id, .. } = claims;
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
    use serde_json::{Value, json};

    use super::*;

    fn user() -> User {
        let (id, session_id) = (7.try_into().unwrap(), 3.try_into().unwrap());
        User { id, role: Role::User, permissions: Permissions::default(), session_id }
    }

    #[test]
    fn accepts_only_its_own_tokens() {
        let (ours, other) = (Key::new(b"ours").unwrap(), Key::new(b"other").unwrap());
        let found = verify(&ours, &issue(&ours, user(), 60).unwrap()).unwrap();
        assert_eq!((found.id, found.session_id, found.role), (user().id, user().session_id, user().role));
        let refused = |token: &str| verify(&ours, token).unwrap_err().code;
        assert_eq!(refused(&issue(&other, user(), 60).unwrap()), Code::Unauthenticated);
        assert_eq!(refused(""), Code::Unauthenticated);
        let (now, sid) = (Timestamp::now().0 / 1000, user().session_id);
        let claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "7", "iat": now, "exp": now + 60, "role": "user", "sid": sid });
        let with = |name: &str, value: Value| {
            let mut claims = claims.clone();
            claims[name] = value;
            ours.sign(&claims).unwrap()
        };
        assert!(verify(&ours, &with("iat", json!(now + 3600))).is_ok(), "a clock may be ahead");
        for (name, value) in [
            ("iss", json!("other")),
            ("aud", json!("other")),
            ("sub", json!("x")),
            ("sub", json!("0")),
            ("exp", Value::Null),
            ("role", json!("owner")),
            ("sid", json!(-1)),
        ] {
            assert_eq!(refused(&with(name, value)), Code::Unauthenticated, "{name}");
        }
    }

    #[test]
    fn reports_an_expired_token() {
        let key = Key::new(b"key").unwrap();
        for seconds in [-2, 0] {
            let token = issue(&key, user(), seconds).unwrap();
            assert_eq!(verify(&key, &token).unwrap_err().code, Code::TokenExpired);
        }
    }
}
