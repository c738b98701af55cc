//! What is no longer needed is deleted, and nothing else.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mysql_async::prelude::Queryable;
use serde_json::json;

use crate::harness::{DedicatedShop, Servers, eventually};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Milliseconds since 1970, `days` ago.
fn days_ago(days: f64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis();
    i64::try_from(now).expect("a time") - (days * DAY_MS as f64) as i64
}

/// Makes the job due, and wakes its worker.
async fn run(servers: &Servers) {
    let mut mysql = servers.mysql().await;
    mysql.query_drop("UPDATE jobs SET due_at = 0 WHERE queue = 'retention'").await.expect("the job");
    let mut redis = servers.redis().await;
    redis::cmd("PUBLISH").arg("mall:retention").arg("").query_async::<()>(&mut redis).await.expect("published");
}

#[tokio::test]
async fn old_rows_are_deleted_and_young_ones_stay() {
    let servers = Servers::start().await;
    let shop = DedicatedShop::on(&servers).start().await;
    let user = shop.user().await;
    let (user_id, mut mysql) = (user.user_id, servers.mysql().await);

    // Several batches of keys.
    let key = "INSERT INTO idempotency_keys (user_id, scope, idempotency_key, body_hash, claimed_at, status, reply)
               VALUES (?, 'POST /x', ?, REPEAT('x', 32), ?, 200, '{}')";
    for (count, days) in (0..1100).map(|count| (count, 1.1)).chain([(2000, 0.9), (2001, 0.0)]) {
        mysql.exec_drop(key, (user_id, format!("k-{count}"), days_ago(days))).await.expect("a key");
    }
    // Sessions that expired or ended; each with a token.
    let session = "INSERT INTO sessions (id, user_id, created_at, expires_at, ended_at) VALUES (?, ?, 0, ?, ?)";
    let token = "INSERT INTO refresh_tokens (hash, session_id, used_at) VALUES (UNHEX(SHA2(?, 256)), ?, ?)";
    let sessions = [
        (1001, days_ago(31.0), None),
        (1002, days_ago(-1.0), Some(days_ago(31.0))),
        (1003, days_ago(29.0), None),
        (1004, days_ago(-1.0), Some(days_ago(29.0))),
        (1005, days_ago(-1.0), None),
    ];
    for (id, expires_at, ended_at) in sessions {
        mysql.exec_drop(session, (id, user_id, expires_at, ended_at)).await.expect("a session");
        mysql.exec_drop(token, (format!("of-{id}"), id, None::<i64>)).await.expect("a token");
    }
    for (name, days) in [("old", 31.0), ("young", 29.0)] {
        mysql.exec_drop(token, (name, 1005, days_ago(days))).await.expect("a used token");
        let reset = "INSERT INTO password_resets (hash, user_id, expires_at) VALUES (UNHEX(SHA2(?, 256)), ?, ?)";
        mysql.exec_drop(reset, (name, user_id, days_ago(days))).await.expect("a reset");
    }
    let message = "INSERT INTO messages (user_id, job_id, kind, subject, body, created_at)
                   VALUES (?, ?, 'order_paid', '', '', ?)";
    for (job_id, days) in [(9_000_001, 366.0), (9_000_002, 400.0), (9_000_003, 364.0), (9_000_004, 0.0)] {
        mysql.exec_drop(message, (user_id, job_id, days_ago(days))).await.expect("a message");
    }
    let dead = "INSERT INTO jobs (queue, state, due_at, attempts, payload, created_at, dead_since)
                VALUES ('notify', 'dead', 9223372036854775807, 8, '{}', 0, ?)";
    for dead_since in [Some(days_ago(91.0)), Some(days_ago(89.0)), None] {
        mysql.exec_drop(dead, (dead_since,)).await.expect("a dead job");
    }
    let order = user.new_order(&[(shop.product(json!({})).await, 1)]).await;
    mysql.query_drop("UPDATE order_log SET created_at = 0").await.expect("an old entry");

    run(&servers).await;
    const WAITING: &str = "SELECT COUNT(*) FROM jobs WHERE queue = 'retention' AND state = 'queued' AND attempts = 0
                           AND due_at > UNIX_TIMESTAMP() * 1000 + 1800000";
    eventually("everything is deleted", Duration::from_secs(30), async || {
        (servers.number(WAITING).await == 1).then_some(())
    })
    .await;
    let left = [
        ("idempotency keys", "SELECT COUNT(*) FROM idempotency_keys", 2),
        ("sessions", "SELECT COUNT(*) FROM sessions WHERE id IN (1003, 1004, 1005)", 3),
        ("old sessions", "SELECT COUNT(*) FROM sessions WHERE id IN (1001, 1002)", 0),
        ("tokens", "SELECT COUNT(*) FROM refresh_tokens WHERE session_id BETWEEN 1001 AND 1005", 4),
        ("old tokens", "SELECT COUNT(*) FROM refresh_tokens WHERE hash = UNHEX(SHA2('old', 256))", 0),
        ("resets", "SELECT COUNT(*) FROM password_resets", 1),
        ("messages", "SELECT COUNT(*) FROM messages WHERE job_id IN (9000003, 9000004)", 2),
        ("old messages", "SELECT COUNT(*) FROM messages WHERE job_id IN (9000001, 9000002)", 0),
        ("dead jobs", "SELECT COUNT(*) FROM jobs WHERE state = 'dead' AND dead_since IS NOT NULL", 2),
        ("the order log", "SELECT COUNT(*) FROM order_log", 1),
    ];
    for (what, sql, count) in left {
        assert_eq!(servers.number(sql).await, count, "{what}");
    }
    assert_eq!(user.get_order(&order).await["status"], "pending");
    assert_eq!(servers.number("SELECT COUNT(*) FROM jobs WHERE queue = 'retention'").await, 1);
}
