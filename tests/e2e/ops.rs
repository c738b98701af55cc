//! Health, readiness and the API documentation page.

use mysql_async::prelude::Queryable;
use serde_json::json;

use crate::harness::{DedicatedShop, Servers, Shop};

#[tokio::test]
async fn health_answers_200() {
    Shop::running().get("/health").await.is(200);
}

#[tokio::test]
async fn ready_names_the_databases() {
    let ready = Shop::running().get("/ready").await.is(200);
    assert_eq!((&ready["mysql"], &ready["redis"]), (&json!("ok"), &json!("ok")));
}

#[tokio::test]
async fn the_api_docs_load_nothing_from_elsewhere() {
    let reply = Shop::running().get("/api/docs").await;
    assert_eq!(reply.status, 200);
    let content_type = reply.header("content-type").unwrap_or_default();
    assert!(content_type.starts_with("text/html"), "{reply}");
    let page = String::from_utf8_lossy(&reply.body).to_lowercase();
    assert!(page.contains("<!doctype html") && page.contains("</html>"), "{reply}");
    for pattern in [
        "src=\"http",
        "src='http",
        "src=http",
        "src=\"//",
        "href=\"//",
        "@import",
        "url(http",
        "url(//",
        "fetch(\"http",
        "fetch('http",
        "import(\"http",
    ] {
        assert!(!page.contains(pattern), "the page loads something from elsewhere: {pattern}");
    }
    // `<a>` may lead elsewhere, `<link>` may not.
    for link in page.split("<link").skip(1) {
        let link = link.split('>').next().unwrap_or_default();
        assert!(!link.contains("http"), "{link}");
    }
    assert!(page.contains("openapi.json") || page.contains("/api/product"), "the page shows the API");
}

/// The value of a sample.
fn sample(metrics: &str, name: &str) -> Option<i64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test]
async fn metrics_count_jobs_and_orders_of_every_kind_up_to_a_bound() {
    let servers = Servers::start().await;
    let shop = DedicatedShop::on(&servers).start().await;
    let user = shop.user().await;
    user.new_order(&[(shop.product(json!({})).await, 1)]).await;
    let mut mysql = servers.mysql().await;
    // Of a later version, which may run beside this one; and a name that would end its label.
    let orders = "INSERT INTO orders (order_no, user_id, status, subtotal_cents, discount_cents, total_cents, currency,
                                      discounts, created_at, expires_at)
                  SELECT CONCAT('N', SUBSTRING(order_no, 2)), user_id, 'new\"state', 1, 0, 1, 'CNY', '[]', 0, 0 FROM orders";
    mysql.query_drop(orders).await.expect("an order");
    let job = "INSERT INTO jobs (queue, state, due_at, payload, created_at) VALUES ";
    let due = "('later_version', 'queued', UNIX_TIMESTAMP() * 1000 - 60000, '{}', 0)";
    mysql.query_drop(format!("{job}{due}")).await.expect("a job");
    let later = vec!["('later_version', 'queued', 9000000000000, '{}', 0)"; 2001].join(",");
    for _ in 0..3 {
        mysql.query_drop(format!("{job}{later}")).await.expect("jobs");
    }
    mysql.query_drop("ANALYZE TABLE jobs").await.expect("estimates");

    let reply = shop.get("/metrics").await;
    assert_eq!(reply.status, 200, "{reply}");
    let metrics = String::from_utf8_lossy(&reply.body).into_owned();
    let is = |name: &str| sample(&metrics, name).unwrap_or_else(|| panic!("{name} in {metrics}"));
    assert_eq!(is(r#"mall_orders{status="pending"}"#), 1);
    assert_eq!(is(r#"mall_orders{status="new\"state"}"#), 1);
    assert_eq!(is(r#"mall_jobs{queue="later_version",state="due"}"#), 1);
    assert_eq!(is(r#"mall_jobs{queue="later_version",state="later"}"#), 5_000);
    assert_eq!(is(r#"mall_jobs{queue="later_version",state="dead"}"#), 0);
    let age = is(r#"mall_jobs_oldest_due_seconds{queue="later_version"}"#);
    assert!((59..120).contains(&age), "{age}");
    assert_eq!(is(r#"mall_jobs_oldest_due_seconds{queue="notify"}"#), 0);
    let rows = is(r#"mall_table_rows{table="jobs"}"#);
    assert!((3_000..12_000).contains(&rows), "{rows}");
    assert_eq!(is(r#"mall_stock_units{state="reserved"}"#), 1);
}
