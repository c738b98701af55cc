//! Clients that hold connections, send slowly, don't read, or ask for more than the runtime takes.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use runtime::{App, Limits};

use crate::support::*;

/// What the server sends until it closes the connection.
fn read_all(mut stream: &TcpStream) -> (Vec<u8>, std::io::Result<()>) {
    stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    let mut bytes = Vec::new();
    let outcome = stream.read_to_end(&mut bytes).map(drop);
    if let Err(error) = &outcome {
        assert!(error.kind() == ErrorKind::ConnectionReset, "the connection is still open: {error}");
    }
    (bytes, outcome)
}

async fn is_closed(stream: TcpStream) {
    let (bytes, _) = tokio::task::spawn_blocking(move || read_all(&stream)).await.unwrap();
    assert!(bytes.is_empty(), "{}", String::from_utf8_lossy(&bytes));
}

/// A connection from another address of this machine.
async fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let stream = socket.connect(to).await.unwrap().into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream
}

fn is_answered(stream: &TcpStream) -> bool {
    let mut both = stream;
    both.write_all(b"GET /seen HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    let mut answer = [0; 12];
    both.read_exact(&mut answer).is_ok() && &answer == b"HTTP/1.1 200"
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_no_more_connections_than_its_share() {
    let app = start_changed(&web(""), Limits::default(), |options| options.max_connections_per_address = 2).await;
    let to = app.local_addr();
    let first = connect_from([127, 0, 0, 2], to).await;
    let second = connect_from([127, 0, 0, 2], to).await;
    is_closed(connect_from([127, 0, 0, 2], to).await).await;
    assert!(is_answered(&connect_from([127, 0, 0, 3], to).await), "of another address");
    assert!(is_answered(&first) && is_answered(&second));
    drop(first);
    eventually("its connection counts no more", async || {
        let stream = connect_from([127, 0, 0, 2], to).await;
        let _ = (&stream).write_all(b"GET /seen HTTP/1.0\r\nHost: a\r\n\r\n");
        tokio::task::spawn_blocking(move || !read_all(&stream).0.is_empty()).await.unwrap()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_more_connections_than_allowed() {
    let app = start_changed(&web(""), Limits::default(), |options| options.max_connections = Some(3)).await;
    let to = app.local_addr();
    let mut open = Vec::new();
    for last in 2..5 {
        open.push(connect_from([127, 0, 0, last], to).await);
    }
    is_closed(connect_from([127, 0, 0, 5], to).await).await;
    assert!(open.iter().all(is_answered));
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_must_arrive_in_time() {
    let app = start_with(&web(""), Limits { header_timeout: Duration::from_millis(300), ..Limits::default() }).await;
    for start in ["", "P", "PRI * HTTP/2.0\r\n", "GET /seen HTTP/1.1\r\nHo"] {
        let mut stream = TcpStream::connect(app.local_addr()).unwrap();
        stream.write_all(start.as_bytes()).unwrap();
        let begun = Instant::now();
        is_closed(stream).await;
        assert!(begun.elapsed() > Duration::from_millis(250), "{start:?}: {:?}", begun.elapsed());
    }
}

fn short_body_timeout() -> Limits {
    Limits { body_timeout: Duration::from_millis(500), ..Limits::default() }
}

/// Sends what is given and reads the reply.
async fn exchange(app: &App, request: Vec<u8>) -> String {
    let mut stream = TcpStream::connect(app.local_addr()).unwrap();
    let reply = tokio::task::spawn_blocking(move || {
        stream.write_all(&request).unwrap();
        read_all(&stream).0
    });
    String::from_utf8(reply.await.unwrap()).unwrap()
}

#[track_caller]
fn assert_problem(reply: &str, status: u16, code: &str, id: &str) {
    for expected in [
        &format!("HTTP/1.1 {status} "),
        "content-type: application/problem+json\r\n",
        &format!("x-request-id: {id}\r\n"),
        &format!("\"status\":{status},"),
        &format!("\"code\":\"{code}\",\"request_id\":\"{id}\"}}"),
    ] {
        assert!(reply.contains(expected), "{expected} in {reply}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_body_does_not_arrive_reaches_no_function() {
    let app = start_with(&web(""), short_body_timeout()).await;
    for framing in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let begun = Instant::now();
        let request = format!("POST /seen HTTP/1.1\r\nHost: a\r\nX-Request-Id: slow\r\n{framing}\r\n\r\n3\r\n");
        let reply = exchange(&app, request.into_bytes()).await;
        assert_problem(&reply, 408, "request_timeout", "slow");
        assert!(reply.contains("connection: close\r\n"), "{reply}");
        assert!(begun.elapsed() > Duration::from_millis(450), "{:?}", begun.elapsed());
    }
    assert_eq!(get(&app, "/seen").await.body, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_body_that_does_not_arrive_ends_with_an_error() {
    let app = start_with(&web(""), short_body_timeout()).await;
    let mut request =
        b"POST /echo HTTP/1.1\r\nHost: a\r\nX-Request-Id: long\r\nContent-Length: 100001\r\n\r\n".to_vec();
    request.resize(request.len() + 100_000, b'x');
    let reply = exchange(&app, request).await;
    assert_problem(&reply, 408, "request_timeout", "long");
    assert_eq!(get(&app, "/broken").await.body, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_parts_arrives_whole() {
    let app = start(&web("")).await;
    let mut stream = TcpStream::connect(app.local_addr()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(b"POST /echo HTTP/1.0\r\nHost: a\r\nContent-Length: 100009\r\n\r\n").unwrap();
    let mut sent = String::new();
    for part in ["first", "then", &"x".repeat(100_000)] {
        std::thread::sleep(Duration::from_millis(20));
        stream.write_all(part.as_bytes()).unwrap();
        sent.push_str(part);
    }
    let reply = String::from_utf8(read_all(&stream).0).unwrap();
    assert!(reply.ends_with(&format!("\r\n\r\n{sent}")), "{} bytes", reply.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_hold_no_instance() {
    let app = start_with(&web(""), Limits { max_instances: 1, max_concurrent_requests: 1, ..Limits::default() }).await;
    let slow: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(app.local_addr()).unwrap();
            stream.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nslow").unwrap();
            stream
        })
        .collect();
    for expected in ["1", "2", "3"] {
        let begun = Instant::now();
        assert_eq!(get(&app, "/seen").await.body, expected);
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
    drop(slow);
}

fn two_in_flight() -> Limits {
    Limits { max_in_flight: 2, ..Limits::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_allowed_are_refused_at_once() {
    let app = start_with(&web(""), two_in_flight()).await;
    let to = app.local_addr();
    // A request of `eventually` may have taken the place of one of them, which then tries again.
    let sleep = move || loop {
        let reply = request(to, "GET", "/sleep/2000", "", "").unwrap();
        if reply.status != 503 {
            return reply;
        }
    };
    let running: Vec<_> = (0..2).map(|_| tokio::task::spawn_blocking(sleep)).collect();
    eventually("both run", async || is_full(&app).await).await;
    let begun = Instant::now();
    let reply =
        exchange(&app, b"GET /seen HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Request-Id: full\r\n\r\n".into());
    let reply = reply.await;
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    assert_problem(&reply, 503, "unavailable", "full");
    assert!(reply.contains("retry-after: 1\r\n"), "{reply}");
    for running in running {
        assert_eq!(running.await.unwrap().body, "slept");
    }
    assert_eq!(get(&app, "/seen").await.status, 200);
}

/// Whether requests are refused. Three are tried, since the one before may still count.
async fn is_full(app: &App) -> bool {
    for _ in 0..3 {
        if get(app, "/seen").await.status != 503 {
            return false;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_counts_until_its_function_is_done() {
    let app = start_with(&web(""), two_in_flight()).await;
    let to = app.local_addr();
    let sleep = || {
        let mut client = TcpStream::connect(to).unwrap();
        client.write_all(b"GET /sleep/3000 HTTP/1.0\r\nHost: a\r\n\r\n").unwrap();
        client.set_nonblocking(true).unwrap();
        client
    };
    let mut clients = [sleep(), sleep()];
    eventually("both run", || {
        // One that was refused, since a request of `eventually` took its place, tries again.
        for client in clients.iter_mut().filter(|client| client.peek(&mut [0]).is_ok()) {
            *client = sleep();
        }
        is_full(&app)
    })
    .await;
    drop(clients);
    assert_eq!(get(&app, "/seen").await.status, 503, "although their clients are gone");
    eventually("both are done", async || get(&app, "/seen").await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_nobody_reads_is_cut() {
    let app = start_with(&web(""), Limits { reply_timeout: Duration::from_millis(500), ..Limits::default() }).await;
    let stream = TcpStream::connect(app.local_addr()).unwrap();
    (&stream).write_all(b"GET /large/24 HTTP/1.0\r\nHost: a\r\n\r\n").unwrap();
    // Far longer than a reader could be taken for a slow one.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (read, _) = tokio::task::spawn_blocking(move || read_all(&stream)).await.unwrap();
    assert!(read.len() < 24 << 20, "{} bytes", read.len());

    let whole = get(&app, "/large/24").await;
    assert_eq!(whole.body.len(), 24 << 20, "for who reads");
}

/// The connection's task, and a handle for requests. The client takes `window` bytes of a reply before it is read.
async fn connect_http2(
    app: &App,
    window: u32,
) -> (tokio::task::JoinHandle<hyper::Result<()>>, http2::SendRequest<Full<Bytes>>) {
    let stream = tokio::net::TcpStream::connect(app.local_addr()).await.unwrap();
    let (client, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    (tokio::spawn(connection), client)
}

fn http2_request(app: &App, path: &str) -> http::Request<Full<Bytes>> {
    http::Request::get(format!("http://{}{path}", app.local_addr())).body(Full::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_reply_that_nobody_reads_is_cut() {
    let app = start_with(&web(""), Limits { reply_timeout: Duration::from_millis(500), ..Limits::default() }).await;
    let (connection, mut client) = connect_http2(&app, 10).await;
    let stalled = client.send_request(http2_request(&app, "/large/1")).await.unwrap();
    // Of others it takes everything.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) && !connection.is_finished() {
        if let Ok(response) = client.send_request(http2_request(&app, "/seen")).await {
            let _ = response.into_body().collect().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(connection.is_finished(), "it is still open");
    assert!(begun.elapsed() > Duration::from_millis(450), "{:?}", begun.elapsed());
    assert!(stalled.into_body().collect().await.is_err());

    let (_connection, mut client) = connect_http2(&app, 10).await;
    let response = client.send_request(http2_request(&app, "/seen")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!response.into_body().collect().await.unwrap().to_bytes().is_empty());
    let again = client.send_request(http2_request(&app, "/seen")).await;
    assert_eq!(again.unwrap().status(), 200, "an idle connection stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_connection_has_32_streams() {
    let app = start(&web("")).await;
    let mut stream = TcpStream::connect(app.local_addr()).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[3], 4, "settings");
    let mut settings = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut settings).unwrap();
    // SETTINGS_MAX_CONCURRENT_STREAMS
    assert!(settings.chunks(6).any(|setting| setting == [0, 3, 0, 0, 0, 32]), "{settings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_request_whose_body_does_not_arrive_reaches_no_function() {
    let app = start_with(&web(""), short_body_timeout()).await;
    let stream = tokio::net::TcpStream::connect(app.local_addr()).await.unwrap();
    let (mut client, connection) =
        http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    // A body whose end never comes.
    let body =
        http_body_util::StreamBody::new(futures::stream::pending::<Result<http_body::Frame<Bytes>, std::io::Error>>());
    let request = http::Request::post(format!("http://{}/seen", app.local_addr())).body(body).unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), 408);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(get(&app, "/seen").await.body, "1");
}
