//! One JSON object a line on standard output. Every line names the request or the job that it belongs to.

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

/// What went wrong and is no request's or job's own outcome. It may hold what the host or the database said, never a
/// secret of ours.
pub fn error(message: &str, cause: &dyn std::fmt::Display) {
    write("error", message, cause);
}

/// What an operator should look at.
pub fn warn(message: &str, cause: &dyn std::fmt::Display) {
    write("warn", message, cause);
}

/// Warns if something failed that the request's outcome does not depend on.
pub fn warn_if_failed<T>(message: &str, result: crate::Result<T>) {
    if let Err(problem) = result {
        warn(message, &problem);
    }
}

fn write(level: &str, message: &str, cause: &dyn std::fmt::Display) {
    to_line(&Line { ts: Timestamp::now(), level, message, cause: Some(cause.to_string()), fields: Fields::current() });
}

/// The request's line: an error with its cause for 5xx.
pub(crate) fn request(
    function: &str,
    method: &Method,
    status: StatusCode,
    problem: Option<&Problem>,
    took: Duration,
    context: &Context,
) {
    // Put together by hand, since it is on every request's path. None of these parts holds what JSON would have to
    // escape: a method is a token, a route is ours, the ids are checked.
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
    lines(&json);
}

/// A job's line. `outcome` is the level, what happened and why.
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

/// Jobs that are done, in one piece: a line each.
pub(crate) fn jobs_done<'a>(jobs: impl IntoIterator<Item = &'a JobContext>, took: Duration) {
    let (ts, ms) = (Timestamp::now(), u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    let line = |job| JobLine { ts, level: "info", message: "job done", fields: Fields::from(job), ms, cause: None };
    let all: Vec<_> = jobs.into_iter().filter_map(|job| serde_json::to_string(&line(job)).ok()).collect();
    if !all.is_empty() {
        lines(&all.join("\n"));
    }
}

/// A job that failed: an error if it is given up, else a warning.
pub(crate) fn job_failed(job: &JobContext, cause: &str, will_retry: bool, took: Duration) {
    let (level, message) = if will_retry { ("warn", "job failed, to be retried") } else { ("error", "job given up") };
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    to_line(&JobLine { ts: Timestamp::now(), level, message, fields: Fields::from(job), ms, cause: Some(cause) });
}

fn to_line(line: &impl Serialize) {
    if let Ok(json) = serde_json::to_string(line) {
        lines(&json);
    }
}

/// Writes JSON objects, each on a line, in one piece.
fn lines(json: &str) {
    // There is nowhere to report it if standard output is closed.
    let _ = std::io::stdout().lock().write_all(format!("{json}\n").as_bytes());
}
