//! Recipients of messages.

use i18n::Locale;
use kit::{
    Result, UserId,
    mysql::{Connection, param, placeholders},
    row,
};

use crate::language::LocaleColumn;

row! {
    /// A user as the recipient of messages and e-mails.
    pub struct Recipient {
        pub user_id: UserId as "id",
        /// The address, if it is verified.
        pub email: Option<String> as "IF(email_verified = 1, email, NULL)",
        locale: LocaleColumn,
    }
}

impl Recipient {
    /// The language to write in.
    pub fn locale(&self) -> Locale {
        self.locale.0.unwrap_or_default()
    }
}

/// One recipient; none for an unknown id or a deleted user.
pub async fn recipient(db: &mut Connection, user_id: UserId) -> Result<Option<Recipient>> {
    Ok(recipients(db, [user_id]).await?.pop())
}

/// The recipients with these ids, in one statement; unknown ids and deleted users are left out.
pub async fn recipients(db: &mut Connection, user_ids: impl IntoIterator<Item = UserId>) -> Result<Vec<Recipient>> {
    let ids: Vec<_> = user_ids.into_iter().map(param).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT {} FROM users WHERE id IN ({}) AND deleted_at IS NULL",
        Recipient::COLUMNS,
        placeholders(ids.len())
    );
    Ok(db.query(&sql, ids).await?)
}
