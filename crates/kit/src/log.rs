//! One JSON object a line on standard output.

use std::{io::Write, time::Duration};

use serde::Serialize;

use crate::Timestamp;

#[derive(Serialize)]
struct Line<'a> {
    ts: Timestamp,
    level: &'a str,
    message: &'a str,
    cause: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

/// What went wrong, for the operator: may hold what the host or the database said, never a secret of ours.
pub fn error(request_id: Option<&str>, message: &str, cause: &dyn std::fmt::Display) {
    write("error", request_id, message, cause);
}

/// What is worth an operator's look.
pub fn warn(message: &str, cause: &dyn std::fmt::Display) {
    write("warn", None, message, cause);
}

fn write(level: &str, request_id: Option<&str>, message: &str, cause: &dyn std::fmt::Display) {
    let fields = Line { ts: Timestamp::now(), level, message, cause: cause.to_string(), request_id };
    if let Ok(json) = serde_json::to_string(&fields) {
        line(&json);
    }
}

/// What a worker did after a bell.
pub(crate) fn worked(queue: &str, jobs: usize, failed: usize, took: Duration) {
    let (ts, ms) = (Timestamp::now(), took.as_millis());
    line(&format!(r#"{{"ts":"{ts}","level":"info","function":"{queue}","jobs":{jobs},"failed":{failed},"ms":{ms}}}"#));
}

/// Writes a line that is a JSON object, in one piece.
pub(crate) fn line(json: &str) {
    // Nobody to tell when standard output is gone.
    let _ = std::io::stdout().lock().write_all(format!("{json}\n").as_bytes());
}
