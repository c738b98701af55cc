//! Redis as components see it, and Redis triggers.

use std::time::{Duration, Instant};

use runtime::App;

use crate::support::*;

async fn redis(app: &App, script: impl AsRef<str>) -> Vec<String> {
    send(app, "POST", "/redis", script.as_ref()).await.body.lines().map(String::from).collect()
}

fn allowed(server: &Server) -> String {
    web(&format!("allowed_outbound_hosts = [\"{}\"]", server.redis_url()))
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_and_errors_are_as_in_spin() {
    let server = Server::redis();
    let app = start(&allowed(&server)).await;
    let url = server.redis_url();
    let answers = redis(
        &app,
        format!(
            "{url}\nSET a b\nGET a\nGET none\nINCRBY n 5\nRPUSH l x y\nLRANGE l 0 -1\nEVALSHA {} 0\nEVAL return~redis.error_reply('OUT~none') 0\nINCR a\nNOSUCH",
            "f".repeat(40)
        ),
    )
    .await;
    assert_eq!(answers[..6], ["Status(\"OK\")", "b", "Nil", "Int64(5)", "Int64(2)", "x y"]);
    assert!(
        answers[6].starts_with("Other(\"An error was signalled by the server - NoScriptError: No matching script"),
        "{}",
        answers[6]
    );
    assert!(answers[7].starts_with("Other(\"OUT: none"), "{}", answers[7]);
    assert!(
        answers[8].starts_with("Other(\"An error was signalled by the server - ResponseError: value is not an integer"),
        "{}",
        answers[8]
    );
    assert!(answers[9].contains("ResponseError: unknown command"), "{}", answers[9]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_connection_is_not_shared() {
    let server = Server::redis();
    let app = start(&allowed(&server)).await;
    let url = server.redis_url();
    let script = format!("{url}\nSELECT 5\nSET only here\nMULTI\nGET only\nEXEC");
    assert_eq!(redis(&app, &script).await.last().unwrap(), "here");
    // A blocking command does not delay other connections.
    let (blocked, other) = tokio::join!(redis(&app, format!("{url}\nBLPOP never 1")).await_with_time(), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        redis(&app, format!("{url}\nGET only")).await_with_time().await
    });
    assert_eq!(blocked.0, ["Nil"]);
    assert_eq!(other.0, ["Nil"]);
    assert!(other.1 < Duration::from_millis(500), "{:?}", other.1);
}

trait WithTime: Future + Sized {
    async fn await_with_time(self) -> (Self::Output, Duration) {
        let begun = Instant::now();
        (self.await, begun.elapsed())
    }
}
impl<F: Future> WithTime for F {}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_shared_and_reopened() {
    let mut server = Server::redis();
    let app = start(&allowed(&server)).await;
    let url = server.redis_url();
    futures::future::join_all((0..50).map(|_| redis(&app, format!("{url}\nSET a b")))).await;
    let connections = redis_command(server.port, "INFO clients");
    let count: usize = connections.split("connected_clients:").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    assert!(count <= 2, "{count}");

    server.stop();
    let (answer, time) = redis(&app, format!("{url}\nGET a")).await_with_time().await;
    assert!(answer[0].contains("Other("), "{answer:?}");
    assert!(time < Duration::from_secs(4), "{time:?}");
    server.start_redis();
    let (mut failed, script) = (0, format!("{url}\nSET a b"));
    while redis(&app, &script).await != ["Status(\"OK\")"] {
        failed += 1;
        assert!(failed < 2, "it is not reopened");
    }
}

fn worker(server: &Server, channels: &[&str]) -> String {
    let url = server.redis_url();
    let triggers: String = channels
        .iter()
        .map(|channel| {
            format!("[[trigger.redis]]\naddress = \"{url}\"\nchannel = \"{channel}\"\ncomponent = \"worker\"\n")
        })
        .collect();
    format!(
        "{triggers}[component.worker]\nsource = \"@/worker.wasm\"\nallowed_outbound_hosts = [\"{url}\"]\nvariables = {{ redis = \"{url}\" }}\n"
    )
}

fn log(server: &Server) -> Vec<String> {
    let reply = redis_command(server.port, "LRANGE log 0 -1");
    reply.lines().filter(|line| line.starts_with("begin") || line.starts_with("end")).map(String::from).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_from_one_address_are_handled_one_at_a_time_in_new_instances() {
    let server = Server::redis();
    let app = start(&worker(&server, &["one", "two", "__keyevent@0__:expired"])).await;
    redis_command(server.port, "PUBLISH one '300 a'");
    redis_command(server.port, "PUBLISH two '0 trap'");
    redis_command(server.port, "PUBLISH two '0 b'");
    eventually("both are handled", async || log(&server).len() == 4).await;
    assert_eq!(log(&server), ["begin a 1", "end a 1", "begin b 1", "end b 1"]);
    redis_command(server.port, "SET timer x PX 50");
    // The name of the key that expired is the message.
    eventually("the expired key is handled", async || log(&server).last().is_some_and(|l| l == "end timer 1")).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_are_renewed_when_redis_is_back() {
    let mut server = Server::redis();
    let app = start(&worker(&server, &["one"])).await;
    server.stop();
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.start_redis();
    eventually("it subscribes again", async || redis_command(server.port, "PUBSUB NUMSUB one").contains(":1\r\n"))
        .await;
    redis_command(server.port, "PUBLISH one '0 a'");
    eventually("the message is handled", async || log(&server).len() == 2).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_lets_a_message_finish() {
    let server = Server::redis();
    let app = start(&worker(&server, &["one"])).await;
    redis_command(server.port, "PUBLISH one '500 a'");
    eventually("it has begun", async || log(&server).len() == 1).await;
    app.stop().await;
    assert_eq!(log(&server), ["begin a 1", "end a 1"]);
}
