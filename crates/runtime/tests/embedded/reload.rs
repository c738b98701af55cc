//! A changed application is swapped in while requests and messages are in progress.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use runtime::App;

use crate::support::*;

/// An application whose manifest can be changed.
struct Changeable {
    folder: Folder,
    app: App,
}

impl Changeable {
    async fn start(manifest: &str) -> Self {
        let folder = folder();
        let app = runtime::start(options(&folder, manifest)).await.expect("it starts");
        Self { folder, app }
    }

    async fn change(&mut self, manifest: &str) -> Result<(), runtime::Error> {
        options(&self.folder, manifest);
        self.app.reload().await
    }

    async fn version(&self) -> String {
        get(&self.app, "/environment").await.body
    }
}

fn version(number: u32) -> String {
    web(&format!("environment = {{ version = \"{number}\" }}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_progress_and_connections_survive_a_reload() {
    let mut shop = Changeable::start(&version(1)).await;
    assert!(shop.version().await.contains("\"1\""));
    let address = shop.app.local_addr();
    let mut kept = TcpStream::connect(address).unwrap();
    kept.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert!(ask(&mut kept, "/environment").contains("\"1\""));
    let slow = tokio::task::spawn_blocking(move || request(address, "GET", "/sleep/1000", "", ""));
    // It has reached its function: a reload right away would be no test.
    tokio::time::sleep(Duration::from_millis(200)).await;

    shop.change(&version(2)).await.unwrap();
    assert!(shop.version().await.contains("\"2\""));
    assert!(!slow.is_finished(), "the slow request was to be in progress");
    let slow = slow.await.unwrap().unwrap();
    assert_eq!((slow.status, slow.body.as_str()), (200, "slept"));
    assert!(ask(&mut kept, "/environment").contains("\"2\""), "on the connection that was open before");
    shop.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_load_leaves_the_old_version_running() {
    let mut shop = Changeable::start(&version(1)).await;
    for broken in ["this is no TOML", &version(2).replace("web.wasm", "missing.wasm")] {
        assert!(shop.change(broken).await.is_err());
        assert!(shop.version().await.contains("\"1\""));
    }
    shop.change(&version(3)).await.unwrap();
    assert!(shop.version().await.contains("\"3\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_progress_is_finished_and_later_ones_go_to_the_new_version() {
    let server = Server::redis();
    let url = server.redis_url();
    let manifest = |channel: &str| {
        format!(
            "[[trigger.redis]]\naddress = \"{url}\"\nchannel = \"{channel}\"\ncomponent = \"worker\"\n\
             [component.worker]\nsource = \"@/worker.wasm\"\nallowed_outbound_hosts = [\"{url}\"]\n\
             variables = {{ redis = \"{url}\" }}\n"
        )
    };
    let log = || redis_command(server.port, "LRANGE log 0 -1");
    let mut shop = Changeable::start(&manifest("old")).await;
    redis_command(server.port, "PUBLISH old \"500 first\"");
    eventually("the first message begins", async || log().contains("begin first")).await;

    shop.change(&manifest("new")).await.unwrap();
    redis_command(server.port, "PUBLISH new \"0 second\"");
    eventually("the second message is handled", async || log().contains("end second")).await;
    eventually("the first message is finished", async || log().contains("end first")).await;
    assert!(redis_command(server.port, "PUBLISH old late").starts_with(":0"), "nobody listens there any more");
    shop.app.stop().await;
}

/// Sends a request on a connection that stays open, and returns the reply, whose body comes in chunks.
fn ask(stream: &mut TcpStream, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n").unwrap();
    let mut reply = String::new();
    while !reply.ends_with("\r\n0\r\n\r\n") {
        let mut part = [0; 1024];
        let length = stream.read(&mut part).unwrap();
        assert!(length > 0, "the connection was closed after {reply:?}");
        reply.push_str(&String::from_utf8_lossy(&part[..length]));
    }
    reply
}
