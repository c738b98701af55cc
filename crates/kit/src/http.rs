//! The HTTP side of a function: request id, log line, problem details, `content-length`, CORS, deadline.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::Pin,
    sync::OnceLock,
    task::{self, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{MatchedPath, Request},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use spin_sdk::wasip3;
use tower::{Service, util::MapRequestLayer};

use crate::{
    Code, Context, Problem, config,
    context::REQUEST_ID,
    extract::{MAX_BODY, read},
    log,
};

/// A request that takes longer is answered without its handler. So replies come within the five seconds of the contract
/// even if a database hangs.
const REPLY_TIME: Duration = Duration::from_millis(4500);

/// How much of a reply is given to the runtime at once, in bytes.
const CHUNK: usize = 64 << 10;

/// The response that Spin sends.
pub type SpinResponse = spin_sdk::http::Response<ReplyBody>;

/// A reply's body. It is given away in chunks: each is copied, and kept until the client has read it.
#[derive(Default)]
pub struct ReplyBody(Bytes);

impl HttpBody for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        let length = self.0.len().min(CHUNK);
        let chunk = self.0.split_to(length);
        Poll::Ready((length > 0).then(|| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

/// Handles a request with the function's router. Called by [`crate::function!`].
pub async fn serve(function: &str, router: Router, request: spin_sdk::http::Request) -> SpinResponse {
    let context = Context::new(request.headers());
    let method = request.method().clone();

    let is_preflight =
        method == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let is_public =
        matches!(method, Method::GET | Method::HEAD) && !request.headers().contains_key(header::AUTHORIZATION);
    let (response, problem) = if is_preflight {
        (preflight(&context).await, None)
    } else {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(context.clone());
        let response = within_deadline(&context, context.scope(call(router, request))).await;
        finish(response.unwrap_or_else(|| context.timed_out().into_response()), &method, is_public, &context).await
    };

    log::request(function, &method, response.status(), problem.as_ref(), context.elapsed(), &context);
    response
}

/// Adds what all functions share: the route for the log line, and the replies 404 and 405.
pub fn with_defaults(router: Router) -> Router {
    router
        .route_layer(MapRequestLayer::new(|request: Request| {
            let extensions = request.extensions();
            if let (Some(context), Some(route)) = (extensions.get::<Context>(), extensions.get::<MatchedPath>()) {
                context.set_route(route);
            }
            request
        }))
        .fallback(async || Problem::new(Code::NotFound, "There is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Problem::new(Code::MethodNotAllowed, "The Allow header lists the methods of this path")
        })
}

async fn call(mut router: Router, request: Request) -> Response {
    // Checked here too, since a handler that takes no body would not check it.
    if request.body().size_hint().upper().is_some_and(|length| length > MAX_BODY as u64) {
        return read(request.into_body()).await.map(drop).into_response();
    }
    match Service::call(&mut router, request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Awaits a handler; none if [`REPLY_TIME`] passes first. It is told to end when its work time is over. No timer is set for a
/// future that is ready at once.
///
/// A late future runs to its end in the background, but can't begin anything (see [`Context::check_time`]). It must not
/// be dropped: abandoning a pending call of the host, such as opening a connection, can block the instance forever.
async fn within_deadline(context: &Context, future: impl Future<Output = Response> + 'static) -> Option<Response> {
    let mut future = Box::pin(future);
    let mut timer = None;
    let mut is_told = false;
    let value = poll_fn(|cx| {
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(value));
            }
            let timer_now = timer.get_or_insert_with(|| Box::pin(wait(context.time_left())));
            if timer_now.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if is_told {
                return Poll::Ready(None);
            }
            is_told = true;
            context.set_late();
            timer = Some(Box::pin(wait(REPLY_TIME.saturating_sub(context.elapsed()))));
        }
    })
    .await;
    if value.is_none() {
        wasip3::spawn(async move {
            if let Some(problem) = future.await.extensions().get::<Problem>() {
                log::warn("a request failed after its deadline", problem);
            }
        });
    }
    value
}

async fn wait(duration: Duration) {
    wasip3::clocks::monotonic_clock::wait_for(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)).await;
}

/// Writes the problem, if the response is one, and the headers that every response has.
///
/// Only the reply to a read without an access token can be public; no cache may keep any other one, unless its handler
/// allows that.
async fn finish(
    mut response: Response,
    method: &Method,
    is_public: bool,
    context: &Context,
) -> (SpinResponse, Option<Problem>) {
    let problem = response.extensions_mut().remove::<Problem>().map(|problem| match problem.code {
        // A step after the commit failed, or the commit itself.
        Code::Unavailable if context.may_have_committed() => problem.into_outcome_unknown(),
        _ => problem,
    });
    if let Some(problem) = &problem {
        write_problem(&mut response, problem, context.request_id());
    }
    let (mut parts, body) = response.into_parts();
    let size = body.size_hint().exact();
    let mut bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let headers = &mut parts.headers;
    // HEAD gives the length that GET would send. A reply that has no body must not have a length.
    if !headers.contains_key(header::CONTENT_LENGTH) && has_body(parts.status) && size.is_some() {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    }
    if method == Method::HEAD {
        bytes.clear();
    }
    let is_public = is_public && parts.status != StatusCode::UNAUTHORIZED && parts.status != StatusCode::FORBIDDEN;
    if !is_public && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    common_headers(headers, context).await;
    (http::Response::from_parts(parts, ReplyBody(bytes)), problem)
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

/// The headers of every response. Pages of any origin may call the shop: access depends on the access token, never on a
/// cookie.
async fn common_headers(headers: &mut HeaderMap, context: &Context) {
    if let Ok(id) = HeaderValue::from_str(context.request_id()) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Pages set their own.
    headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    if is_https().await {
        // Two years, as https://hstspreload.org asks for.
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=63072000"));
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("ETag, Idempotency-Replayed, Location, Retry-After, X-Request-Id"),
    );
}

/// Whether clients reach the shop by https.
async fn is_https() -> bool {
    static IS_HTTPS: OnceLock<bool> = OnceLock::new();
    match IS_HTTPS.get() {
        Some(is_https) => *is_https,
        None => {
            let is_https = config::is_https().await.unwrap_or_default();
            *IS_HTTPS.get_or_init(|| is_https)
        }
    }
}

async fn preflight(context: &Context) -> SpinResponse {
    let mut response = http::Response::new(ReplyBody::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    common_headers(headers, context).await;
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, PUT, DELETE"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Authorization, Content-Type, Idempotency-Key, If-None-Match, Traceparent, X-Request-Id",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
