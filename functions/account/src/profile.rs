//! `/api/user/profile`

use axum::Json as Reply;
use kit::{
    Problem, Result, Timestamp, User,
    auth::Role,
    check::Checks,
    extract::{Json, nullable},
    mysql::{self, Connection},
    params, row,
    staff::{Permission, Permissions},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub struct Profile {
    user_id: i64,
    username: String,
    #[schema(required)]
    email: Option<String>,
    #[schema(required)]
    nickname: Option<String>,
    role: Role,
    /// What somebody who is no admin may do for the shop.
    #[schema(value_type = Vec<Permission>)]
    permissions: Permissions,
    created_at: Timestamp,
}

row! {
    struct ProfileRow {
        id: i64, username: String, email: Option<String>, nickname: Option<String>, role: String, permissions: i64,
        created_at: Timestamp,
    }
}

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

async fn read(db: &mut Connection, user_id: i64) -> Result<Profile> {
    const PROFILE: &str = "SELECT id, username, email, nickname, role, permissions, created_at FROM users WHERE id = ?";
    let row: Option<ProfileRow> = db.query_one(PROFILE, params![user_id]).await?;
    let row = row.ok_or_else(|| Problem::not_found("user"))?;
    Ok(Profile {
        user_id: row.id,
        username: row.username,
        email: row.email,
        nickname: row.nickname,
        role: Role::from_column(&row.role),
        permissions: Permissions::from_bits(row.permissions),
        created_at: row.created_at,
    })
}

/// Who one is here
#[utoipa::path(
    get, operation_id = "profile", path = "/api/user/profile", tag = "accounts", security(("bearer" = [])),
    responses((status = 200, body = Profile))
)]
pub async fn show(user: User) -> Result<Reply<Profile>> {
    read(&mut mysql::connection().await?, user.id).await.map(Reply)
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
        let values = params![change.email.is_some(), email, change.nickname.is_some(), nickname, user.id];
        tx.execute(UPDATE, values).await?;
        read(tx, user.id).await
    });
    profile.await.map(Reply)
}
