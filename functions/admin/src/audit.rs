//! `/api/admin/audit`

use axum::Json as Reply;
use kit::{
    Result, UserId,
    audit::{self, AuditEntry},
    extract::Query,
    mysql,
    pagination::{Page, PageQuery},
    permissions::USERS_WRITE,
    staff::Staff,
    validate::Validator,
};
use serde::Deserialize;
use utoipa::IntoParams;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Only what this user did.
    actor: Option<UserId>,
    /// Only this action.
    #[param(max_length = 32, example = "product.update")]
    action: Option<String>,
}

/// List the audit log
///
/// What the staff changed, newest first.
#[utoipa::path(
    get, operation_id = "audit", path = "/api/admin/audit", tag = "staff", security(("bearer" = [])),
    params(Filter, PageQuery),
    responses(
        (status = 200, body = Page<AuditEntry>),
        (status = 403, description = "`forbidden`"),
        (status = 422, description = "`invalid`"),
    )
)]
pub async fn list(
    _: Staff<USERS_WRITE>,
    Query(filter): Query<Filter>,
    Query(page): Query<PageQuery>,
) -> Result<Reply<Page<AuditEntry>>> {
    let action = filter.action.as_deref();
    let is_action = action.is_none_or(|action| action.len() <= 32 && action.is_ascii());
    Validator::new().require(is_action, "action", "must be at most 32 ASCII characters").finish()?;
    audit::list(&mut mysql::connection().await?, filter.actor, action, &page).await.map(Reply)
}
