//! The HTTP server: HTTP/1.1 with keep-alive and HTTP/2 without TLS, on one port.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::uri::{self, Authority, Scheme};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use wasmtime_wasi_http::handler::{self, ExpirationError, InstantiationError, ProxyHandler, TrapOrPanicError};
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;

use crate::function::Service;
use crate::password_queue::{PasswordQueue, Refusal};
use crate::request_ids::{REQUEST_ID, RequestIds};
use crate::routes::{Match, Router};

/// A connection is closed if the headers of its next request don't arrive within this time, so that slow clients don't
/// hold connections that others need.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Paths that Spin reserves.
const RESERVED_PREFIX: &str = "/.well-known/spin/";
const CLIENT_ADDR: HeaderName = HeaderName::from_static("spin-client-addr");
const FULL_URL: HeaderName = HeaderName::from_static("spin-full-url");

type Body = UnsyncBoxBody<Bytes, wasmtime::Error>;

/// The functions that answer requests, by route.
pub struct Routes {
    router: Router<ProxyHandler<Service>>,
    passwords: PasswordQueue,
}

impl Routes {
    pub fn new(router: Router<ProxyHandler<Service>>) -> Self {
        Self { router, passwords: PasswordQueue::default() }
    }
}

/// Listens with a long backlog. The usual 128 overflow in a burst of connections, and the kernel drops the rest.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // So that a restart can listen on the same port at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

