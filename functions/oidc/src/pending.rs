//! Pending sign-ins, until the user returns from the provider: in Redis, by their `state`.

use kit::{
    Problem, Result, SessionId, User, UserId, random,
    redis::{self, Reply, arg, int},
};
use serde::{Deserialize, Serialize};

/// How long the user may take to sign in at the provider, in seconds.
pub const TTL_SECONDS: i64 = 600;

#[derive(Serialize, Deserialize)]
pub struct PendingSignIn {
    provider: String,
    /// The ID token must repeat it.
    pub nonce: String,
    /// The PKCE code verifier (RFC 7636): proves to the provider that the code is used by whoever began the sign-in.
    pub verifier: String,
    /// The cookie of the browser that began the sign-in: the `state` is refused from any other.
    pub browser: String,
    /// The user to whose account the identity is to be linked, and the session that requested it.
    pub user: Option<(UserId, SessionId)>,
}

impl PendingSignIn {
    /// Stores a new sign-in; returns its `state` and the sign-in.
    pub async fn store(provider: String, user: Option<User>) -> Result<(String, Self)> {
        let pending = PendingSignIn {
            provider,
            nonce: random::token::<32>()?,
            verifier: random::token::<32>()?,
            browser: random::token::<32>()?,
            user: user.map(|user| (user.id, user.session_id)),
        };
        let state = random::token::<32>()?;
        let json = serde_json::to_string(&pending).map_err(|error| Problem::internal().because(error))?;
        redis::command("SET", vec![arg(key(&state)), arg(json), arg("EX"), int(TTL_SECONDS)]).await?;
        Ok((state, pending))
    }

    /// Removes and returns the sign-in that this browser began; 422 if there is none. `cookies` are the values that the
    /// browser sent.
    pub async fn take(state: &str, provider: &str, cookies: &[&str]) -> Result<Self> {
        let reply = redis::command("GETDEL", vec![arg(key(state))]).await?;
        reply
            .text(0)
            .and_then(|json| serde_json::from_str::<PendingSignIn>(json).ok())
            .filter(|pending| pending.provider == provider && cookies.contains(&pending.browser.as_str()))
            .ok_or_else(|| Problem::invalid("state", "does not belong to a sign-in of this browser; start again"))
    }
}

fn key(state: &str) -> String {
    format!("oidc:{state}")
}
