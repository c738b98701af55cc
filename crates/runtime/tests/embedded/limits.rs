//! What becomes of a component that fails or takes too much.

use std::time::{Duration, Instant};

use runtime::Limits;

use crate::support::*;

/// The same component twice: what happens to one is nothing to the other.
fn two(route: &str) -> String {
    let other = format!(
        "[[trigger.http]]\nroute = \"{route}\"\ncomponent = \"other\"\n[component.other]\nsource = \"@/web.wasm\"\n\
         dependencies = {{ \"test:math/calculator@0.1.0\" = {{ component = \"calculator\" }} }}\n"
    );
    format!("{}{other}", web(""))
}

fn short() -> Limits {
    Limits { request: Duration::from_secs(1), ..Limits::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_is_a_500_and_a_new_instance_follows() {
    let app = start(&two("/sleep/...")).await;
    assert_eq!(get(&app, "/seen").await.body, "1");
    assert_eq!(get(&app, "/seen").await.body, "2");
    let (sleeping, trapped) = tokio::join!(get(&app, "/sleep/500"), get(&app, "/trap"));
    assert_eq!((trapped.status, trapped.body.as_str()), (500, ""));
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
async fn a_request_that_waits_too_long_ends() {
    let app = start_with(&web(""), short()).await;
    let begun = Instant::now();
    assert_eq!(get(&app, "/sleep/20000").await.status, 500);
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert_eq!(get(&app, "/sleep/10").await.body, "slept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_computing_ends_and_holds_up_nobody() {
    let app = start_with(&two("/add/..."), short()).await;
    let begun = Instant::now();
    // More of them than threads.
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
    let limits = Limits { requests: 3, idle: Duration::from_millis(200), ..Limits::default() };
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
