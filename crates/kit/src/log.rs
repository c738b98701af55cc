//! One JSON object a line on standard output.

use std::io::Write;

use serde::Serialize;

use crate::Timestamp;

/// What went wrong, for the operator: may hold what the host or the database said, never a secret of ours.
pub fn error(request_id: Option<&str>, message: &str, cause: &dyn std::fmt::Display) {
    #[derive(Serialize)]
    struct Line<'a> {
        ts: Timestamp,
        level: &'a str,
        message: &'a str,
        cause: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<&'a str>,
    }
    let fields = Line { ts: Timestamp::now(), level: "error", message, cause: cause.to_string(), request_id };
    if let Ok(json) = serde_json::to_string(&fields) {
        line(&json);
    }
}

/// Writes a line that is a JSON object, in one piece.
pub(crate) fn line(json: &str) {
    // Nobody to tell when standard output is gone.
    let _ = std::io::stdout().lock().write_all(format!("{json}\n").as_bytes());
}
