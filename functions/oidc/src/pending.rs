//! Sign-ins that have begun and wait for the user to come back from the provider: in Redis, by their `state`.

use kit::{
    Problem, Result, SessionId, User, UserId, random,
    redis::{self, Reply, arg, int},
};
use serde::{Deserialize, Serialize};

/// How long the user may take at the provider.
pub const TTL_SECONDS: i64 = 600;

#[derive(Serialize, Deserialize)]
pub struct PendingSignIn {
    provider: String,
    /// The ID token must repeat it.
    pub nonce: String,
    /// Proves to the provider that whoever sends the code also began the sign-in (PKCE).
    pub verifier: String,
    /// The browser that began has it in a cookie: a `state` that comes from elsewhere is refused.
    pub browser: String,
    /// The user to whose account the identity is to be linked, and the session that asked for it.
    pub user: Option<(UserId, SessionId)>,
}

impl PendingSignIn {
    /// Begins a sign-in; returns its `state`, too.
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

    /// The sign-in that this browser began, once; 422 if there is none. `cookies` are those that it sent.
    pub async fn take(state: &str, provider: &str, cookies: &[&str]) -> Result<Self> {
        let reply = redis::command("GETDEL", vec![arg(key(state))]).await?;
        reply
            .text(0)
            .and_then(|json| serde_json::from_str::<PendingSignIn>(json).ok())
            .filter(|pending| pending.provider == provider && cookies.contains(&pending.browser.as_str()))
            .ok_or_else(|| Problem::invalid("state", "is not of a sign-in that this browser began; begin again"))
    }
}

fn key(state: &str) -> String {
    format!("oidc:{state}")
}
