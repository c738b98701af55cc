//! The audit log: what the staff changed, written in the transaction that changes it.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    Problem, Result, Timestamp, UserId,
    mysql::{Connection, Transaction},
    pagination::{Page, PageQuery},
    params, row,
};

/// An entry to be written. `before` and `after` are JSON.
pub(crate) struct Change<'a> {
    pub action: &'a str,
    pub object: String,
    pub before: String,
    pub after: String,
}

pub(crate) async fn insert(tx: &mut Transaction, actor: UserId, request_id: &str, change: Change<'_>) -> Result<()> {
    const INSERT: &str = "
        INSERT INTO audit_log (actor_id, action, object, before_json, after_json, request_id, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)";
    let Change { action, object, before, after } = change;
    Ok(tx.execute(INSERT, params![actor, action, object, before, after, request_id, Timestamp::now()]).await?)
}

/// Something that the staff did.
#[derive(Serialize, ToSchema)]
pub struct AuditEntry {
    #[schema(minimum = 1)]
    audit_id: i64,
    /// The user who did it.
    actor: UserId,
    /// What was done.
    #[schema(example = "product.update")]
    action: String,
    /// What it was done to: the id of a product, a user …
    #[schema(example = "17")]
    object: String,
    /// Before the change; null for what was created.
    #[schema(required, value_type = Object, nullable)]
    before: Value,
    /// After the change; null for what was removed.
    #[schema(required, value_type = Object, nullable)]
    after: Value,
    at: Timestamp,
    /// The `X-Request-Id` of the request.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$", example = "01KAVT2Q8ZJ6Y4T9V3N5R7W1XC")]
    request_id: String,
}

row! {
    struct EntryRow {
        id: i64, actor_id: UserId, action: String, object: String, before_json: String, after_json: String,
        request_id: String, created_at: Timestamp,
    }
}

/// A page of the audit log, newest first, optionally of one actor or one action only.
pub async fn list(
    db: &mut Connection,
    actor: Option<UserId>,
    action: Option<&str>,
    page: &PageQuery,
) -> Result<Page<AuditEntry>> {
    let (limit, before) = (page.limit()?, page.cursor::<i64>()?.unwrap_or(i64::MAX));
    let (mut conditions, mut values) = (vec!["id < ?"], params![before]);
    if let Some(actor) = actor {
        conditions.push("actor_id = ?");
        values.extend(params![actor]);
    }
    if let Some(action) = action {
        conditions.push("action = ?");
        values.extend(params![action]);
    }
    let sql = format!(
        "SELECT {} FROM audit_log WHERE {} ORDER BY id DESC LIMIT ?",
        EntryRow::COLUMNS,
        conditions.join(" AND ")
    );
    values.extend(params![i64::from(limit).saturating_add(1)]);
    let rows = db.query::<EntryRow>(&sql, values).await?;
    let entries = rows.into_iter().map(AuditEntry::try_from).collect::<Result<Vec<_>>>()?;
    Ok(Page::new(entries, limit, |entry: &AuditEntry| entry.audit_id))
}

impl TryFrom<EntryRow> for AuditEntry {
    type Error = Problem;

    fn try_from(row: EntryRow) -> Result<Self> {
        let value = |json: &str| serde_json::from_str(json).map_err(|error| Problem::internal().because(error));
        Ok(AuditEntry {
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
