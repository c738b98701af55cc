//! Identities at OpenID Connect providers, through which users sign in.

use kit::{
    Code, Problem, Result, Timestamp, UserId,
    mysql::{Connection, Error, Transaction},
    params,
};

/// An identity: the provider's name, and its `sub` for the user.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    pub provider: &'a str,
    pub subject: &'a str,
}

/// The user to whom the identity is linked.
pub async fn find_user(db: &mut Connection, identity: Identity<'_>) -> Result<Option<UserId>> {
    const USER: &str = "SELECT user_id FROM identities WHERE provider = ? AND subject = ?";
    let found = db.query_one::<(UserId,)>(USER, params![identity.provider, identity.subject]).await?;
    Ok(found.map(|(user_id,)| user_id))
}

/// Links an identity that is linked to nobody yet. 409 `identity_taken` if the user already has one of this provider.
pub async fn insert(tx: &mut Transaction, identity: Identity<'_>, user_id: UserId) -> Result<()> {
    const INSERT: &str = "INSERT INTO identities (provider, subject, user_id, created_at) VALUES (?, ?, ?, ?)";
    let values = params![identity.provider, identity.subject, user_id, Timestamp::now()];
    tx.execute(INSERT, values).await.map_err(|error| match &error {
        Error::Duplicate { key } if key == "uq_identities_user" => {
            identity_taken("Your account is already linked to another identity of this provider")
        }
        // Another transaction has just linked it: the next attempt finds the user.
        Error::Duplicate { .. } => Problem::conflict().because(error),
        _ => error.into(),
    })
}

/// 409 `identity_taken`.
pub fn identity_taken(detail: &str) -> Problem {
    Problem::new(Code::IdentityTaken, detail)
}
