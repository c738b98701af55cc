//! `/api/user/password`: changed by who knows it, set anew by who reads the user's mail.

use accounts::{Account, LOCKOUT, Reset, check_password, client_address, find, lock, session};
use http::{HeaderMap, StatusCode};
use kit::{
    Code, Problem, Result, Timestamp, User, auth,
    check::Checks,
    config,
    extract::Json,
    jobs::Queue,
    mysql::{self, Transaction},
    params, password, rate,
};
use serde::Deserialize;
use utoipa::ToSchema;

const UPDATE: &str = "UPDATE users SET password_hash = ? WHERE id = ?";

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    old_password: String,
    #[schema(min_length = 8, max_length = 128)]
    new_password: String,
}

/// Change one's password
///
/// Every other session ends. Ten wrong passwords in 15 minutes lock the name, as at login.
#[utoipa::path(
    put, operation_id = "change_password", path = "/api/user/password", tag = "accounts", security(("bearer" = [])),
    request_body = PasswordChange,
    responses(
        (status = 204),
        (status = 401, description = "`invalid_credentials`"),
        (status = 429, description = "`rate_limited`"),
    )
)]
pub async fn change(user: User, Json(given): Json<PasswordChange>) -> Result<StatusCode> {
    let mut checks = Checks::new();
    check_password(&mut checks, "new_password", &given.new_password);
    checks.done()?;
    let Account { username, password_hash: hash, .. } = find(&mut mysql::connection().await?, user.id).await?;
    let name = username.to_ascii_lowercase();
    LOCKOUT.check(&name).await?;
    if !password::verify(&given.old_password, Some(hash.as_str()).filter(|hash| !hash.is_empty()))? {
        LOCKOUT.failed(&name).await?;
        return Err(wrong());
    }
    LOCKOUT.succeeded(&name).await?;
    let new_hash = password::hash(&given.new_password)?;
    mysql::transaction(async |tx| {
        // Somebody may have changed it since.
        if lock(tx, user.id).await?.password_hash != hash {
            return Err(wrong());
        }
        set(tx, user.id, &new_hash, Some(user.session_id)).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn wrong() -> Problem {
    Problem::new(Code::InvalidCredentials, "The old password is wrong")
}

/// Sets a locked user's password, and ends all of their sessions but one, and whatever could set the password again.
async fn set(tx: &mut Transaction, user_id: i64, hash: &str, but: Option<i64>) -> Result<()> {
    tx.execute(UPDATE, params![hash, user_id]).await?;
    Reset::forget(tx, user_id).await?;
    session::end_all(tx, user_id, but).await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Forgotten {
    username: String,
}

/// Ask for a mail with which to set one's password anew
///
/// Answers the same whether or not there is such a user, and whether or not they have an e-mail address. The token in the
/// mail is good once, and for 30 minutes; three mails an hour at most.
#[utoipa::path(
    post, operation_id = "forgot_password", path = "/api/user/password/forgot", tag = "accounts",
    request_body = Forgotten,
    responses((status = 202), (status = 429, description = "`rate_limited`"))
)]
pub async fn forgot(headers: HeaderMap, Json(given): Json<Forgotten>) -> Result<StatusCode> {
    const USER: &str = "SELECT id FROM users WHERE username = ? AND email IS NOT NULL";
    let (rate, burst) =
        (config::number("login_rate", 1, 1_000_000).await?, config::number("login_burst", 1, 1_000_000).await?);
    rate::limit(&format!("forgot:{}", client_address(&headers)), rate, burst).await?;
    if !auth::is_username(&given.username) {
        return Ok(StatusCode::ACCEPTED);
    }
    let name = given.username.to_ascii_lowercase();
    let user = mysql::connection().await?.query_one::<(i64,)>(USER, params![name.as_str()]).await?;
    let Some((user_id,)) = user else { return Ok(StatusCode::ACCEPTED) };
    if MAILS.take(&format!("reset:{name}")).await? {
        let reset = Reset { reset_password_of: user_id };
        mysql::transaction(async |tx| tx.enqueue(&[Queue::Notify.job(&reset, Timestamp::now())?]).await).await?;
    }
    Ok(StatusCode::ACCEPTED)
}

/// So many mails an hour to one user, whoever asks for them.
static MAILS: rate::Quota = rate::Quota { most: 3, seconds: 3600 };

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// As it came by mail.
    token: String,
    #[schema(min_length = 8, max_length = 128)]
    new_password: String,
}

/// Set one's password anew
///
/// All sessions end, and a name that wrong passwords had locked is free again.
#[utoipa::path(
    post, operation_id = "reset_password", path = "/api/user/password/reset", tag = "accounts",
    request_body = NewPassword,
    responses(
        (status = 204),
        (status = 401, description = "`invalid_token`"),
        (status = 429, description = "`rate_limited`"),
    )
)]
pub async fn reset(headers: HeaderMap, Json(given): Json<NewPassword>) -> Result<StatusCode> {
    let (rate, burst) =
        (config::number("login_rate", 1, 1_000_000).await?, config::number("login_burst", 1, 1_000_000).await?);
    rate::limit(&format!("reset:{}", client_address(&headers)), rate, burst).await?;
    let mut checks = Checks::new();
    check_password(&mut checks, "new_password", &given.new_password);
    checks.done()?;
    // Hashing is work: not for who has no token.
    let user_id = Reset::user_of(&given.token).await?;
    let hash = password::hash(&given.new_password)?;
    let user = mysql::transaction(async |tx| {
        let user = lock(tx, user_id).await?;
        Reset::spend(tx, user_id, &given.token).await?;
        set(tx, user_id, &hash, None).await?;
        Ok(user)
    })
    .await?;
    LOCKOUT.forget(&user.username.to_ascii_lowercase()).await?;
    Ok(StatusCode::NO_CONTENT)
}
