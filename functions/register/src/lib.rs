//! Sign-up.

use accounts::check_password;
use axum::{Json as Reply, Router, routing::post};
use http::StatusCode;
use kit::{
    Code, Problem, Result, Timestamp,
    auth::{self, Role},
    check::Checks,
    extract::Json,
    mysql, params, password,
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
struct Registration {
    /// Letters, digits, `_`, `-`, `.`; unique without regard to case.
    #[schema(min_length = 3, max_length = 32, pattern = "^[A-Za-z0-9_.-]+$")]
    username: String,
    #[schema(min_length = 8, max_length = 128)]
    password: String,
    #[schema(max_length = 254)]
    email: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct Registered {
    user_id: i64,
    username: String,
    role: Role,
    created_at: Timestamp,
}

impl Registration {
    fn check(&self) -> Result<()> {
        let mut checks = Checks::new();
        checks.that(auth::is_username(&self.username), "username", "must be 3 to 32 letters, digits, _, - or .");
        check_password(&mut checks, "password", &self.password);
        if let Some(email) = &self.email {
            checks.email("email", email);
        }
        checks.done()
    }
}

/// Create an account
#[utoipa::path(
    post, path = "/api/user/register", tag = "accounts",
    request_body = Registration,
    responses((status = 201, body = Registered), (status = 409, description = "`username_taken`"))
)]
async fn register(Json(new): Json<Registration>) -> Result<(StatusCode, Reply<Registered>)> {
    const INSERT: &str = "INSERT INTO users (username, password_hash, email, created_at) VALUES (?, ?, ?, ?)";
    const EXISTS: &str = "SELECT id FROM users WHERE username = ?";
    new.check()?;
    let taken = || Problem::new(Code::UsernameTaken, "Somebody has this name already");
    // Saves hashing the password for nothing; the unique key decides all the same.
    if mysql::connection().await?.query_one::<(i64,)>(EXISTS, params![&new.username]).await?.is_some() {
        return Err(taken());
    }
    let hash = password::hash(&new.password)?;
    let created_at = Timestamp::now();

    let mut db = mysql::connection().await?;
    match db.execute(INSERT, params![&new.username, hash, new.email, created_at]).await {
        Ok(()) => {}
        Err(mysql::Error::Duplicate { .. }) => return Err(taken()),
        Err(error) => return Err(error.into()),
    }
    let user_id = db.last_insert_id().await?;
    Ok((StatusCode::CREATED, Reply(Registered { user_id, username: new.username, role: Role::User, created_at })))
}
