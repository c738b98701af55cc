//! `/api/user/identity`: the identities at OpenID Connect providers through which the user signs in.

use accounts::{
    account,
    identity::{self, LinkedIdentity},
};
use axum::Json as Reply;
use http::StatusCode;
use kit::{IdentityId, Result, User, extract::Path, mysql};
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub struct Identities {
    items: Vec<LinkedIdentity>,
}

/// List my identities
///
/// The providers through which I can sign in, the oldest link first.
#[utoipa::path(
    get, operation_id = "identities", path = "/api/user/identity", tag = "accounts", security(("bearer" = [])),
    responses((status = 200, body = Identities))
)]
pub async fn list(user: User) -> Result<Reply<Identities>> {
    let items = identity::list(&mut mysql::connection().await?, user.id).await?;
    Ok(Reply(Identities { items }))
}

/// Unlink an identity
///
/// Sessions that were begun with it go on. The last way to sign in can't be removed.
#[utoipa::path(
    delete, operation_id = "unlink_identity", path = "/api/user/identity/{identity_id}", tag = "accounts",
    security(("bearer" = [])),
    params(("identity_id" = IdentityId, Path)),
    responses(
        (status = 204),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`identity_needed`"),
    )
)]
pub async fn unlink(user: User, Path(identity_id): Path<IdentityId>) -> Result<StatusCode> {
    mysql::transaction(async |tx| {
        let account = account::lock(tx, user.id).await?;
        identity::unlink(tx, &account, identity_id).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
