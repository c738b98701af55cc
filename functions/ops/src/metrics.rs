//! `GET /metrics`, in Prometheus's text format
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>).

use std::fmt::Write;

use axum::response::IntoResponse;
use http::header;
use kit::{Result, Timestamp, jobs::Queue, mysql, params, row};

row! {
    struct JobsRow { queue: String, state: String, count: i64 }
}

row! {
    struct DueRow { queue: String, due_at: i64 }
}

row! {
    struct OrdersRow { status: String, count: i64 }
}

row! {
    struct StockRow { available: i64, reserved: i64, sold: i64 }
}

/// Figures for Prometheus
///
/// Jobs by queue and state, how long the oldest has been due, orders by status, units of stock.
#[utoipa::path(
    get, path = "/metrics", tag = "operation",
    responses(
        (status = 200, description = "Prometheus text", content_type = "text/plain"),
        (status = 503, description = "`unavailable`"),
    )
)]
pub async fn show() -> Result<impl IntoResponse> {
    const JOBS: &str = "SELECT queue, state, COUNT(*) AS count FROM jobs GROUP BY queue, state ORDER BY queue, state";
    const DUE: &str = "SELECT queue, MIN(due_at) AS due_at FROM jobs WHERE due_at <= ? GROUP BY queue";
    const ORDERS: &str = "SELECT status, COUNT(*) AS count FROM orders GROUP BY status ORDER BY status";
    const STOCK: &str = "
        SELECT CAST(COALESCE(SUM(available), 0) AS SIGNED) AS available,
               CAST(COALESCE(SUM(reserved), 0) AS SIGNED) AS reserved,
               CAST(COALESCE(SUM(sold), 0) AS SIGNED) AS sold
        FROM products";
    let now = Timestamp::now();
    let mut db = mysql::connection().await?;
    let jobs = db.query::<JobsRow>(JOBS, vec![]).await?;
    let due = db.query::<DueRow>(DUE, params![now]).await?;
    let orders = db.query::<OrdersRow>(ORDERS, vec![]).await?;
    let stock = db.query_one::<StockRow>(STOCK, vec![]).await?;

    let mut text = Metrics::default();
    text.family("mall_jobs", "Jobs by queue and state: queued, leased by a worker, or dead.");
    for row in jobs {
        text.sample("mall_jobs", &format!(r#"queue="{}",state="{}""#, row.queue, row.state), row.count);
    }
    text.family("mall_jobs_oldest_due_seconds", "How long the oldest job that a worker may take has been due.");
    for queue in Queue::ALL.map(Queue::name) {
        let due_at = due.iter().find(|row| row.queue == queue).map_or(now.0, |row| row.due_at);
        let seconds = now.0.saturating_sub(due_at) / 1000;
        text.sample("mall_jobs_oldest_due_seconds", &format!(r#"queue="{queue}""#), seconds);
    }
    text.family("mall_orders", "Orders by status.");
    for row in orders {
        text.sample("mall_orders", &format!(r#"status="{}""#, row.status), row.count);
    }
    text.family("mall_stock_units", "Units of all products.");
    let stock = stock.unwrap_or(StockRow { available: 0, reserved: 0, sold: 0 });
    for (state, units) in [("available", stock.available), ("reserved", stock.reserved), ("sold", stock.sold)] {
        text.sample("mall_stock_units", &format!(r#"state="{state}""#), units);
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.0))
}

/// All of them are gauges. Names and values are ours, without anything that would have to be escaped.
#[derive(Default)]
struct Metrics(String);

impl Metrics {
    fn family(&mut self, name: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} gauge\n");
    }

    fn sample(&mut self, name: &str, labels: &str, value: i64) {
        let _ = writeln!(self.0, "{name}{{{labels}}} {value}");
    }
}
