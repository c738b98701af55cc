//! User profiles, as users and staff see them.

use i18n::Locale;
use kit::{
    Problem, Result, Timestamp, UserId,
    auth::Role,
    mysql::{Connection, Transaction},
    pagination::{Page, PageQuery},
    params,
    permissions::{Permission, Permissions},
    row,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{Account, email, language::LocaleColumn};

#[derive(Debug, Serialize, ToSchema)]
pub struct Profile {
    pub user_id: UserId,
    #[schema(example = "alice")]
    pub username: String,
    #[schema(required, format = "email", example = "alice@example.com")]
    pub email: Option<String>,
    /// Whether the user has shown that the address is theirs. Until then it gets nothing but the mail that asks for it.
    pub email_verified: bool,
    #[schema(required, example = "Alice")]
    pub nickname: Option<String>,
    /// The language of messages and refusals: the one that the user chose, or signed up in; otherwise the one that
    /// `Accept-Language` asks for; otherwise English.
    pub locale: Locale,
    pub role: Role,
    /// What a user who is not an admin may do for the shop.
    #[schema(value_type = Vec<Permission>)]
    pub permissions: Permissions,
    pub created_at: Timestamp,
    /// Since when the user can't sign in.
    #[schema(required)]
    pub suspended_at: Option<Timestamp>,
}

row! {
    struct ProfileRow {
        user_id: UserId as "id", username: String, email: Option<String>, nickname: Option<String>,
        locale: LocaleColumn, role: String, permissions: i64, created_at: Timestamp,
        email_verified: bool, suspended_at: Option<Timestamp>,
    }
}

impl ProfileRow {
    /// `default_locale` is the language of a user who has not chosen one.
    fn into_profile(self, default_locale: Locale) -> Profile {
        Profile {
            user_id: self.user_id,
            username: self.username,
            email_verified: self.email_verified && self.email.is_some(),
            email: self.email,
            nickname: self.nickname,
            locale: self.locale.0.unwrap_or(default_locale),
            role: Role::from_column(&self.role),
            permissions: Permissions::from_bits(self.permissions),
            created_at: self.created_at,
            suspended_at: self.suspended_at,
        }
    }
}

/// 404 if there is no such user, or no longer. `default_locale` is the language of a user who has not chosen one.
pub async fn get(db: &mut Connection, user_id: UserId, default_locale: Locale) -> Result<Profile> {
    let sql = format!("SELECT {} FROM users WHERE id = ? AND deleted_at IS NULL", ProfileRow::COLUMNS);
    let row = db.query_one::<ProfileRow>(&sql, params![user_id]).await?;
    row.map(|row| row.into_profile(default_locale)).ok_or_else(|| Problem::not_found("user"))
}

/// Users whose username starts with a prefix, newest first.
pub async fn list(
    db: &mut Connection,
    username_prefix: &str,
    role: Option<Role>,
    page: &PageQuery,
) -> Result<Page<Profile>> {
    let sql = format!(
        "SELECT {} FROM users
         WHERE id < ? AND username LIKE ? AND (? = '' OR role = ?) AND deleted_at IS NULL ORDER BY id DESC LIMIT ?",
        ProfileRow::COLUMNS
    );
    let (limit, before) = (page.limit()?, page.cursor::<i64>()?.unwrap_or(i64::MAX));
    let pattern = username_prefix.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_") + "%";
    let role = role.map_or("", Role::name);
    let rows = db.query::<ProfileRow>(&sql, params![before, pattern, role, role, i64::from(limit).saturating_add(1)]);
    let profiles = rows.await?.into_iter().map(|row| row.into_profile(Locale::default()));
    Ok(Page::new(profiles.collect(), limit, |profile: &Profile| profile.user_id))
}

/// The changes: `None` leaves a field as it is, `Some(None)` clears it.
pub struct ProfileChange<'a> {
    pub email: Option<Option<&'a str>>,
    pub nickname: Option<Option<&'a str>>,
    pub locale: Option<Option<Locale>>,
}

/// Changes the profile of a locked user.
pub async fn update(tx: &mut Transaction, account: &Account, change: ProfileChange<'_>) -> Result<()> {
    const UPDATE: &str = "UPDATE users SET nickname = IF(?, ?, nickname), locale = IF(?, ?, locale) WHERE id = ?";
    let ProfileChange { email, nickname, locale } = change;
    if let Some(email) = email.filter(|email| *email != account.email.as_deref()) {
        email::change(tx, account, email).await?;
    }
    let locale_name: Option<&str> = locale.flatten().map(Locale::into);
    let values = params![nickname.is_some(), nickname.flatten(), locale.is_some(), locale_name, account.id];
    Ok(tx.execute(UPDATE, values).await?)
}
