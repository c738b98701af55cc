//! `/api/user/email`: verifying an address.

use accounts::{account, client, email};
use http::{HeaderMap, StatusCode};
use kit::{
    Result, User,
    extract::Json,
    mysql,
    rate_limit::{Quota, rate_limited},
};
use serde::Deserialize;
use utoipa::ToSchema;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "token": "dGhlIHRva2VuIGZyb20gdGhlIGUtbWFpbA" }))]
pub struct EmailVerification {
    /// From the e-mail.
    token: String,
}

/// Verify my e-mail address
///
/// With the token that was mailed to it, within a day. It needs no access token: the mail may be read on another device.
#[utoipa::path(
    post, operation_id = "verify_email", path = "/api/user/email/verify", tag = "accounts",
    request_body = EmailVerification,
    responses(
        (status = 204),
        (status = 401, description = "`invalid_token`"),
        (status = 429, description = "`rate_limited`"),
    )
)]
pub async fn verify(headers: HeaderMap, Json(given): Json<EmailVerification>) -> Result<StatusCode> {
    client::limit_rate("verify", &headers).await?;
    mysql::transaction(async |tx| email::verify(tx, &given.token).await).await?;
    Ok(StatusCode::NO_CONTENT)
}

const RESEND_QUOTA: Quota = Quota { limit: 1, seconds: 60 };

/// Send the e-mail that verifies my address again
///
/// At most once a minute. Without an address that is not verified, nothing is sent.
#[utoipa::path(
    post, operation_id = "resend_email_verification", path = "/api/user/email/resend", tag = "accounts",
    security(("bearer" = [])),
    responses((status = 202), (status = 429, description = "`rate_limited`"))
)]
pub async fn resend(user: User) -> Result<StatusCode> {
    if !RESEND_QUOTA.take(&format!("verify:{}", user.id)).await? {
        return Err(rate_limited(RESEND_QUOTA.seconds.saturating_mul(1000)));
    }
    let account = account::get(&mut mysql::connection().await?, user.id).await?;
    if account.email.is_some() && !account.email_verified {
        mysql::transaction(async |tx| email::request_verification(tx, user.id).await).await?;
    }
    Ok(StatusCode::ACCEPTED)
}