/// Accepts connections until `stop`, then waits until the requests in progress are answered.
pub async fn serve(listener: TcpListener, routes: Arc<Routes>, mut stop: watch::Receiver<bool>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, client)) => {
                connections.spawn(serve_connection(stream, client, routes.clone(), stop.clone()));
            }
            Err(error) => {
                // Most likely, the process has no file descriptors left until other connections close.
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve_connection(stream: TcpStream, client: SocketAddr, routes: Arc<Routes>, mut stop: watch::Receiver<bool>) {
    // Replies are written in one piece: Nagle's algorithm would only delay them.
    let _ = stream.set_nodelay(true);
    let is_http2 = tokio::select! {
        is_http2 = tokio::time::timeout(HEADER_TIMEOUT, is_http2(&stream)) => is_http2,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    let Ok(Ok(is_http2)) = is_http2 else { return };
    let Ok(client) = HeaderValue::try_from(client.to_string()) else { return };
    let service = service_fn(move |request| {
        let (routes, client) = (routes.clone(), client.clone());
        async move { Ok::<_, Infallible>(respond(&routes, request, client).await) }
    });
    let io = TokioIo::new(stream);
    if is_http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(HEADER_TIMEOUT)
            .serve_connection(io, service);
        tokio::pin!(connection);
        tokio::select! {
            result = connection.as_mut() => return log_broken(result),
            _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
        }
        log_broken(connection.await);
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(io, service);
        tokio::pin!(connection);
        tokio::select! {
            result = connection.as_mut() => return log_broken(result),
            _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
        }
        log_broken(connection.await);
    }
}

/// Clients may disconnect at any time, so this is no error of the server's.
fn log_broken(result: hyper::Result<()>) {
    if let Err(error) = result {
        tracing::debug!("connection broken: {error:?}");
    }
}

/// An HTTP/2 connection begins with a preface that can't be the beginning of an HTTP/1 request.
async fn is_http2(stream: &TcpStream) -> std::io::Result<bool> {
    const PREFACE: &[u8] = b"PRI ";
    let mut start = [0; PREFACE.len()];
    loop {
        let read = stream.peek(&mut start).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if read == PREFACE.len() || start[..read] != PREFACE[..read] {
            return Ok(start == PREFACE);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn respond(routes: &Routes, mut request: Request<Incoming>, client: HeaderValue) -> Response<Body> {
    let ids = RequestIds::from_headers(request.headers());
    let uri = std::mem::take(request.uri_mut());
    if let Some(name) = uri.path().strip_prefix(RESERVED_PREFIX) {
        return match name {
            "health" => text("OK"),
            _ => refuse(StatusCode::NOT_FOUND, &ids),
        };
    }
    let Some(found) = routes.router.find(uri.path()) else {
        return refuse(StatusCode::NOT_FOUND, &ids);
    };
    let Some(request) = to_guest_request(&found, &uri, request, client) else {
        return refuse(StatusCode::BAD_REQUEST, &ids);
    };
    let answered = match found.target.state().hashes_password(request.method(), uri.path()) {
        true => match routes.passwords.wait(request).await {
            Ok((request, turn)) => answer_to_the_end(found.target.clone(), request, turn).await,
            Err(refusal) => return refuse_to_hash(refusal, &ids),
        },
        false => found.target.handle((), request).await,
    };
    match answered {
        Ok(response) => response,
        Err(error) => {
            log_failure(found.target.state().name(), found.route, &ids, &error);
            refuse(StatusCode::INTERNAL_SERVER_ERROR, &ids)
        }
    }
}

/// The function handles the request even if the client disconnects, and keeps its turn until then.
async fn answer_to_the_end(
    target: ProxyHandler<Service>,
    request: handler::Request,
    turn: Option<OwnedSemaphorePermit>,
) -> wasmtime::Result<handler::Response> {
    let answered = tokio::spawn(async move {
        let answered = target.handle((), request).await;
        drop(turn);
        answered
    });
    answered.await?
}

/// The request as the function gets it: with its full URL and Spin's headers. `spin-` headers that the client sent are
/// removed, since functions trust them.
fn to_guest_request(
    found: &Match<ProxyHandler<Service>>,
    uri: &Uri,
    mut request: Request<Incoming>,
    client: HeaderValue,
) -> Option<handler::Request> {
    let headers = request.headers_mut();
    let host = match headers.get(HOST) {
        Some(host) => Some(Authority::try_from(host.as_bytes()).ok()?),
        None => None,
    };
    let authority = match (host, uri.authority()) {
        (Some(host), Some(authority)) if host != *authority => return None,
        (host, authority) => host.or_else(|| authority.cloned())?,
    };
    let path = uri.path_and_query()?.clone();
    let url = HeaderValue::try_from(format!("http://{authority}{path}")).ok()?;

    headers.remove(CONNECTION);
    let forged: Vec<_> = headers.keys().filter(|name| name.as_str().starts_with("spin-")).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
    found.set_headers(headers);
    headers.insert(FULL_URL, url);
    headers.insert(CLIENT_ADDR, client);

    let mut parts = uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority);
    parts.path_and_query = Some(path);
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    // The client disconnected or sent a malformed body.
    let broken = |_| handler::ErrorCode::P3(ErrorCode::ConnectionTerminated);
    Some(request.map(|body| body.map_err(broken).boxed_unsync()))
}

/// Logs a request that its function did not answer, with the ids that the client sent.
fn log_failure(component: &str, route: &str, ids: &RequestIds, error: &wasmtime::Error) {
    let (request_id, trace_id) = (ids.request_id(), ids.trace_id());
    let reason = if error.is::<ExpirationError>() {
        "timed out".to_string()
    } else if let Some(error) = error.downcast_ref::<InstantiationError<()>>() {
        format!("no instance could be created: {:#}", error.error)
    } else if error.is::<TrapOrPanicError>() {
        // Why it failed is logged once per instance (see `function`).
        "its instance failed".to_string()
    } else {
        format!("{error:#}")
    };
    tracing::error!(component, route, request_id, trace_id, "request failed: {reason}");
}

/// A reply by the runtime itself, without a body.
fn refuse(status: StatusCode, ids: &RequestIds) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|e| match e {}).boxed_unsync());
    *response.status_mut() = status;
    if let Some(id) = ids.request_id().and_then(|id| HeaderValue::from_str(id).ok()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// 408 or 503, as functions write problems.
fn refuse_to_hash(refusal: Refusal, ids: &RequestIds) -> Response<Body> {
    let (status, code, title) = match refusal {
        Refusal::SlowBody => (StatusCode::REQUEST_TIMEOUT, "request_timeout", "The request took too long"),
        Refusal::TooManyWaiting => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable"),
    };
    let request_id = ids.request_id().map_or_else(|| ulid::Ulid::generate().to_string(), str::to_owned);
    let problem = format!(
        r#"{{"type":"/api/docs#{code}","title":"{title}","status":{},"detail":"{title}; try again shortly","code":"{code}","request_id":"{request_id}"}}"#,
        status.as_u16()
    );
    let mut response = Response::new(Full::new(Bytes::from(problem)).map_err(|e| match e {}).boxed_unsync());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    if let Ok(id) = HeaderValue::try_from(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

fn text(text: &'static str) -> Response<Body> {
    Response::new(Full::new(Bytes::from_static(text.as_bytes())).map_err(|e| match e {}).boxed_unsync())
}
