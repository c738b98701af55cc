//! One JSON object a line on standard output.

use serde::Serialize;

use crate::Timestamp;

#[derive(Serialize)]
struct Line<'a, T: Serialize> {
    ts: Timestamp,
    level: &'a str,
    #[serde(flatten)]
    fields: T,
}

/// What went wrong, for the operator: may hold what the host or the database said, never a secret of ours.
pub fn error(request_id: Option<&str>, message: &str, cause: &dyn std::fmt::Display) {
    #[derive(Serialize)]
    struct Fields<'a> {
        message: &'a str,
        cause: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<&'a str>,
    }
    write("error", Fields { message, cause: cause.to_string(), request_id });
}

pub(crate) fn write(level: &str, fields: impl Serialize) {
    if let Ok(mut line) = serde_json::to_vec(&Line { ts: Timestamp::now(), level, fields }) {
        line.push(b'\n');
        // Nobody to tell when standard output is gone.
        let _ = std::io::Write::write_all(&mut std::io::stdout().lock(), &line);
    }
}
