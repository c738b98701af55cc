//! `/api/admin/audit`

use axum::Json as Reply;
use kit::{
    Problem, Result, Timestamp,
    check::Checks,
    extract::Query,
    mysql,
    page::{Page, PageQuery},
    params, row,
    staff::{Staff, USERS_WRITE},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

/// Something that the staff did.
#[derive(Serialize, ToSchema)]
pub struct Deed {
    audit_id: i64,
    /// The user id of who did it.
    actor: i64,
    /// What was done, such as `product.update`.
    action: String,
    /// To which of them.
    object: String,
    /// What it was before; null if there was nothing.
    #[schema(required, value_type = Object, nullable)]
    before: Value,
    /// What it is since; null if there is nothing.
    #[schema(required, value_type = Object, nullable)]
    after: Value,
    at: Timestamp,
    request_id: String,
}

row! {
    struct DeedRow {
        id: i64, actor_id: i64, action: String, object: String, before_json: String, after_json: String,
        request_id: String, created_at: Timestamp,
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Only what this user did.
    actor: Option<i64>,
    /// Only this, such as `product.update`.
    #[param(max_length = 32)]
    action: Option<String>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What the staff did, the latest first
#[utoipa::path(
    get, operation_id = "audit", path = "/api/admin/audit", tag = "staff", security(("bearer" = [])), params(Filter),
    responses(
        (status = 200, body = Page<Deed>),
        (status = 403, description = "`forbidden`"),
        (status = 422, description = "`invalid`"),
    )
)]
pub async fn list(_: Staff<USERS_WRITE>, Query(filter): Query<Filter>) -> Result<Reply<Page<Deed>>> {
    let page = PageQuery { limit: filter.limit, cursor: filter.cursor };
    let (limit, before) = (page.limit()?, page.cursor::<i64>()?.unwrap_or(i64::MAX));
    let (mut conditions, mut values) = (vec!["id < ?"], params![before]);
    if let Some(actor) = filter.actor {
        conditions.push("actor_id = ?");
        values.extend(params![actor]);
    }
    if let Some(action) = &filter.action {
        Checks::new().that(action.len() <= 32 && action.is_ascii(), "action", "is no action").done()?;
        conditions.push("action = ?");
        values.extend(params![action]);
    }
    let conditions = conditions.join(" AND ");
    let sql = format!(
        "SELECT id, actor_id, action, object, before_json, after_json, request_id, created_at
         FROM audit_log WHERE {conditions} ORDER BY id DESC LIMIT ?"
    );
    values.extend(params![i64::from(limit).saturating_add(1)]);
    let rows = mysql::connection().await?.query::<DeedRow>(&sql, values).await?;
    let deeds = rows.into_iter().map(Deed::try_from).collect::<Result<Vec<_>>>()?;
    Ok(Reply(Page::new(deeds, limit, |deed: &Deed| deed.audit_id)))
}

impl TryFrom<DeedRow> for Deed {
    type Error = Problem;

    fn try_from(row: DeedRow) -> Result<Self> {
        let value = |json: &str| serde_json::from_str(json).map_err(|_| Problem::internal());
        Ok(Deed {
            audit_id: row.id,
            actor: row.actor_id,
            action: row.action,
            object: row.object,
            before: value(&row.before_json)?,
            after: value(&row.after_json)?,
            at: row.created_at,
            request_id: row.request_id,
        })
    }
}
