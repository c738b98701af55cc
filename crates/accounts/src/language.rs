//! The language of a user.

use i18n::Locale;
use kit::{
    Context, Result, UserId,
    mysql::{Column, Connection, DbValue},
    params,
};

/// The column `locale`. A language that the shop does not support counts as none.
pub(crate) struct LocaleColumn(pub Option<Locale>);

impl Column for LocaleColumn {
    fn from_value(value: DbValue) -> Result<Self, String> {
        let name = Option::<String>::from_value(value)?;
        Ok(LocaleColumn(name.and_then(|name| name.parse().ok())))
    }
}

/// The language that the user has chosen or signed up in.
pub async fn locale(db: &mut Connection, user_id: UserId) -> Result<Option<Locale>> {
    const LOCALE: &str = "SELECT locale FROM users WHERE id = ?";
    let found = db.query_one::<(LocaleColumn,)>(LOCALE, params![user_id]).await?;
    Ok(found.and_then(|(LocaleColumn(locale),)| locale))
}

/// The language that the current request asks for by `Accept-Language`.
pub fn requested_locale() -> Option<Locale> {
    Context::current()?.accept_language().and_then(Locale::negotiate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsupported_language_counts_as_none() {
        let read = |value| LocaleColumn::from_value(value).unwrap().0;
        assert_eq!(read(DbValue::Str("zh-CN".to_owned())), Some(Locale::ZhCn));
        assert_eq!(read(DbValue::Str("tlh".to_owned())), None);
        assert_eq!(read(DbValue::DbNull), None);
    }
}
