//! `DELETE /api/user`

use accounts::{account, deletion, lockout, owner};
use http::StatusCode;
use kit::{Code, Problem, Result, User, auth::Role, extract::OptionalJson, log, mysql};
use serde::Deserialize;
use utoipa::ToSchema;

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({ "password": "correct horse" }))]
pub struct AccountDeletion {
    /// My password. A user who has none must have signed in within the last ten minutes.
    #[schema(format = "password")]
    password: Option<String>,
}

/// Delete my account
///
/// All sessions end, the username is free, and unpaid orders are cancelled. Other orders go on. Within 15 seconds all personal
/// data is erased, but for the orders that go on: theirs is erased once they are done. Nothing of it can be undone. An
/// admin's account can't be deleted: another admin must take the role away first, so that one always remains.
#[utoipa::path(
    delete, operation_id = "delete_user", path = "/api/user", tag = "accounts", security(("bearer" = [])),
    request_body(content = Option<AccountDeletion>),
    responses(
        (status = 204),
        (status = 401, description = "`invalid_credentials`"),
        (status = 403, description = "`session_too_old`, or `forbidden` for an admin"),
        (status = 429, description = "`rate_limited`"),
    )
)]
pub async fn delete(user: User, OptionalJson(given): OptionalJson<AccountDeletion>) -> Result<StatusCode> {
    let account = account::get(&mut mysql::connection().await?, user.id).await?;
    owner::confirm(&user, &account, given.password.as_deref()).await?;
    mysql::transaction(async |tx| {
        let current = account::lock(tx, user.id).await?;
        owner::still(&account, &current)?;
        if current.role() == Role::Admin {
            return Err(Problem::new(Code::Forbidden, "Another admin must take your role away first"));
        }
        deletion::delete(tx, &current).await
    })
    .await?;
    log::warn_if_failed("the lockout of a deleted user could not be removed", lockout::end(&account.username).await);
    Ok(StatusCode::NO_CONTENT)
}
