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
        pub email: Option<String>,
        locale: LocaleColumn,
    }
}

impl Recipient {
    /// The language to write in.
    pub fn locale(&self) -> Locale {
        self.locale.0.unwrap_or_default()
    }
}

/// The recipients with these ids, in one statement; unknown ids are left out.
pub async fn recipients(db: &mut Connection, user_ids: impl IntoIterator<Item = UserId>) -> Result<Vec<Recipient>> {
    let ids: Vec<_> = user_ids.into_iter().map(param).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT {} FROM users WHERE id IN ({})", Recipient::COLUMNS, placeholders(ids.len()));
    Ok(db.query(&sql, ids).await?)
}
