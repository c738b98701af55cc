//! Registration.

use accounts::{
    account::{self, NewAccount, username_taken},
    password, requested_locale,
};
use axum::{Json as Reply, Router, routing::post};
use http::StatusCode;
use kit::{
    Result, Timestamp, UserId,
    auth::{self, Role},
    extract::Json,
    mysql,
    password::hash,
    validate::Validator,
};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

kit::function!(router);

pub fn router() -> Router {
    Router::new().route("/api/user/register", post(register))
}

#[derive(OpenApi)]
#[openapi(paths(register))]
pub struct Api;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "username": "alice", "password": "correct horse", "email": "alice@example.com" }))]
struct Registration {
    /// Letters, digits, `_`, `-`, `.`; unique regardless of case.
    #[schema(min_length = 3, max_length = 32, pattern = "^[A-Za-z0-9_.-]+$")]
    username: String,
    #[schema(min_length = 8, max_length = 128, format = "password")]
    password: String,
    #[schema(max_length = 254, format = "email")]
    email: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct Registered {
    user_id: UserId,
    #[schema(example = "alice")]
    username: String,
    role: Role,
    created_at: Timestamp,
}

impl Registration {
    fn validate(&self) -> Result<()> {
        let mut validator = Validator::new();
        validator.require(auth::is_username(&self.username), "username", "must be 3 to 32 letters, digits, _, - or .");
        password::validate(&mut validator, "password", &self.password);
        if let Some(email) = &self.email {
            validator.email("email", email);
        }
        validator.finish()
    }
}

/// Create an account
///
/// Messages and e-mails are written in the language that `Accept-Language` asks for, until the user chooses another.
#[utoipa::path(
    post, path = "/api/user/register", tag = "accounts",
    request_body = Registration,
    responses((status = 201, body = Registered), (status = 409, description = "`username_taken`"))
)]
async fn register(Json(new): Json<Registration>) -> Result<(StatusCode, Reply<Registered>)> {
    new.validate()?;
    // Saves the hashing in most cases; the unique key decides.
    if account::username_exists(&mut mysql::connection().await?, &new.username).await? {
        return Err(username_taken());
    }
    let (password_hash, created_at) = (hash(&new.password)?, Timestamp::now());
    let account = NewAccount {
        username: &new.username,
        password_hash: &password_hash,
        email: new.email.as_deref(),
        locale: requested_locale(),
        created_at,
    };
    let user_id = mysql::transaction(async |tx| account::insert(tx, account).await).await?;
    Ok((StatusCode::CREATED, Reply(Registered { user_id, username: new.username, role: Role::User, created_at })))
}
