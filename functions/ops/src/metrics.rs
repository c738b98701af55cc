//! `GET /metrics`, in Prometheus's text format
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>).

use std::fmt::Write;

use axum::response::IntoResponse;
use http::header;
use kit::{
    Result, Timestamp,
    jobs::{self, Queue},
    mysql,
};
use products::stock;
use strum::VariantArray;

/// Get metrics for Prometheus
///
/// Jobs by queue and state, for how long the oldest has been due, orders by status, units in stock.
#[utoipa::path(
    get, path = "/metrics", tag = "operation",
    responses(
        (status = 200, description = "Prometheus text", content_type = "text/plain"),
        (status = 503, description = "`unavailable`"),
    )
)]
pub async fn show() -> Result<impl IntoResponse> {
    let mut db = mysql::connection().await?;
    let (jobs, due) = jobs::counts(&mut db).await?;
    let orders = ordering::count_by_status(&mut db).await?;
    let stock = stock::totals(&mut db).await?;
    let now = Timestamp::now();

    let mut text = Metrics::default();
    text.family("mall_jobs", "Jobs by queue and state: queued, leased, or dead.");
    for row in jobs {
        text.sample("mall_jobs", &format!(r#"queue="{}",state="{}""#, row.queue, row.state), row.count);
    }
    text.family("mall_jobs_oldest_due_seconds", "For how long the oldest job that is due has been due.");
    for queue in Queue::VARIANTS {
        let due_at = due.iter().find(|(name, _)| name == queue).map_or(now, |(_, due_at)| *due_at);
        let seconds = now.0.saturating_sub(due_at.0) / 1000;
        text.sample("mall_jobs_oldest_due_seconds", &format!(r#"queue="{}""#, queue.name()), seconds);
    }
    text.family("mall_orders", "Orders by status.");
    for row in orders {
        text.sample("mall_orders", &format!(r#"status="{}""#, row.status.name()), row.count);
    }
    text.family("mall_stock_units", "Units of all products by stock count.");
    for (state, units) in [("available", stock.available), ("reserved", stock.reserved), ("sold", stock.sold)] {
        text.sample("mall_stock_units", &format!(r#"state="{state}""#), units);
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.0))
}

/// Gauges only. Their names and labels are ours and need no escaping.
#[derive(Default)]
struct Metrics(String);

impl Metrics {
    fn family(&mut self, name: &str, help: &str) {
        // Writing to a string can't fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} gauge\n");
    }

    fn sample(&mut self, name: &str, labels: &str, value: i64) {
        let _ = writeln!(self.0, "{name}{{{labels}}} {value}");
    }
}
