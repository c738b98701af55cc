//! `/api/user/profile`

use accounts::{
    Profile,
    profile::{self, ProfileChange},
    requested_locale,
};
use axum::Json as Reply;
use i18n::Locale;
use kit::{
    Result, User,
    extract::{Json, nullable},
    mysql,
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
}

impl Change {
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
/// A new e-mail address ends password resets that were sent to the old one.
#[utoipa::path(
    put, operation_id = "change_profile", path = "/api/user/profile", tag = "accounts", security(("bearer" = [])),
    request_body = Change,
    responses((status = 200, body = Profile))
)]
pub async fn update(user: User, Json(change): Json<Change>) -> Result<Reply<Profile>> {
    change.validate()?;
    let default_locale = requested_locale().unwrap_or_default();
    let profile = mysql::transaction(async |tx| {
        let change = ProfileChange {
            email: change.email.as_ref().map(Option::as_deref),
            nickname: change.nickname.as_ref().map(Option::as_deref),
            locale: change.locale,
        };
        profile::update(tx, user.id, change).await?;
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
