//! The HTTP server: HTTP/1.1 with keep-alive and HTTP/2 without TLS, on one port.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::uri::{self, Authority, Scheme};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, request};
use http_body::Body as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use wasmtime_wasi_http::handler::{self, ExpirationError, InstantiationError, ProxyHandler, TrapOrPanicError};

use crate::client_stream::{ClientStream, Protocol};
use crate::connections::{Connection, Connections};
use crate::function::{InFlight, InFlightRequest, Limits, Service};
use crate::password_queue::PasswordQueue;
use crate::problem::{Body, Problem};
use crate::request_body::{Kept, Refused, RequestBody};
use crate::request_ids::{REQUEST_ID, RequestIds};
use crate::routes::{Match, Router};
use crate::unsent::{TrackedBody, Unsent};

/// How long the headers of an HTTP/1 request may be, in bytes.
const MAX_HEADERS: usize = 64 << 10;
/// How many requests an HTTP/2 connection may have open at once.
const MAX_STREAMS: u32 = 32;
/// How often the log says that connections are refused.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// Paths that Spin reserves.
const RESERVED_PREFIX: &str = "/.well-known/spin/";
const CLIENT_ADDR: HeaderName = HeaderName::from_static("spin-client-addr");
/// How long a request waited before its function got it, in milliseconds. The function counts it in the request's time.
const ELAPSED_MS: HeaderName = HeaderName::from_static("x-elapsed-ms");
const FULL_URL: HeaderName = HeaderName::from_static("spin-full-url");

/// The functions that answer requests, by route.
pub type Routes = Router<ProxyHandler<Service>>;

/// Listens with a long backlog. The usual 128 overflow in a burst of connections, and the kernel drops the rest.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // So that a restart can listen on the same port at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

/// What all connections share.
pub struct Server {
    routes: RwLock<Arc<Routes>>,
    connections: Arc<Connections>,
    in_flight: Arc<InFlight>,
    kept: Kept,
    passwords: PasswordQueue,
    limits: Limits,
}

impl Server {
    pub fn new(routes: Routes, connections: Arc<Connections>, passwords: PasswordQueue, limits: Limits) -> Arc<Self> {
        let in_flight = InFlight::new(limits.max_in_flight);
        let routes = RwLock::new(Arc::new(routes));
        Arc::new(Self { routes, connections, in_flight, kept: Kept::default(), passwords, limits })
    }

    fn routes(&self) -> Arc<Routes> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the functions for all requests from now on.
    pub fn set_routes(&self, routes: Routes) {
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(routes);
    }
}

/// Accepts connections until `stop`, then waits until the requests in progress are answered.
pub async fn serve(listener: TcpListener, server: Arc<Server>, mut stop: watch::Receiver<bool>) {
    let mut connections = tokio::task::JoinSet::new();
    let mut last_warning = None;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, client)) => match server.connections.admit(client.ip()) {
                Some(connection) => {
                    connections.spawn(serve_connection(stream, client, connection, server.clone(), stop.clone()));
                }
                None => {
                    drop(stream);
                    // Not for each: there may be thousands in a second.
                    if last_warning.is_none_or(|at: Instant| at.elapsed() > WARN_EVERY) {
                        last_warning = Some(Instant::now());
                        tracing::warn!(client = %client.ip(), "connections are closed: there are too many");
                    }
                }
            },
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

