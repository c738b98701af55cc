//! Identities at OpenID Connect providers, through which users sign in.

use kit::{
    Code, IdentityId, Problem, Result, Timestamp, UserId,
    mysql::{Connection, Error, Transaction},
    params, row,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    Account,
    notice::{self, Change},
};

row! {
    /// An identity that is linked to an account.
    #[derive(Serialize, ToSchema)]
    pub struct LinkedIdentity {
        identity_id: IdentityId as "id",
        #[schema(example = "google")]
        pub provider: String,
        linked_at: Timestamp as "created_at",
    }
}

/// A user's identities, the oldest first.
pub async fn list(db: &mut Connection, user_id: UserId) -> Result<Vec<LinkedIdentity>> {
    let sql = format!("SELECT {} FROM identities WHERE user_id = ? ORDER BY id", LinkedIdentity::COLUMNS);
    Ok(db.query(&sql, params![user_id]).await?)
}

/// Unlinks an identity from a locked account. 404 if it is another user's; 409 `identity_needed` if the user could not
/// sign in without it.
pub async fn unlink(tx: &mut Transaction, account: &Account, identity_id: IdentityId) -> Result<()> {
    const DELETE: &str = "DELETE FROM identities WHERE id = ? AND user_id = ?";
    let identities = list(tx, account.id).await?;
    let is_only_way_in = account.password_hash.is_empty() && identities.len() == 1;
    let unlinked = identities.into_iter().find(|identity| identity.identity_id == identity_id);
    let unlinked = unlinked.ok_or_else(|| Problem::not_found("identity"))?;
    if is_only_way_in {
        return Err(Problem::new(Code::IdentityNeeded, "Set a password first: this is your only way to sign in"));
    }
    tx.execute(DELETE, params![identity_id, account.id]).await?;
    notice::send(tx, account.id, Change::IdentityUnlinked { provider: unlinked.provider }).await
}

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
