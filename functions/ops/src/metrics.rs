//! `GET /metrics`, in Prometheus's text format
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>).

use std::fmt::Write;

use axum::response::IntoResponse;
use http::header;
use kit::{
    Result, Timestamp,
    jobs::{self, Queue},
    mysql::{self, Connection, MAX_COUNT},
    row,
};
use ledger::Balance;
use products::stock;
use strum::VariantArray;

/// Get metrics for Prometheus
///
/// Jobs by queue and state, for how long the oldest has been due, orders by status, units in stock, balances of the ledger,
/// rows by table. So that this stays cheap, jobs and orders are counted up to 5,000 each, and rows are the database's
/// estimates.
#[utoipa::path(
    get, path = "/metrics", tag = "operation",
    responses(
        (status = 200, description = "Prometheus text", content_type = "text/plain"),
        (status = 503, description = "`unavailable`"),
    )
)]
pub async fn show() -> Result<impl IntoResponse> {
    let mut db = mysql::connection().await?;
    let jobs = jobs::counts(&mut db).await?;
    let orders = ordering::count_by_status(&mut db).await?;
    let stock = stock::totals(&mut db).await?;
    let balances = ledger::balances(&mut db).await?;
    let tables = table_rows(&mut db).await?;
    let now = Timestamp::now();

    let mut text = Metrics::default();
    let help = format!("Jobs by queue and state: due, later, or dead. Counted up to {MAX_COUNT}.");
    text.family("mall_jobs", &help);
    for row in &jobs {
        for (state, count) in [("due", row.due), ("later", row.later), ("dead", row.dead)] {
            text.sample("mall_jobs", &[("queue", &row.queue), ("state", state)], count);
        }
    }
    text.family("mall_jobs_oldest_due_seconds", "For how long the oldest job that is due has been due.");
    let empty =
        Queue::VARIANTS.iter().map(|queue| queue.name()).filter(|name| jobs.iter().all(|row| row.queue != *name));
    let next = jobs.iter().map(|row| (row.queue.as_str(), row.next_due_at)).chain(empty.map(|name| (name, now)));
    for (queue, due_at) in next {
        let seconds = now.0.saturating_sub(due_at.0).max(0) / 1000;
        text.sample("mall_jobs_oldest_due_seconds", &[("queue", queue)], seconds);
    }
    text.family("mall_orders", &format!("Orders by status. Counted up to {MAX_COUNT}."));
    for row in orders {
        text.sample("mall_orders", &[("status", &row.status)], row.count);
    }
    text.family("mall_stock_units", "Units of all products by stock count.");
    for (state, units) in [("available", stock.available), ("reserved", stock.reserved), ("sold", stock.sold)] {
        text.sample("mall_stock_units", &[("state", state)], units);
    }
    text.family("mall_ledger_balance_cents", "Balance of each of the ledger's accounts: debits less credits.");
    for Balance { account, currency, balance_cents, .. } in &balances {
        text.sample("mall_ledger_balance_cents", &[("account", account), ("currency", currency)], balance_cents.0);
    }
    text.family("mall_table_rows", "Rows by table, as the database estimates them.");
    for row in tables {
        text.sample("mall_table_rows", &[("table", &row.table)], row.count);
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.0))
}

row! {
    struct TableRows { table: String as "TABLE_NAME", count: i64 as "TABLE_ROWS" }
}

/// The database's estimates.
async fn table_rows(db: &mut Connection) -> Result<Vec<TableRows>> {
    // MySQL keeps them for a day unless told otherwise. MariaDB does not know the variable, and ignores the comment.
    const KEEP_NONE: &str = "SET /*!80000 SESSION information_schema_stats_expiry = 0, */ @mall_metrics = 1";
    db.execute(KEEP_NONE, vec![]).await?;
    let sql = format!(
        "SELECT {} FROM information_schema.TABLES
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'BASE TABLE' ORDER BY TABLE_NAME",
        TableRows::COLUMNS
    );
    Ok(db.query(&sql, vec![]).await?)
}

/// Gauges only.
#[derive(Default)]
struct Metrics(String);

impl Metrics {
    fn family(&mut self, name: &str, help: &str) {
        // Writing to a string can't fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} gauge\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: i64) {
        let labels: Vec<_> = labels.iter().map(|(label, value)| format!(r#"{label}="{}""#, escape(value))).collect();
        let _ = writeln!(self.0, "{name}{{{}}} {value}", labels.join(","));
    }
}

/// A label's value; it comes from the database.
fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_end_its_label() {
        let mut text = Metrics::default();
        text.sample("a", &[("b", "c\"} 1\n\\"), ("d", "e")], 2);
        assert_eq!(text.0, "a{b=\"c\\\"} 1\\n\\\\\",d=\"e\"} 2\n");
    }
}
