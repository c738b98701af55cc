//! The one way in and out of a function: request id, log line, problem details, `content-length`, CORS, deadline.

use std::{
    future::{Future, poll_fn},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{MatchedPath, Request},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Full};
use spin_sdk::{http::FullBody, wasip3};
use tower::{Service, util::MapRequestLayer};

use crate::{
    Code, Problem, Timestamp,
    extract::{MAX_BODY, read},
    log,
};

/// A request that has not ended by then is answered with 503, so that a database that hangs holds up nobody for longer
/// than the five seconds of the contract.
const DEADLINE_NS: u64 = 4_500_000_000;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is known of a request beside its parts; in the request's extensions.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    request_id: String,
    /// 0 while nobody is signed in.
    user_id: AtomicI64,
    route: OnceLock<MatchedPath>,
}

impl Context {
    fn new(headers: &HeaderMap) -> Self {
        let given = headers.get(&REQUEST_ID).and_then(|id| id.to_str().ok());
        let request_id = match given {
            Some(id) if is_request_id(id) => id.to_owned(),
            _ => ulid::Ulid::generate().to_string(),
        };
        Context(Arc::new(Inner { request_id, user_id: AtomicI64::new(0), route: OnceLock::new() }))
    }

    pub fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// The request's line in the log. None of its parts can hold what JSON would have to escape: a method is a token, a
    /// route is ours, an id is checked.
    fn log(&self, function: &str, method: &Method, status: StatusCode, took: Duration) {
        let (ts, status, us) = (Timestamp::now(), status.as_u16(), took.as_micros());
        let (route, id) = (self.0.route.get().map_or("", MatchedPath::as_str), self.request_id());
        let user = match self.0.user_id.load(Ordering::Relaxed) {
            0 => String::new(),
            user_id => format!(r#","user_id":{user_id}"#),
        };
        log::line(&format!(
            r#"{{"ts":"{ts}","level":"info","function":"{function}","method":"{method}","route":"{route}","status":{status},"ms":{}.{:03},"request_id":"{id}"{user}}}"#,
            us / 1000,
            us % 1000,
        ));
    }

    pub(crate) fn signed_in(&self, user_id: i64) {
        self.0.user_id.store(user_id, Ordering::Relaxed);
    }
}

fn is_request_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// What Spin takes for an answer.
pub type Answer = spin_sdk::http::Response<FullBody<Bytes>>;

/// Answers one request by the function's router. Called by [`crate::function!`].
pub async fn serve(function: &str, router: Router, request: spin_sdk::http::Request) -> Answer {
    let started = Instant::now();
    let context = Context::new(request.headers());
    let method = request.method().clone();

    let answer = if method == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        preflight(&context)
    } else {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(context.clone());
        let response = match within_deadline(call(router, request)).await {
            Some(response) => response,
            None => Problem::unavailable().into_response(),
        };
        finish(response, &method, &context).await
    };

    context.log(function, &method, answer.status(), started.elapsed());
    answer
}

/// A function's routes with what is the same for all of them.
pub fn complete(router: Router) -> Router {
    router
        .route_layer(MapRequestLayer::new(|request: Request| {
            let extensions = request.extensions();
            if let (Some(context), Some(route)) = (extensions.get::<Context>(), extensions.get::<MatchedPath>()) {
                // Set before only if a route were matched twice.
                let _ = context.0.route.set(route.clone());
            }
            request
        }))
        .fallback(async || Problem::new(Code::NotFound, "There is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Problem::new(Code::MethodNotAllowed, "The methods that this path takes stand in Allow")
        })
}

async fn call(mut router: Router, request: Request) -> Response {
    // Also where no body is wanted.
    if request.body().size_hint().upper().is_some_and(|length| length > MAX_BODY as u64) {
        return read(request.into_body()).await.map(drop).into_response();
    }
    match Service::call(&mut router, request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The future's value, unless the deadline passes first. No timer is set for what is ready at once.
///
/// What is late is left to run to its end, unheard. It must not be dropped: to give up a host call that is under way,
/// such as the opening of a connection, can block the instance for good.
async fn within_deadline<T: 'static>(future: impl Future<Output = T> + 'static) -> Option<T> {
    let mut future = Box::pin(future);
    let mut timer = None;
    let value = poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => {
            let timer = timer.get_or_insert_with(|| Box::pin(wasip3::clocks::monotonic_clock::wait_for(DEADLINE_NS)));
            timer.as_mut().poll(cx).map(|()| None)
        }
    })
    .await;
    if value.is_none() {
        wasip3::spawn(async move { drop(future.await) });
    }
    value
}

/// Writes problems out, and sees to the headers that every answer has.
async fn finish(mut response: Response, method: &Method, context: &Context) -> Answer {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        write_problem(&mut response, &problem, context.request_id());
    }
    let (mut parts, body) = response.into_parts();
    let size = body.size_hint().exact();
    let mut bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let headers = &mut parts.headers;
    // A HEAD has the length of what a GET would send. An answer that must not have a body must not have a length.
    if !headers.contains_key(header::CONTENT_LENGTH) && has_body(parts.status) && size.is_some() {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    }
    if method == Method::HEAD {
        bytes.clear();
    }
    everywhere(headers, context);
    http::Response::from_parts(parts, Full::new(bytes))
}

fn has_body(status: StatusCode) -> bool {
    status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

fn write_problem(response: &mut Response, problem: &Problem, request_id: &str) {
    let json = serde_json::to_vec(&problem.body(request_id)).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(json.len()));
    if let Some(seconds) = problem.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if matches!(problem.code, Code::Unauthenticated | Code::TokenExpired) {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    *response.body_mut() = Body::from(json);
}

/// The headers of every answer. Any page may call the shop: what it may do hangs on the token that it sends, never on a
/// cookie.
fn everywhere(headers: &mut HeaderMap, context: &Context) {
    if let Ok(id) = HeaderValue::from_str(context.request_id()) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("ETag, Idempotency-Replayed, Location, Retry-After, X-Request-Id"),
    );
}

fn preflight(context: &Context) -> Answer {
    let mut answer = http::Response::new(Full::default());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    everywhere(headers, context);
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, PUT, DELETE"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Authorization, Content-Type, Idempotency-Key, If-None-Match, X-Request-Id",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}
