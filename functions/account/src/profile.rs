//! `/api/user/profile`

use accounts::{
    Account, Profile, account, owner,
    profile::{self, ProfileChange},
    requested_locale,
};
use axum::Json as Reply;
use i18n::Locale;
use kit::{
    Result, User,
    extract::{Json, nullable},
    mysql,
    rate_limit::{Quota, rate_limited},
    validate::Validator,
};
use serde::Deserialize;
use utoipa::ToSchema;

/// What is to change. A missing field stays as it is.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = ProfileChange, example = json!({ "nickname": "Alice", "email": "alice@example.com", "locale": "zh-CN" }))]
pub struct Change {
    /// Null removes it.
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, format = "email", max_length = 254)]
    email: Option<Option<String>>,
    /// Null removes it.
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64)]
    nickname: Option<Option<String>>,
    /// The language of messages and refusals. Null removes the choice: refusals then follow `Accept-Language`, and
    /// messages are in English.
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<Locale>)]
    locale: Option<Option<Locale>>,
    /// My password, which a new e-mail address needs.
    #[schema(format = "password")]
    password: Option<String>,
}

/// How often a user may enter another e-mail address: each gets a mail, and may be somebody else's.
const EMAIL_QUOTA: Quota = Quota { limit: 10, seconds: 3600 };

impl Change {
    /// Whether it would give this account a new e-mail address.
    fn has_new_email(&self, account: &Account) -> bool {
        matches!(&self.email, Some(Some(new)) if Some(new) != account.email.as_ref())
    }

    fn validate(&self) -> Result<()> {
        let mut validator = Validator::new();
        if let Some(Some(email)) = &self.email {
            validator.email("email", email);
        }
        if let Some(Some(nickname)) = &self.nickname {
            validator.text("nickname", nickname, 1, 64);
        }
        validator.finish()
    }
}

/// Show my profile
///
/// The role and the permissions are the current ones; those of the access token may be older.
#[utoipa::path(
    get, operation_id = "profile", path = "/api/user/profile", tag = "accounts", security(("bearer" = [])),
    responses((status = 200, body = Profile))
)]
pub async fn show(user: User) -> Result<Reply<Profile>> {
    let default_locale = requested_locale().unwrap_or_default();
    profile::get(&mut mysql::connection().await?, user.id, default_locale).await.map(Reply)
}

/// Change my profile
///
/// A new e-mail address needs the password; a user who has none must have signed in within the last ten minutes. It gets a
/// mail with a token, and nothing else until it is verified. The old address is told, and password resets that were sent
/// to it end.
#[utoipa::path(
    put, operation_id = "change_profile", path = "/api/user/profile", tag = "accounts", security(("bearer" = [])),
    request_body = Change,
    responses(
        (status = 200, body = Profile),
        (status = 401, description = "`invalid_credentials`"),
        (status = 403, description = "`session_too_old`"),
        (status = 429, description = "`rate_limited`"),
    )
)]
pub async fn update(user: User, Json(change): Json<Change>) -> Result<Reply<Profile>> {
    change.validate()?;
    let default_locale = requested_locale().unwrap_or_default();
    let account = account::get(&mut mysql::connection().await?, user.id).await?;
    let is_confirmed = change.has_new_email(&account);
    if is_confirmed {
        owner::confirm(&user, &account, change.password.as_deref()).await?;
        if !EMAIL_QUOTA.take(&format!("email:{}", user.id)).await? {
            return Err(rate_limited(EMAIL_QUOTA.seconds.saturating_mul(1000)));
        }
    }
    let profile = mysql::transaction(async |tx| {
        let current = account::lock(tx, user.id).await?;
        if change.has_new_email(&current) {
            // Another request may have changed the address or the password in the meantime.
            owner::still(&account, &current)?;
            Validator::new().require(is_confirmed, "password", "is required").finish()?;
        }
        let change = ProfileChange {
            email: change.email.as_ref().map(Option::as_deref),
            nickname: change.nickname.as_ref().map(Option::as_deref),
            locale: change.locale,
        };
        profile::update(tx, &current, change).await?;
        profile::get(tx, user.id, default_locale).await
    });
    profile.await.map(Reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_missing_is_not_one_that_is_null() {
        let read = |json| serde_json::from_str::<Change>(json).unwrap().locale;
        assert_eq!(read("{}"), None);
        assert_eq!(read(r#"{"locale":null}"#), Some(None));
        assert_eq!(read(r#"{"locale":"zh-CN"}"#), Some(Some(Locale::ZhCn)));
        assert!(serde_json::from_str::<Change>(r#"{"locale":"fr"}"#).is_err());
    }
}
