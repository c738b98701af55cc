//! The current request, or the current jobs of a worker. Log lines and new jobs take their ids from here, so that a
//! request can be followed through everything that it causes.

use std::{
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::extract::MatchedPath;
use futures::future::{Either, select};
use http::{HeaderMap, HeaderName, header};
use serde::Serialize;
use spin_sdk::wasip3;
use tokio::sync::SetOnce;
use ulid::Ulid;

use crate::{Problem, Result, UserId};

/// After this time a request begins nothing more: no statement, no command, no commit.
pub(crate) const WORK_TIME: Duration = Duration::from_millis(4000);

/// How much of the request's time had passed when this function got it, in milliseconds. Spin does not set it. A client
/// that sends it only shortens its own request's time.
const ELAPSED_MS: HeaderName = HeaderName::from_static("x-elapsed-ms");

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

tokio::task_local! {
    static CURRENT: Work;
}

/// What the current task works on.
#[derive(Clone)]
enum Work {
    Request(Context),
    /// What a request must do even if its time is up, such as what follows its commit.
    Committed(Context),
    Jobs(Arc<[JobContext]>),
}

/// The ids of the request that caused some work. They are in its log lines, and are stored with the jobs that it
/// enqueues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub request_id: String,
    /// W3C trace context, version 00 (<https://www.w3.org/TR/trace-context/#traceparent-header>).
    pub traceparent: String,
}

impl Origin {
    fn new(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let request_id = text(REQUEST_ID).filter(|id| is_request_id(id)).map(str::to_owned);
        let traceparent = text(TRACEPARENT).and_then(parse_traceparent);
        let id = Ulid::generate();
        Origin {
            request_id: request_id.unwrap_or_else(|| id.to_string()),
            traceparent: traceparent.unwrap_or_else(|| new_traceparent(id)),
        }
    }

    /// The trace id: 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        self.traceparent.get(3..35).unwrap_or_default()
    }
}

fn elapsed_before(headers: &HeaderMap) -> Duration {
    let milliseconds = headers.get(ELAPSED_MS).and_then(|value| value.to_str().ok()?.parse().ok());
    milliseconds.map_or(Duration::ZERO, Duration::from_millis)
}

fn is_request_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// `<version>-<trace id>-<parent id>-<flags>` in lower-case hexadecimal, as version 00. Neither id is all zeros. Later
/// versions may add fields, and are read as version 00.
fn parse_traceparent(text: &str) -> Option<String> {
    let is_hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let is_id = |part: &str, length| is_hex(part, length) && part.bytes().any(|b| b != b'0');
    let parts: Vec<_> = text.split('-').collect();
    let [version, trace_id, parent_id, flags, more @ ..] = parts.as_slice() else { return None };
    let is_version = is_hex(version, 2) && *version != "ff" && (*version != "00" || more.is_empty());
    let is_valid = is_version && is_id(trace_id, 32) && is_id(parent_id, 16) && is_hex(flags, 2);
    is_valid.then(|| format!("00-{trace_id}-{parent_id}-{flags}"))
}

/// The trace id is the whole id, the parent id its lower half, which is random.
fn new_traceparent(id: Ulid) -> String {
    format!("00-{:032x}-{:016x}-00", id.0, (id.0 as u64).max(1))
}

/// Data of a request for its log lines and its language. It is one of the request's extensions.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    origin: Origin,
    /// 0 while nobody is signed in.
    user_id: AtomicI64,
    route: OnceLock<MatchedPath>,
    accept_language: Option<String>,
    /// How long the request waited for its body or its turn before `started`.
    elapsed_before: Duration,
    started: Instant,
    /// Set when [`WORK_TIME`] has passed.
    late: SetOnce<()>,
    is_reading_body: AtomicBool,
    may_have_committed: AtomicBool,
}

