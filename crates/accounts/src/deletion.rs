//! Deleting an account: the user is signed out and the name is free at once, a job erases the rest.

use kit::{
    Result, Timestamp, UserId,
    jobs::{NewJob, Queue},
    mysql::{Connection, Transaction},
    params,
};
use serde::{Deserialize, Serialize};

use crate::{Account, session};

/// The payload of an `erase` job.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EraseUser {
    pub erase_user: UserId,
}

impl EraseUser {
    pub fn job(self, due: Timestamp) -> Result<NewJob> {
        Queue::Erase.job(&self, due)
    }
}

/// Deletes a locked account. Its row stays, without a name, for what refers to it. No well-formed username has a colon.
pub async fn delete(tx: &mut Transaction, account: &Account) -> Result<()> {
    const DELETE: &str = "
        UPDATE users
        SET username = CONCAT('deleted:', id), password_hash = '', email = NULL, nickname = NULL, locale = NULL,
            role = 'user', permissions = 0, deleted_at = ?
        WHERE id = ?";
    const UNLINK: &str = "DELETE FROM identities WHERE user_id = ?";
    session::end_all(tx, account.id, None).await?;
    tx.execute(DELETE, params![Timestamp::now(), account.id]).await?;
    tx.execute(UNLINK, params![account.id]).await?;
    tx.enqueue(&[EraseUser { erase_user: account.id }.job(Timestamp::now())?]).await
}

/// When the account was deleted; none if it was not.
pub async fn deleted_at(db: &mut Connection, user_id: UserId) -> Result<Option<Timestamp>> {
    const DELETED: &str = "SELECT deleted_at FROM users WHERE id = ?";
    let found = db.query_one::<(Option<Timestamp>,)>(DELETED, params![user_id]).await?;
    Ok(found.and_then(|(at,)| at))
}