async fn serve_connection(
    stream: TcpStream,
    client: SocketAddr,
    _connection: Connection,
    server: Arc<Server>,
    mut stop: watch::Receiver<bool>,
) {
    // Replies are written in one piece: Nagle's algorithm would only delay them.
    let _ = stream.set_nodelay(true);
    let mut stream = ClientStream::new(stream, server.limits.reply_timeout);
    let protocol = tokio::select! {
        protocol = tokio::time::timeout(server.limits.header_timeout, stream.protocol()) => protocol,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    let Ok(Ok(protocol)) = protocol else { return };
    let Ok(client) = HeaderValue::try_from(client.to_string()) else { return };
    // Boxed, since most connections that are open are idle: until here, they take little memory.
    let result = match protocol {
        Protocol::Http1 => Box::pin(serve_http1(stream, client, server, stop)).await,
        Protocol::Http2 => Box::pin(serve_http2(stream, client, server, stop)).await,
    };
    if let Err(error) = result {
        // Clients may disconnect at any time, so this is no error of the server's.
        tracing::debug!("connection broken: {error:?}");
    }
}

async fn serve_http1(
    stream: ClientStream,
    client: HeaderValue,
    server: Arc<Server>,
    mut stop: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let header_timeout = server.limits.header_timeout;
    let service = service_fn(move |request| {
        let (server, client) = (server.clone(), client.clone());
        async move { Ok::<_, Infallible>(respond(&server, request, client).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return result,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

async fn serve_http2(
    stream: ClientStream,
    client: HeaderValue,
    server: Arc<Server>,
    mut stop: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let unsent = Arc::new(Unsent::default());
    let Limits { header_timeout, reply_timeout, .. } = server.limits;
    let service = service_fn({
        let unsent = unsent.clone();
        move |request| {
            let (server, client, unsent) = (server.clone(), client.clone(), unsent.clone());
            async move {
                let response = respond(&server, request, client).await;
                Ok::<_, Infallible>(response.map(|body| TrackedBody::new(body, unsent)))
            }
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(header_timeout)
        .max_concurrent_streams(MAX_STREAMS)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut check = tokio::time::interval(reply_timeout / 4);
    loop {
        tokio::select! {
            result = connection.as_mut() => return result,
            _ = stop.wait_for(|stop| *stop) => break,
            // A single reply can't be cut from here.
            _ = check.tick() => if unsent.has_stalled(reply_timeout) { return Ok(()) },
        }
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

async fn respond(server: &Server, mut request: Request<Incoming>, client: HeaderValue) -> Response<Body> {
    let arrived = Instant::now();
    let ids = RequestIds::from_headers(request.headers());
    let uri = std::mem::take(request.uri_mut());
    if let Some(name) = uri.path().strip_prefix(RESERVED_PREFIX) {
        return match name {
            "health" => text("OK"),
            _ => refuse(StatusCode::NOT_FOUND, &ids),
        };
    }
    let routes = server.routes();
    let Some(found) = routes.find(uri.path()) else {
        return refuse(StatusCode::NOT_FOUND, &ids);
    };
    let (mut parts, incoming) = request.into_parts();
    if to_guest_request(&found, &uri, &mut parts, client).is_none() {
        return refuse(StatusCode::BAD_REQUEST, &ids);
    }
    let (body, is_late) = match receive(server, incoming).await {
        Ok(received) => received,
        Err(problem) => return problem.response(&ids.request_id_or_new()),
    };
    let hashes_password = found.target.state().hashes_password(&parts.method, uri.path());
    let turn = if hashes_password {
        let Some(turn) = server.passwords.turn().await else {
            return Problem::Unavailable.response(&ids.request_id_or_new());
        };
        Some(turn)
    } else {
        None
    };
    let Some(in_flight) = server.in_flight.admit(turn) else {
        return Problem::Unavailable.response(&ids.request_id_or_new());
    };
    parts.headers.remove(ELAPSED_MS);
    let elapsed = arrived.elapsed();
    // Most requests have not waited, and a header costs a function some hundred nanoseconds.
    if elapsed > Duration::from_millis(50) {
        parts.headers.insert(ELAPSED_MS, HeaderValue::from(elapsed.as_millis() as u64));
    }
    let request = Request::from_parts(parts, body);
    let result = if hashes_password {
        let function = found.target.clone();
        server.passwords.run(async move { function.handle(in_flight, request).await }).await
    } else {
        found.target.handle(in_flight, request).await
    };
    if is_late.is_some_and(|is_late| is_late.load(Relaxed)) {
        return Problem::RequestTimeout.response(&ids.request_id_or_new());
    }
    result.unwrap_or_else(|error| {
        let request_id = ids.request_id_or_new();
        log_failure(found.target.state().name(), found.route, &request_id, ids.trace_id(), &error);
        let never_ran = error.is::<InstantiationError<InFlightRequest>>();
        if never_ran { Problem::Unavailable } else { Problem::Internal }.response(&request_id)
    })
}

/// A request's body, and whether the rest of it comes too late.
type Received = (UnsyncBoxBody<Bytes, handler::ErrorCode>, Option<Arc<AtomicBool>>);

async fn receive(server: &Server, incoming: Incoming) -> Result<Received, Problem> {
    if incoming.is_end_stream() {
        return Ok((Empty::new().map_err(|e| match e {}).boxed_unsync(), None));
    }
    match RequestBody::receive(incoming, server.limits.body_timeout, &server.kept).await {
        Ok(mut body) => {
            let is_late = body.is_late();
            Ok((body.boxed_unsync(), is_late))
        }
        Err(Refused::Late) => Err(Problem::RequestTimeout),
        Err(Refused::TooMuchKept) => Err(Problem::Unavailable),
    }
}

/// Makes the request what its function gets: with its full URL and Spin's headers. `spin-` headers that the client sent
/// are removed, since functions trust them.
fn to_guest_request(
    found: &Match<ProxyHandler<Service>>,
    uri: &Uri,
    request: &mut request::Parts,
    client: HeaderValue,
) -> Option<()> {
    let headers = &mut request.headers;
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
    request.uri = Uri::from_parts(parts).ok()?;
    Some(())
}

/// Logs a request that its function did not answer, with its ids.
fn log_failure(component: &str, route: &str, request_id: &str, trace_id: Option<&str>, error: &wasmtime::Error) {
    let reason = if error.is::<ExpirationError>() {
        "timed out".to_string()
    } else if let Some(error) = error.downcast_ref::<InstantiationError<InFlightRequest>>() {
        format!("no instance could be created: {:#}", error.error)
    } else if error.is::<TrapOrPanicError>() {
        // Why it failed is logged once per instance (see `function`).
        "its instance failed".to_string()
    } else {
        format!("{error:#}")
    };
    tracing::error!(component, route, request_id, trace_id, "request failed: {reason}");
}

/// A refusal as Spin answers it, without a body.
fn refuse(status: StatusCode, ids: &RequestIds) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|e| match e {}).boxed_unsync());
    *response.status_mut() = status;
    if let Ok(id) = HeaderValue::try_from(ids.request_id_or_new()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn text(text: &'static str) -> Response<Body> {
    Response::new(Full::new(Bytes::from_static(text.as_bytes())).map_err(|e| match e {}).boxed_unsync())
}