impl Context {
    pub(crate) fn new(headers: &HeaderMap) -> Self {
        let accept_language = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        Context(Arc::new(Inner {
            origin: Origin::new(headers),
            user_id: AtomicI64::new(0),
            route: OnceLock::new(),
            accept_language: accept_language.map(str::to_owned),
            elapsed_before: elapsed_before(headers),
            started: Instant::now(),
            late: SetOnce::new(),
            is_reading_body: AtomicBool::new(false),
            may_have_committed: AtomicBool::new(false),
        }))
    }

    pub fn request_id(&self) -> &str {
        &self.0.origin.request_id
    }

    pub(crate) fn trace_id(&self) -> &str {
        self.0.origin.trace_id()
    }

    /// The header `Accept-Language`.
    pub fn accept_language(&self) -> Option<&str> {
        self.0.accept_language.as_deref()
    }

    pub(crate) fn route(&self) -> &str {
        self.0.route.get().map_or("", MatchedPath::as_str)
    }

    pub(crate) fn set_route(&self, route: &MatchedPath) {
        // Fails only if the route is set already.
        let _ = self.0.route.set(route.clone());
    }

    pub(crate) fn user_id(&self) -> Option<UserId> {
        UserId::try_from(self.0.user_id.load(Ordering::Relaxed)).ok()
    }

    pub(crate) fn set_user_id(&self, user_id: UserId) {
        self.0.user_id.store(user_id.get(), Ordering::Relaxed);
    }

    /// How long ago the request's headers came.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed_before.saturating_add(self.0.started.elapsed())
    }

    /// How much of [`WORK_TIME`] is left.
    pub(crate) fn time_left(&self) -> Duration {
        WORK_TIME.saturating_sub(self.elapsed())
    }

    /// Makes those who wait for [`Context::late`] give up.
    pub(crate) fn set_late(&self) {
        // Fails only if it is set already.
        let _ = self.0.late.set(());
    }

    /// Returns when [`WORK_TIME`] has passed.
    pub(crate) async fn late(&self) {
        self.0.late.wait().await;
    }

    /// 503 if [`WORK_TIME`] has passed.
    pub(crate) fn check_time(&self) -> Result<()> {
        match self.elapsed() < WORK_TIME {
            true => Ok(()),
            false => Err(Problem::unavailable().because("the request's time is up")),
        }
    }

    pub(crate) fn set_reading_body(&self, is_reading: bool) {
        self.0.is_reading_body.store(is_reading, Ordering::Relaxed);
    }

    /// Whether a commit of this request succeeded, or has an unknown outcome.
    pub(crate) fn may_have_committed(&self) -> bool {
        self.0.may_have_committed.load(Ordering::Relaxed)
    }

    /// Returns the previous value.
    pub(crate) fn set_may_have_committed(&self, may_have_committed: bool) -> bool {
        self.0.may_have_committed.swap(may_have_committed, Ordering::Relaxed)
    }

    /// The reply to a request that did not finish in time.
    pub(crate) fn timed_out(&self) -> Problem {
        let problem = if self.may_have_committed() {
            Problem::outcome_unknown()
        } else if self.0.is_reading_body.load(Ordering::Relaxed) {
            Problem::request_timeout()
        } else {
            Problem::unavailable()
        };
        problem.because("the deadline has passed")
    }

    /// Runs a future with this as the current request.
    pub(crate) fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(Work::Request(self.clone()), future)
    }

    /// The current request; none in a worker, and for what follows a commit.
    pub fn current() -> Option<Self> {
        CURRENT
            .try_with(|work| match work {
                Work::Request(context) => Some(context.clone()),
                Work::Committed(_) | Work::Jobs(_) => None,
            })
            .ok()
            .flatten()
    }
}

/// 503 if the current request's time is up. A worker has no such limit.
pub(crate) fn check_time() -> Result<()> {
    Context::current().map_or(Ok(()), |context| context.check_time())
}

/// Runs a future that must be done even if the current request's time is up. It is awaited up to then, and ends in the
/// background if that does not suffice.
pub(crate) async fn without_deadline(future: impl Future<Output = ()> + 'static) {
    let Some(context) = Context::current() else { return future.await };
    let future = Box::pin(CURRENT.scope(Work::Committed(context.clone()), future));
    if let Either::Right(((), future)) = select(future, pin!(context.late())).await {
        wasip3::spawn(future);
    }
}

