//! Who a user is, for the user and for the staff.

use kit::{
    Problem, Result, Timestamp,
    auth::Role,
    mysql::Connection,
    params, row,
    staff::{Permission, Permissions},
};
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Debug, Serialize, ToSchema)]
pub struct Profile {
    pub user_id: i64,
    pub username: String,
    #[schema(required)]
    pub email: Option<String>,
    #[schema(required)]
    pub nickname: Option<String>,
    pub role: Role,
    /// What somebody who is no admin may do for the shop.
    #[schema(value_type = Vec<Permission>)]
    pub permissions: Permissions,
    pub created_at: Timestamp,
}

row! {
    /// A row of `users`, of the columns in [`COLUMNS`].
    pub struct ProfileRow {
        id: i64, username: String, email: Option<String>, nickname: Option<String>, role: String, permissions: i64,
        created_at: Timestamp,
    }
}

pub const COLUMNS: &str = "id, username, email, nickname, role, permissions, created_at";

impl From<ProfileRow> for Profile {
    fn from(row: ProfileRow) -> Self {
        Profile {
            user_id: row.id,
            username: row.username,
            email: row.email,
            nickname: row.nickname,
            role: Role::from_column(&row.role),
            permissions: Permissions::from_bits(row.permissions),
            created_at: row.created_at,
        }
    }
}

impl Profile {
    /// 404 if there is no such user.
    pub async fn read(db: &mut Connection, user_id: i64) -> Result<Self> {
        let sql = format!("SELECT {COLUMNS} FROM users WHERE id = ?");
        let row = db.query_one::<ProfileRow>(&sql, params![user_id]).await?;
        row.map(Profile::from).ok_or_else(|| Problem::not_found("user"))
    }
}
