//! `/api/user/password`: changing it, and resetting it when it is forgotten.

use accounts::{
    account, client, lockout,
    notice::Change,
    password,
    password_reset::{self, MailResetToken},
};
use http::{HeaderMap, StatusCode};
use kit::{
    Code, Problem, Result, Timestamp, User, auth, extract::Json, jobs::Queue, mysql, password::hash, rate_limit::Quota,
    validate::Validator,
};
use serde::Deserialize;
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "old_password": "correct horse", "new_password": "battery staple" }))]
pub struct PasswordChange {
    #[schema(format = "password")]
    old_password: String,
    #[schema(min_length = 8, max_length = 128, format = "password")]
    new_password: String,
}

/// Change my password
///
/// All other sessions end, and the user is told. Ten wrong passwords in 15 minutes lock the username for 15 minutes, as at login.
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
    validate_new(&given.new_password)?;
    let wrong = || Problem::new(Code::InvalidCredentials, "The old password is wrong");
    let account = account::get(&mut mysql::connection().await?, user.id).await?;
    lockout::check(&account.username).await?;
    if !password::verify(&account.username, Some(&account), &given.old_password).await? {
        return Err(wrong());
    }
    let new_hash = hash(&given.new_password).await?;
    mysql::transaction(async |tx| {
        // Another request may have changed it in the meantime.
        if account::lock(tx, user.id).await?.password_hash != account.password_hash {
            return Err(wrong());
        }
        password::set(tx, user.id, &new_hash, Some(user.session_id), Change::PasswordChanged).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn validate_new(new_password: &str) -> Result<()> {
    let mut validator = Validator::new();
    password::validate(&mut validator, "new_password", new_password);
    validator.finish()
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "username": "alice" }))]
pub struct ForgottenPassword {
    username: String,
}

/// How many password resets are mailed to one user, whoever requests them.
const MAIL_QUOTA: Quota = Quota { limit: 3, seconds: 3600 };

/// Request a password reset by e-mail
///
/// The answer is the same whether or not the user exists and has a verified e-mail address. The e-mail has a token that works
/// once, within 30 minutes. A user gets at most three such e-mails an hour.
#[utoipa::path(
    post, operation_id = "forgot_password", path = "/api/user/password/forgot", tag = "accounts",
    request_body = ForgottenPassword,
    responses((status = 202), (status = 429, description = "`rate_limited`"))
)]
pub async fn forgot(headers: HeaderMap, Json(given): Json<ForgottenPassword>) -> Result<StatusCode> {
    client::limit_rate("forgot", &headers).await?;
    if !auth::is_username(&given.username) {
        return Ok(StatusCode::ACCEPTED);
    }
    let name = given.username.to_ascii_lowercase();
    let Some(user_id) = password_reset::find_recipient(&mut mysql::connection().await?, &name).await? else {
        return Ok(StatusCode::ACCEPTED);
    };
    if MAIL_QUOTA.take(&format!("reset:{name}")).await? {
        let mail = MailResetToken { reset_password_of: user_id };
        mysql::transaction(async |tx| tx.enqueue(&[Queue::Notify.job(&mail, Timestamp::now())?]).await).await?;
    }
    Ok(StatusCode::ACCEPTED)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "token": "dGhlIHRva2VuIGZyb20gdGhlIGUtbWFpbA", "new_password": "battery staple"
}))]
pub struct PasswordReset {
    /// From the e-mail.
    token: String,
    #[schema(min_length = 8, max_length = 128, format = "password")]
    new_password: String,
}

/// Reset my password
///
/// All sessions end, the user is told, and a username that is locked after too many wrong passwords is unlocked.
#[utoipa::path(
    post, operation_id = "reset_password", path = "/api/user/password/reset", tag = "accounts",
    request_body = PasswordReset,
    responses(
        (status = 204),
        (status = 401, description = "`invalid_token`"),
        (status = 429, description = "`rate_limited`"),
    )
)]
pub async fn reset(headers: HeaderMap, Json(given): Json<PasswordReset>) -> Result<StatusCode> {
    client::limit_rate("reset", &headers).await?;
    validate_new(&given.new_password)?;
    // Before the hashing, which is expensive.
    let user_id = password_reset::verify(&mut mysql::connection().await?, &given.token).await?;
    let new_hash = hash(&given.new_password).await?;
    let account = mysql::transaction(async |tx| {
        let account = account::lock(tx, user_id).await?;
        password_reset::redeem(tx, user_id, &given.token).await?;
        password::set(tx, user_id, &new_hash, None, Change::PasswordReset).await?;
        Ok(account)
    })
    .await?;
    lockout::end(&account.username).await?;
    Ok(StatusCode::NO_CONTENT)
}
