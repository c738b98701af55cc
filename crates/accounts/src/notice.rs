//! Notices to users about changes of their accounts: those that a thief would make, too.

use i18n::Message;
use kit::{Result, Timestamp, UserId, jobs::Queue, mysql::Transaction};
use serde::{Deserialize, Serialize};

use crate::message::Kind;

/// The payload of a `notify` job that tells a user about a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    pub changed_account: UserId,
    pub change: Change,
}

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    PasswordChanged,
    /// By a token that was mailed.
    PasswordReset,
    EmailChanged,
    IdentityLinked {
        provider: String,
    },
    IdentityUnlinked {
        provider: String,
    },
}

/// Enqueues a notice, which is sent if this transaction commits.
pub async fn send(tx: &mut Transaction, user_id: UserId, change: Change) -> Result<()> {
    let notice = Notice { changed_account: user_id, change };
    tx.enqueue(&[Queue::Notify.job(&notice, Timestamp::now())?]).await
}

impl Change {
    pub fn kind(&self) -> Kind {
        match self {
            Change::PasswordChanged => Kind::PasswordChanged,
            Change::PasswordReset => Kind::PasswordReset,
            Change::EmailChanged => Kind::EmailChanged,
            Change::IdentityLinked { .. } => Kind::IdentityLinked,
            Change::IdentityUnlinked { .. } => Kind::IdentityUnlinked,
        }
    }

    /// The text. `linked` are the providers whose identities are linked to the account.
    pub fn message<'a>(&'a self, linked: &'a [String]) -> Message<'a> {
        match self {
            Change::PasswordChanged => Message::PasswordChanged,
            Change::PasswordReset => Message::PasswordWasReset { linked },
            Change::EmailChanged => Message::EmailChanged,
            Change::IdentityLinked { provider } => Message::IdentityLinked { provider },
            Change::IdentityUnlinked { provider } => Message::IdentityUnlinked { provider },
        }
    }
}
