//! To whom messages go.

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

/// Those of the users who exist, in one statement.
pub async fn recipients(db: &mut Connection, user_ids: impl IntoIterator<Item = UserId>) -> Result<Vec<Recipient>> {
    let ids: Vec<_> = user_ids.into_iter().map(param).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT {} FROM users WHERE id IN ({})", Recipient::COLUMNS, placeholders(ids.len()));
    Ok(db.query(&sql, ids).await?)
}
