//! Components that fail or exceed a limit.

use std::time::{Duration, Instant};

use runtime::{App, Limits};

use crate::support::*;

/// The same component twice, with instances of their own.
fn two(route: &str) -> String {
    let other = format!(
        "[[trigger.http]]\nroute = \"{route}\"\ncomponent = \"other\"\n[component.other]\nsource = \"@/web.wasm\"\n\
         dependencies = {{ \"test:math/calculator@0.1.0\" = {{ component = \"calculator\" }} }}\n"
    );
    format!("{}{other}", web(""))
}

fn short_timeout() -> Limits {
    Limits { request_timeout: Duration::from_secs(1), ..Limits::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_is_a_500_and_a_new_instance_follows() {
    let app = start(&two("/sleep/...")).await;
    assert_eq!(get(&app, "/seen").await.body, "1");
    assert_eq!(get(&app, "/seen").await.body, "2");
    let (sleeping, trapped) = tokio::join!(get(&app, "/sleep/500"), get(&app, "/trap"));
    assert_eq!(trapped.status, 500);
    assert!(trapped.body.contains("\"code\":\"internal\""), "{trapped:?}");
    assert_eq!((sleeping.status, sleeping.body.as_str()), (200, "slept"));
    assert_eq!(get(&app, "/seen").await.body, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded() {
    let app = start(&web("")).await;
    assert_eq!(get(&app, "/memory/100").await.body, (100 << 20).to_string());
    assert_eq!(get(&app, "/memory/128").await.status, 500);
    assert_eq!(get(&app, "/seen").await.body, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_times_out() {
    let app = start_with(&web(""), short_timeout()).await;
    let begun = Instant::now();
    assert_eq!(get(&app, "/sleep/20000").await.status, 500);
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert_eq!(get(&app, "/sleep/10").await.body, "slept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_loop_times_out_and_does_not_delay_other_requests() {
    let app = start_with(&two("/add/..."), short_timeout()).await;
    let begun = Instant::now();
    // More than there are threads.
    let endless = async { tokio::join!(get(&app, "/compute"), get(&app, "/compute"), get(&app, "/compute")) };
    let others = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let begun = Instant::now();
        assert_eq!(get(&app, "/add/1").await.body, "2");
        begun.elapsed()
    };
    let (endless, others) = tokio::join!(endless, others);
    assert_eq!((endless.0.status, endless.1.status, endless.2.status), (500, 500, 500));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert!(others < Duration::from_millis(500), "{others:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_reused_as_in_spin() {
    let limits = Limits { max_requests: 3, idle_timeout: Duration::from_millis(200), ..Limits::default() };
    let app = start_with(&web(""), limits).await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(get(&app, "/seen").await.body);
    }
    assert_eq!(seen, ["1", "2", "3", "1", "2"]);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(get(&app, "/seen").await.body, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_instances_wait_their_turn() {
    let app = start(&web("")).await;
    let all = futures::future::join_all((0..400).map(|_| get(&app, "/sleep/300"))).await;
    let failed: Vec<_> = all.iter().filter(|answer| answer.body != "slept").collect();
    assert!(failed.is_empty(), "{failed:?}");
}

/// A request with ids, and the runtime's log line about it.
async fn failed(app: &App, path: &'static str, id: &str) -> (Response, String) {
    let headers = format!("X-Request-Id: {id}\r\ntraceparent: 00-{TRACE_ID}-00f067aa0ba902b7-01\r\n");
    let to = app.local_addr();
    let response = tokio::task::spawn_blocking(move || request(to, "GET", path, &headers, "").unwrap()).await.unwrap();
    let [line]: [String; 1] = logged(&format!("request_id=\"{id}\"")).try_into().unwrap();
    (response, line)
}

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_request_is_logged_and_answered_with_its_ids() {
    let app = start_with(&web(""), short_timeout()).await;
    for (path, id, reason) in [
        ("/trap", "ids-trap", "instance failed"),
        ("/sleep/20000", "ids-sleep", "timed out"),
        ("/compute", "ids-loop", "instance failed"),
    ] {
        let (response, line) = failed(&app, path, id).await;
        assert_eq!(response.status, 500);
        assert!(response.head.contains(&format!("x-request-id: {id}")), "{}", response.head);
        for expected in [reason, "component=\"web\"", "route=\"/...\"", &format!("trace_id=\"{TRACE_ID}\"")] {
            assert!(line.contains(expected), "{expected} in {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_request_id_is_neither_logged_nor_answered() {
    let app = start(&web("")).await;
    let to = app.local_addr();
    let response = tokio::task::spawn_blocking(move || request(to, "GET", "/trap", "X-Request-Id: a\"b c\r\n", ""));
    let response = response.await.unwrap().unwrap();
    assert_eq!(response.status, 500);
    let id = response.head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
    assert!(!id.contains("b c"), "{id}");
    assert_eq!(logged(&format!("request_id=\"{id}\"")).len(), 1);
    assert!(logged("b c").is_empty(), "{:?}", logged("b c"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_an_instance_is_logged_with_its_ids() {
    let body_timeout = Duration::from_millis(300);
    let app = start_with(&web(""), Limits { max_instances: 0, body_timeout, ..Limits::default() }).await;
    let (response, line) = failed(&app, "/seen", "ids-no-instance").await;
    assert_eq!(response.status, 503);
    assert!(response.head.contains("retry-after: 1"), "{}", response.head);
    assert!(response.head.contains("x-request-id: ids-no-instance"), "{}", response.head);
    assert!(line.contains("no instance could be created") && line.contains("component=\"web\""), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_hashes_a_password_takes_no_other_request() {
    let app = start(&web("tool.mall.hashes_passwords = [\"GET /sleep/3000\"]")).await;
    let to = app.local_addr();
    let hash = tokio::task::spawn_blocking(move || request(to, "GET", "/sleep/3000", "", ""));
    // From then on another instance answers, for which this is the first request.
    eventually("the hash has begun", async || get(&app, "/seen").await.body == "1").await;
    assert!(!hash.is_finished());
    assert_eq!(hash.await.unwrap().unwrap().body, "slept");
}
