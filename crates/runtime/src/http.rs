//! The HTTP server: HTTP/1.1 with keep-alive and HTTP/2 without TLS, on one port.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::uri::{self, Authority, Scheme};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use wasmtime_wasi_http::handler::{self, ExpirationError, InstantiationError, ProxyHandler, TrapOrPanicError};
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;

use crate::function::Service;
use crate::routes::{Match, Router};

/// A client that doesn't send a request for so long is let go: slow ones must not use up what others need.
const PATIENCE: Duration = Duration::from_secs(30);
/// Paths that are Spin's own.
const RESERVED: &str = "/.well-known/spin/";
const CLIENT: HeaderName = HeaderName::from_static("spin-client-addr");
const FULL_URL: HeaderName = HeaderName::from_static("spin-full-url");

type Body = UnsyncBoxBody<Bytes, wasmtime::Error>;

/// What answers requests.
pub type Routes = Router<ProxyHandler<Service>>;

/// Listens, with room for a burst: the usual 128 that may wait overflow, and the kernel then drops what clients send.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A port that was just given up is free at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

/// Accepts connections until told to stop, then finishes what runs.
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
                connections.spawn(connection(stream, client, routes.clone(), stop.clone()));
            }
            Err(error) => {
                // Out of files, most likely: others must end first.
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, client: SocketAddr, routes: Arc<Routes>, mut stop: watch::Receiver<bool>) {
    // Answers are small and whole: waiting for more only delays them.
    let _ = stream.set_nodelay(true);
    let speaks_http2 = tokio::select! {
        opening = tokio::time::timeout(PATIENCE, speaks_http2(&stream)) => opening,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    let Ok(Ok(speaks_http2)) = speaks_http2 else { return };
    let Ok(client) = HeaderValue::try_from(client.to_string()) else { return };
    let service = service_fn(move |request| {
        let (routes, client) = (routes.clone(), client.clone());
        async move { Ok::<_, Infallible>(answer(&routes, request, client).await) }
    });
    let io = TokioIo::new(stream);
    if speaks_http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PATIENCE)
            .serve_connection(io, service);
        tokio::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return note(ended),
            _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
        }
        note(connection.await);
    } else {
        let connection =
            http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(PATIENCE).serve_connection(io, service);
        tokio::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return note(ended),
            _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
        }
        note(connection.await);
    }
}

/// A client that goes away in the middle is no error of ours.
fn note(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!("a connection broke: {error:?}");
    }
}

/// HTTP/2 begins with a preface that no HTTP/1 method begins with.
async fn speaks_http2(stream: &TcpStream) -> std::io::Result<bool> {
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

async fn answer(routes: &Routes, mut request: Request<Incoming>, client: HeaderValue) -> Response<Body> {
    let uri = std::mem::take(request.uri_mut());
    if let Some(name) = uri.path().strip_prefix(RESERVED) {
        return match name {
            "health" => text("OK"),
            _ => empty(StatusCode::NOT_FOUND),
        };
    }
    let Some(found) = routes.find(uri.path()) else {
        return empty(StatusCode::NOT_FOUND);
    };
    let Some(request) = prepare(&found, &uri, request, client) else {
        return empty(StatusCode::BAD_REQUEST);
    };
    let service = found.target;
    match service.handle((), request).await {
        Ok(response) => response,
        Err(error) => {
            report(service.state().name(), &error);
            empty(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

/// The request as the function gets it: with its full URL, and with Spin's headers, which no client can send.
fn prepare(
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
    found.describe(headers);
    headers.insert(FULL_URL, url);
    headers.insert(CLIENT, client);

    let mut parts = uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority);
    parts.path_and_query = Some(path);
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    // The client went away, or sent what is no body.
    let broken = |_| handler::ErrorCode::P3(ErrorCode::ConnectionTerminated);
    Some(request.map(|body| body.map_err(broken).boxed_unsync()))
}

/// Failed instances are reported when they end; what never had one, or came to nothing, is reported here.
fn report(component: &str, error: &wasmtime::Error) {
    if error.is::<ExpirationError>() {
        tracing::error!(component, "a request took too long");
    } else if let Some(error) = error.downcast_ref::<InstantiationError<()>>() {
        tracing::error!(component, "no instance: {:#}", error.error);
    } else if error.is::<TrapOrPanicError>() {
        tracing::debug!(component, "a request ended with its instance");
    } else {
        tracing::error!(component, "a request failed: {error:#}");
    }
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|e| match e {}).boxed_unsync());
    *response.status_mut() = status;
    response
}

fn text(text: &'static str) -> Response<Body> {
    Response::new(Full::new(Bytes::from_static(text.as_bytes())).map_err(|e| match e {}).boxed_unsync())
}
