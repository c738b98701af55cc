//! What a start costs: sizes of components, memory, the time until ready, first requests.

use std::{
    fs,
    time::{Duration, Instant},
};

use hyper::Method;
use load::{
    http::{Client, request},
    statistics::median,
    table::ms,
};
use serde_json::json;

use super::{shoppers, subject::Subject};
use crate::{functions::Function, temporary_shop::TemporaryShop};

pub async fn run(scratch: &TemporaryShop, functions: &[Function]) -> anyhow::Result<()> {
    println!("\ncomponents (at most 700 KB)");
    for function in functions {
        println!("  {:<12} {:>5} KB", function.name, fs::metadata(&function.wasm)?.len() / 1000);
    }

    // The first start compiles the components, the others load them from the cache.
    let first = Subject::shop(scratch).await?;
    let token = shoppers::sign_in(first.address, 1).await?.remove(0);
    println!("\nfirst start to ready: {} ms", ms(first.ready_after));
    first.stop();
    let mut restarts = Vec::new();
    for _ in 0..3 {
        let shop = Subject::shop(scratch).await?;
        restarts.push(shop.ready_after.as_secs_f64());
        shop.stop();
    }
    println!("warm restart to ready: {} ms (at most 3000)", ms(Duration::from_secs_f64(median(restarts))));

    let shop = Subject::shop(scratch).await?;
    let idle = |shop: &Subject| shop.memory().map_or_else(|| "unknown".to_owned(), |memory| format!("{memory:.0} MiB"));
    println!("memory when ready: {}", idle(&shop));
    println!("\nfirst request to each function (at most 20 ms)");
    let nothing = json!({});
    let pay = json!({ "provider": "mock" });
    for (name, method, path, body) in [
        ("register", Method::POST, "/api/user/register", Some(&nothing)),
        ("login", Method::POST, "/api/user/login", Some(&nothing)),
        ("catalog", Method::GET, "/api/product/1", None),
        ("cart", Method::GET, "/api/cart", None),
        ("checkout", Method::POST, "/api/checkout/quote", Some(&nothing)),
        ("orders", Method::GET, "/api/order", None),
        ("pay", Method::POST, "/api/order/none/pay", Some(&pay)),
        ("ops", Method::GET, "/ready", None),
    ] {
        let mut client = Client::connect(shop.address).await?;
        let request = request(method, path, Some(&token), body);
        let begun = Instant::now();
        let (status, _) = client.send(request).await?;
        println!("  {name:<12} {:>8} ms  {} {path}", ms(begun.elapsed()), status.as_u16());
    }
    // Idle instances are dropped after a second.
    tokio::time::sleep(Duration::from_secs(3)).await;
    println!("\nmemory when idle, after every function has run: {} (at most 150 MiB)", idle(&shop));
    shop.stop();
    Ok(())
}
