//! Rate limits of logins, and the lock after failed ones.

use std::future::IntoFuture;
use std::time::Instant;

use futures::future::join_all;
use futures::{StreamExt, stream};
use serde_json::json;

use crate::harness::{Call, DedicatedShop, Shop, unique};

fn login(shop: &Shop, username: &str, password: &str) -> Call {
    shop.post("/api/user/login").json(json!({ "username": username, "password": password }))
}

#[tokio::test]
async fn ten_failures_lock_a_name_even_for_the_right_password() {
    let shop = Shop::running();
    let (username, password) = shop.register().await;
    for _ in 0..10 {
        login(&shop, &username, "not my password").await.problem(401, "invalid_credentials");
    }
    login(&shop, &username, &password).await.problem(429, "rate_limited");
    login(&shop, &username.to_uppercase(), &password).await.problem(429, "rate_limited");
}

#[tokio::test]
async fn a_locked_login_has_retry_after() {
    let shop = Shop::running();
    let (username, password) = shop.register().await;
    join_all((0..10).map(|_| login(&shop, &username, "not my password").into_future())).await;
    let reply = login(&shop, &username, &password).await;
    reply.problem(429, "rate_limited");
    let wait = reply.header("retry-after").and_then(|value| value.parse::<u64>().ok());
    assert!(wait.is_some_and(|wait| (600..=900).contains(&wait)), "about 15 minutes: {reply}");
}

#[tokio::test]
async fn concurrent_guesses_do_not_bypass_the_lock() {
    let shop = Shop::running();
    let (username, _) = shop.register().await;
    let guesses = (0..16).map(|_| login(&shop, &username, "not my password").into_future());
    let replies = join_all(guesses).await;
    let tried = replies.iter().filter(|reply| reply.status == 401).count();
    assert!(tried <= 10, "{tried} guesses were checked");
}

#[tokio::test]
async fn an_unknown_name_is_locked_like_any_other() {
    let shop = Shop::running();
    let username = format!("u-{}", unique());
    for _ in 0..10 {
        login(&shop, &username, "not my password").await.problem(401, "invalid_credentials");
    }
    login(&shop, &username, "not my password").await.problem(429, "rate_limited");
}

#[tokio::test]
async fn a_lock_affects_one_name_only() {
    let shop = Shop::running();
    let (locked, _) = shop.register().await;
    let (username, password) = shop.register().await;
    for _ in 0..10 {
        login(&shop, &locked, "not my password").await;
    }
    login(&shop, &username, &password).await.is(200);
}

#[tokio::test]
async fn logins_of_one_address_are_limited_to_ten_a_second_after_twenty() {
    let own = DedicatedShop::builder().with_default_limits().start().await;
    let shop = own.called_from([127, 77, 1, 1]);
    let start = Instant::now();
    // Ten at a time: only two hash at once, and who waits for too long is refused for that.
    let calls = (0..100).map(|_| login(&shop, &format!("u-{}", unique()), "no password").into_future());
    let replies: Vec<_> = stream::iter(calls).buffered(10).collect().await;
    let elapsed = start.elapsed().as_secs_f64();
    let passed = replies.iter().filter(|reply| reply.status == 401).count();
    for reply in replies.iter().filter(|reply| reply.status != 401) {
        reply.problem(429, "rate_limited");
    }
    assert!(passed >= 20, "{passed} of a burst of 20 passed");
    let most = 20.0 + 10.0 * elapsed + 1.0;
    assert!(passed as f64 <= most, "{passed} passed in {elapsed:.2} s, at most {most:.0} may");
    // Another address has its own limit.
    let other = own.called_from([127, 77, 1, 2]);
    login(&other, &format!("u-{}", unique()), "no password").await.problem(401, "invalid_credentials");
}

#[tokio::test]
async fn the_login_limit_is_configurable() {
    let own = DedicatedShop::builder().variable("login_rate", 1).variable("login_burst", 3).start().await;
    let shop = own.called_from([127, 77, 2, 1]);
    let start = Instant::now();
    let mut passed = 0;
    for _ in 0..20 {
        let reply = login(&shop, &format!("u-{}", unique()), "no password").await;
        passed += usize::from(reply.status == 401);
    }
    let most = 3.0 + start.elapsed().as_secs_f64() + 1.0;
    assert!(passed >= 3 && passed as f64 <= most, "{passed} passed, at most {most:.0} may");
}
