//! A Redis that is reached over TLS (`redis_scheme`).

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::harness::{DedicatedShop, Servers, environment, eventually};

/// Functions and workers both connect, as do the commands.
#[tokio::test]
async fn redis_is_reached_over_tls() {
    let servers = Servers::start_with_tls().await;
    let shop = DedicatedShop::on(&servers)
        .redis(&servers.redis_tls_url())
        .environment("SSL_CERT_FILE", servers.authority().display())
        .start()
        .await;
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    user.add_to_cart(product, 1).await;
    let order = user.post("/api/checkout").json(json!({})).await.is(201);
    user.cancel(order["order_no"].as_str().expect("a number")).await.is(200);
    eventually("the worker has written a message", Duration::from_secs(20), async || {
        let messages = user.get("/api/user/message").await.is(200);
        messages["items"].as_array().is_some_and(|items| items.len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let servers = Servers::start_with_tls().await;
    let ended = Command::new(environment("MALL_BIN"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["tick", "--redis", &servers.redis_tls_url().replace("://", "://shop:hush@")])
        .stdin(Stdio::null())
        .output()
        .expect("MALL_BIN runs");
    assert_eq!(ended.status.code(), Some(1));
    let output = String::from_utf8_lossy(&ended.stderr);
    assert!(output.to_lowercase().contains("certificate") && !output.contains("hush"), "{output}");
}