/// A job that is being done.
#[derive(Debug, Clone)]
pub(crate) struct JobContext {
    pub job_id: i64,
    pub queue: &'static str,
    /// The number of this attempt, from 1.
    pub attempt: i64,
    pub order_no: Option<String>,
    /// None for a job that no request caused.
    pub origin: Option<Origin>,
}

/// Runs a future with these as the current jobs.
pub(crate) async fn scope_jobs<F: Future>(jobs: impl IntoIterator<Item = JobContext>, future: F) -> F::Output {
    CURRENT.scope(Work::Jobs(jobs.into_iter().collect()), future).await
}

/// The origin of a job to be enqueued: the current request, or the origin of the current job. In a batch, it is the
/// origin of the job for the same order.
pub(crate) fn origin_for(order_no: Option<&str>) -> Option<Origin> {
    let find = |work: &Work| match work {
        Work::Request(context) | Work::Committed(context) => Some(context.0.origin.clone()),
        Work::Jobs(jobs) => match &**jobs {
            [job] => job.origin.clone(),
            jobs => {
                let order_no = order_no?;
                jobs.iter().find(|job| job.order_no.as_deref() == Some(order_no))?.origin.clone()
            }
        },
    };
    CURRENT.try_with(find).ok().flatten()
}

/// The fields that every log line of a request or job has.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_no: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

impl Fields {
    /// The fields of the current request or jobs.
    pub fn current() -> Self {
        let fields = |work: &Work| match work {
            Work::Request(context) | Work::Committed(context) => Fields::from(&context.0.origin),
            Work::Jobs(jobs) => match &**jobs {
                [job] => Fields::from(job),
                jobs => Fields { queue: jobs.first().map(|job| job.queue), ..Fields::default() },
            },
        };
        CURRENT.try_with(fields).unwrap_or_default()
    }
}

impl From<&Origin> for Fields {
    fn from(origin: &Origin) -> Self {
        let (request_id, trace_id) = (Some(origin.request_id.clone()), Some(origin.trace_id().to_owned()));
        Fields { request_id, trace_id, ..Fields::default() }
    }
}

impl From<&JobContext> for Fields {
    fn from(job: &JobContext) -> Self {
        Fields {
            queue: Some(job.queue),
            job_id: Some(job.job_id),
            order_no: job.order_no.clone(),
            attempt: Some(job.attempt),
            ..job.origin.as_ref().map(Fields::from).unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_traceparent_is_replaced() {
        let origin = |traceparent: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, traceparent.parse().unwrap());
            Origin::new(&headers)
        };
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(origin(good).traceparent, good);
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert_eq!(origin(later).traceparent, good);
        assert_eq!(origin(good).trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        for bad in [
            "",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert_ne!(origin(bad).traceparent, bad);
            assert!(parse_traceparent(&origin(bad).traceparent).is_some(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_job_of_a_batch_has_the_origin_of_the_same_order() {
        let job = |order_no: &str| JobContext {
            job_id: 1,
            queue: "fulfil",
            attempt: 1,
            order_no: Some(order_no.to_owned()),
            origin: Some(Origin {
                request_id: format!("request-{order_no}"),
                traceparent: new_traceparent(Ulid::generate()),
            }),
        };
        let origin_of = async |jobs: Vec<JobContext>, order_no: Option<&str>| {
            scope_jobs(jobs, async { origin_for(order_no) }).await.map(|origin| origin.request_id)
        };
        assert_eq!(origin_of(vec![job("A"), job("B")], Some("B")).await.as_deref(), Some("request-B"));
        assert_eq!(origin_of(vec![job("A"), job("B")], Some("C")).await, None);
        assert_eq!(origin_of(vec![job("A")], None).await.as_deref(), Some("request-A"));
        assert_eq!(origin_for(Some("A")), None);
    }
}
