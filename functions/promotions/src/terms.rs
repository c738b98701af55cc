//! What promotions and coupons have in common.

use kit::{
    Problem, Result, Timestamp,
    check::Checks,
    mysql::{Connection, marks, param},
};
use ordering::Rule;

/// Holds against them what can't be.
pub fn check(checks: &mut Checks, name: &str, rule: &Rule, starts_at: Option<Timestamp>, ends_at: Option<Timestamp>) {
    checks.text("name", name, 1, 64);
    rule.check(checks);
    let in_turn = starts_at.is_none_or(|start| ends_at.is_none_or(|end| start < end));
    checks.that(in_turn, "ends_at", "must lie after starts_at");
}

/// 422 unless all that a rule names is there.
pub async fn check_scope(db: &mut Connection, rule: &Rule) -> Result<()> {
    let named = [("category_ids", "categories", &rule.category_ids), ("product_ids", "products", &rule.product_ids)];
    for (field, table, ids) in named.into_iter().filter(|(_, _, ids)| !ids.is_empty()) {
        let sql = format!("SELECT id FROM {table} WHERE id IN ({})", marks(ids.len()));
        let found = db.query::<(i64,)>(&sql, ids.iter().map(|id| param(*id)).collect()).await?;
        if let Some(missing) = ids.iter().find(|id| !found.contains(&(**id,))) {
            return Err(Problem::invalid(format!("rule.{field}"), format!("{missing} is not among the {table}")));
        }
    }
    Ok(())
}
