//! `/api/user/profile`

use accounts::{Profile, Reset, lock};
use axum::Json as Reply;
use kit::{
    Result, User,
    check::Checks,
    extract::{Json, nullable},
    mysql, params,
};
use serde::Deserialize;
use utoipa::ToSchema;

/// What is to change; what is not named stays.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProfileChange {
    /// Null takes it away.
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, max_length = 254)]
    email: Option<Option<String>>,
    /// Null takes it away.
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64)]
    nickname: Option<Option<String>>,
}

/// Who one is here
#[utoipa::path(
    get, operation_id = "profile", path = "/api/user/profile", tag = "accounts", security(("bearer" = [])),
    responses((status = 200, body = Profile))
)]
pub async fn show(user: User) -> Result<Reply<Profile>> {
    Profile::read(&mut mysql::connection().await?, user.id).await.map(Reply)
}

/// Change one's profile
#[utoipa::path(
    put, operation_id = "change_profile", path = "/api/user/profile", tag = "accounts", security(("bearer" = [])),
    request_body = ProfileChange,
    responses((status = 200, body = Profile))
)]
pub async fn update(user: User, Json(change): Json<ProfileChange>) -> Result<Reply<Profile>> {
    const UPDATE: &str = "
        UPDATE users SET email = IF(?, ?, email), nickname = IF(?, ?, nickname) WHERE id = ?";
    let (email, nickname) =
        (change.email.as_ref().and_then(Option::as_deref), change.nickname.as_ref().and_then(Option::as_deref));
    let mut checks = Checks::new();
    if let Some(email) = email {
        checks.email("email", email);
    }
    if let Some(nickname) = nickname {
        checks.text("nickname", nickname, 1, 64);
    }
    checks.done()?;
    let profile = mysql::transaction(async |tx| {
        if change.email.is_some() {
            // What was mailed to the old address sets no password any more.
            lock(tx, user.id).await?;
            Reset::forget(tx, user.id).await?;
        }
        let values = params![change.email.is_some(), email, change.nickname.is_some(), nickname, user.id];
        tx.execute(UPDATE, values).await?;
        Profile::read(tx, user.id).await
    });
    profile.await.map(Reply)
}
