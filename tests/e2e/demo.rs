//! The demo data of `cargo mall up`.

use std::time::Duration;

use crate::harness::{DedicatedShop, Servers, eventually};

/// Databases given by URL may be a real shop's: nothing may appear there by itself, least of all an admin.
#[tokio::test]
async fn databases_given_by_url_get_the_demo_data_only_on_request() {
    const USERS: &str = "SELECT COUNT(*) FROM users";
    const PRODUCTS: &str = "SELECT COUNT(*) FROM products";
    let servers = Servers::start().await;
    let shop = DedicatedShop::on(&servers).start().await;
    // By now it has loaded whatever it loads.
    eventually("the shop is ready", Duration::from_secs(30), async || shop.says("wasmall is serving at").then_some(()))
        .await;
    assert_eq!((servers.number(USERS).await, servers.number(PRODUCTS).await), (0, 0));
    drop(shop);

    let _shop = DedicatedShop::on(&servers).with_demo().start().await;
    eventually("the demo data is there", Duration::from_secs(30), async || {
        const ADMINS: &str = "SELECT COUNT(*) FROM users WHERE username = 'demo-admin' AND role = 'admin'";
        (servers.number(ADMINS).await == 1 && servers.number(PRODUCTS).await > 100).then_some(())
    })
    .await;
}
