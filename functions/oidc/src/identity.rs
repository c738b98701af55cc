//! Whose identity it is here.

use accounts::{Account, find, lock, session};
use kit::{
    Code, Problem, Result, Timestamp, auth,
    check::Checks,
    mysql::{self, Error, Transaction},
    opaque, params,
};

use crate::provider::Claims;

/// The account that the identity belongs to; a new one if it is not known.
pub async fn sign_in(provider: &str, claims: &Claims) -> Result<Account> {
    mysql::transaction(async |tx| match owner(tx, provider, claims).await? {
        Some(user_id) => find(tx, user_id).await,
        None => {
            let user_id = create(tx, claims).await?;
            insert(tx, provider, claims, user_id).await?;
            find(tx, user_id).await
        }
    })
    .await
}

/// Links the identity to a user's account. 403 unless the provider has verified the account's e-mail address, or the
/// account has none; 409 `identity_taken` if it is somebody else's, or the user has another one there; 401 if the session
/// that asked for it has ended meanwhile.
pub async fn link(provider: &str, claims: &Claims, user_id: i64, session_id: i64) -> Result<Account> {
    const EMAIL: &str = "SELECT email FROM users WHERE id = ?";
    const SET: &str = "UPDATE users SET email = ? WHERE id = ?";
    let verified = verified_email(claims);
    mysql::transaction(async |tx| {
        let user = lock(tx, user_id).await?;
        session::must_run(tx, user_id, session_id).await?;
        match owner(tx, provider, claims).await? {
            Some(owner) if owner == user_id => return Ok(user),
            Some(_) => return Err(taken("Another account has this identity")),
            None => {}
        }
        let own: Option<(Option<String>,)> = tx.query_one(EMAIL, params![user_id]).await?;
        match (own.and_then(|(email,)| email), verified) {
            (Some(own), Some(verified)) if own.eq_ignore_ascii_case(verified) => {}
            (None, Some(verified)) => tx.execute(SET, params![verified, user_id]).await?,
            _ => {
                let detail = "The provider has not verified the e-mail address of your account";
                return Err(Problem::new(Code::Forbidden, detail));
            }
        }
        insert(tx, provider, claims, user_id).await?;
        Ok(user)
    })
    .await
}

fn verified_email(claims: &Claims) -> Option<&str> {
    let email = claims.email.as_deref().filter(|_| claims.email_verified)?;
    Checks::new().email("email", email).done().is_ok().then_some(email)
}

fn taken(detail: &str) -> Problem {
    Problem::new(Code::IdentityTaken, detail)
}

async fn owner(tx: &mut Transaction, provider: &str, claims: &Claims) -> Result<Option<i64>> {
    const OWNER: &str = "SELECT user_id FROM identities WHERE provider = ? AND subject = ?";
    let found = tx.query_one::<(i64,)>(OWNER, params![provider, &claims.sub]).await?;
    Ok(found.map(|(user_id,)| user_id))
}

async fn insert(tx: &mut Transaction, provider: &str, claims: &Claims, user_id: i64) -> Result<()> {
    const INSERT: &str = "INSERT INTO identities (provider, subject, user_id, created_at) VALUES (?, ?, ?, ?)";
    const OTHER: &str = "SELECT user_id FROM identities WHERE user_id = ? AND provider = ?";
    if tx.query_one::<(i64,)>(OTHER, params![user_id, provider]).await?.is_some() {
        return Err(taken("Your account has another identity of this provider"));
    }
    match tx.execute(INSERT, params![provider, &claims.sub, user_id, Timestamp::now()]).await {
        Ok(()) => Ok(()),
        // The same person, twice at once: the other attempt has made the account.
        Err(Error::Duplicate { .. }) => Err(Problem::conflict()),
        Err(error) => Err(error.into()),
    }
}

/// An account without a password, by the name that the user has there if it is free here.
async fn create(tx: &mut Transaction, claims: &Claims) -> Result<i64> {
    const INSERT: &str = "INSERT INTO users (username, password_hash, email, created_at) VALUES (?, '', ?, ?)";
    const EXISTS: &str = "SELECT id FROM users WHERE username = ?";
    let wanted = claims.preferred_username.as_deref().filter(|name| auth::is_username(name));
    let free = match wanted {
        Some(name) => tx.query_one::<(i64,)>(EXISTS, params![name]).await?.is_none().then(|| name.to_owned()),
        None => None,
    };
    let name = match free {
        Some(name) => name,
        None => format!("user-{}", opaque::to_base64(&opaque::random::<9>()?)),
    };
    match tx.execute(INSERT, params![name, verified_email(claims), Timestamp::now()]).await {
        Ok(()) => Ok(tx.last_insert_id().await?),
        Err(Error::Duplicate { .. }) => Err(Problem::conflict()),
        Err(error) => Err(error.into()),
    }
}
