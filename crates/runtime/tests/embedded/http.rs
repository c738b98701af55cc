//! HTTP requests: what components see of them, and what clients get.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn spin_headers_describe_the_request() {
    let app =
        start(&format!("{}\n[[trigger.http]]\nroute = \"/headers/:who/...\"\ncomponent = \"web\"\n", web(""))).await;
    let forged = "spin-client-addr: 1.2.3.4:5\r\nSpin-Path-Match-Other: x\r\nX-Mine: yes\r\nConnection: close\r\n";
    let answer = request(app.local_addr(), "GET", "/headers/me/a/b?c=d", forged, "").unwrap();
    let lines: Vec<_> = answer.body.lines().collect();
    assert_eq!(lines[0], "GET http://shop.example/headers/me/a/b?c=d");
    for expected in [
        "spin-full-url: http://shop.example/headers/me/a/b?c=d",
        "spin-path-info: /a/b",
        "spin-matched-route: /headers/:who/...",
        "spin-component-route: /headers/:who",
        "spin-raw-component-route: /headers/:who/...",
        "spin-base-path: /",
        "spin-path-match-who: me",
        "x-mine: yes",
    ] {
        assert!(lines.contains(&expected), "{expected} in {}", answer.body);
    }
    let clients: Vec<_> = lines.iter().filter(|line| line.starts_with("spin-client-addr")).collect();
    assert_eq!(clients.len(), 1);
    assert!(clients[0].starts_with("spin-client-addr: 127.0.0.1:"));
    assert!(!answer.body.contains("spin-path-match-other") && !answer.body.contains("connection"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_without_a_route_is_an_empty_404() {
    let app = start(&web("").replace("\"/...\"", "\"/seen\"")).await;
    assert_eq!(get(&app, "/seen").await.status, 200);
    for path in ["/other", "/seen/more", "/.well-known/spin/other"] {
        let answer = get(&app, path).await;
        assert_eq!((answer.status, answer.body.as_str()), (404, ""), "{path}");
    }
    assert_eq!(get(&app, "/.well-known/spin/health").await.body, "OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_arrive_unchanged_in_both_directions() {
    let app = start(&web("")).await;
    let body = "0123456789".repeat(100_000);
    assert_eq!(send(&app, "POST", "/echo", &body).await.body, body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_can_call_its_dependency() {
    let app = start(&web("")).await;
    assert_eq!(get(&app, "/add/41").await.body, "42");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_serves_many_requests_in_one_instance() {
    let app = start(&web("")).await;
    let mut stream = TcpStream::connect(app.local_addr()).unwrap();
    for expected in 1..=5 {
        stream.write_all(b"GET /seen HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut answer = String::new();
        // Up to the last chunk.
        while !answer.ends_with("0\r\n\r\n") {
            let mut buffer = [0; 1024];
            let read = stream.read(&mut buffer).unwrap();
            answer.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains(&format!("\r\n{expected}")), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_served_on_the_same_port() {
    let app = start(&web("")).await;
    let mut stream = TcpStream::connect(app.local_addr()).unwrap();
    // The preface in two parts, then empty settings.
    stream.write_all(b"PR").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    stream.write_all(b"I * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).unwrap();
    assert_eq!(frame[3], 4, "settings");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_host_is_refused() {
    let app = start(&web("")).await;
    let mut stream = TcpStream::connect(app.local_addr()).unwrap();
    stream.write_all(b"GET /seen HTTP/1.1\r\n\r\n").unwrap();
    let mut buffer = [0; 64];
    let read = stream.read(&mut buffer).unwrap();
    assert!(buffer[..read].starts_with(b"HTTP/1.1 400"));
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_finishes_requests_and_refuses_connections() {
    let app = start(&web("")).await;
    let address = app.local_addr();
    let idle = TcpStream::connect(address).unwrap();
    let running = tokio::task::spawn_blocking(move || request(address, "GET", "/sleep/1000", "", ""));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    app.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let answer = running.await.unwrap().unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "slept"));
    assert!(TcpStream::connect(address).is_err());
    drop(idle);
}
