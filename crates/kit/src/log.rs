//! Logging: one JSON object a line on standard output. Every line has the ids of the current request or job.

use std::{io::Write, time::Duration};

use http::{Method, StatusCode};
use serde::Serialize;

use crate::{
    Context, Problem, Timestamp,
    context::{Fields, JobContext},
};

#[derive(Serialize)]
struct Line<'a> {
    ts: Timestamp,
    level: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(flatten)]
    fields: Fields,
}

/// Logs an error that is not the outcome of a request or job. The cause may quote the host or the database, but no
/// secret.
pub fn error(message: &str, cause: &dyn std::fmt::Display) {
    write("error", message, cause);
}

/// Logs a warning: something that an operator should look at.
pub fn warn(message: &str, cause: &dyn std::fmt::Display) {
    write("warn", message, cause);
}

/// Logs a warning if a step failed that does not affect the outcome of the request or job.
pub fn warn_if_failed<T>(message: &str, result: crate::Result<T>) {
    if let Err(problem) = result {
        warn(message, &problem);
    }
}

fn write(level: &str, message: &str, cause: &dyn std::fmt::Display) {
    to_line(&Line { ts: Timestamp::now(), level, message, cause: Some(cause.to_string()), fields: Fields::current() });
}

/// Logs a request: at `error`, with the cause, for 5xx.
pub(crate) fn request(
    function: &str,
    method: &Method,
    status: StatusCode,
    problem: Option<&Problem>,
    took: Duration,
    context: &Context,
) {
    // Formatted by hand, since every request writes this line. No part needs escaping: a method is a token, a route is
    // one of ours, the ids are validated.
    let (ts, us, route) = (Timestamp::now(), took.as_micros(), context.route());
    let (request_id, trace_id) = (context.request_id(), context.trace_id());
    let level = if status.is_server_error() { "error" } else { "info" };
    let mut json = format!(
        r#"{{"ts":"{ts}","level":"{level}","function":"{function}","method":"{method}","route":"{route}","status":{},"ms":{}.{:03},"request_id":"{request_id}","trace_id":"{trace_id}""#,
        status.as_u16(),
        us / 1000,
        us % 1000,
    );
    if let Some(user_id) = context.user_id() {
        json.push_str(&format!(r#","user_id":{user_id}"#));
    }
    if let Some(problem) = problem {
        json.push_str(&format!(r#","code":"{}""#, problem.code.name()));
        if let Some(cause) = problem.cause().and_then(|cause| serde_json::to_string(cause).ok()) {
            json.push_str(&format!(r#","cause":{cause}"#));
        }
    }
    json.push('}');
    lines(json);
}

/// A job's line.
#[derive(Serialize)]
struct JobLine<'a> {
    ts: Timestamp,
    level: &'a str,
    message: &'a str,
    #[serde(flatten)]
    fields: Fields,
    ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
}

/// Logs finished jobs, one line each, in one write.
pub(crate) fn jobs_done<'a>(jobs: impl IntoIterator<Item = &'a JobContext>, took: Duration) {
    let (ts, ms) = (Timestamp::now(), u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    let line = |job| JobLine { ts, level: "info", message: "job done", fields: Fields::from(job), ms, cause: None };
    let all: Vec<_> = jobs.into_iter().filter_map(|job| serde_json::to_string(&line(job)).ok()).collect();
    if !all.is_empty() {
        lines(all.join("\n"));
    }
}

/// Logs a failed job: a warning if it will be retried, else an error.
pub(crate) fn job_failed(job: &JobContext, cause: &str, will_retry: bool, took: Duration) {
    let (level, message) =
        if will_retry { ("warn", "job failed, will be retried") } else { ("error", "job failed, giving up") };
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    to_line(&JobLine { ts: Timestamp::now(), level, message, fields: Fields::from(job), ms, cause: Some(cause) });
}

fn to_line(line: &impl Serialize) {
    if let Ok(json) = serde_json::to_string(line) {
        lines(json);
    }
}

/// Writes JSON objects, one per line, in one write.
fn lines(mut json: String) {
    json.push('\n');
    // There is nowhere to report it if standard output is closed.
    let _ = std::io::stdout().lock().write_all(json.as_bytes());
}
