//! Sessions: login, refresh, logout.

use std::future::IntoFuture;
use std::time::{Duration, Instant};

use futures::future::join_all;
use mysql_async::{TxOpts, prelude::Queryable};
use serde_json::{Value, json};

use crate::harness::{Call, DedicatedShop, Reply, Servers, Shop, User, eventually, token, unique};

fn login(shop: &Shop, username: &str, password: &str) -> Call {
    shop.post("/api/user/login").json(json!({ "username": username, "password": password }))
}

fn refresh(shop: &Shop, refresh_token: &str) -> Call {
    shop.post("/api/user/refresh").json(json!({ "refresh_token": refresh_token }))
}

fn refresh_token(session: &Value) -> String {
    session["refresh_token"].as_str().expect("a refresh token").to_owned()
}

/// A write that every signed-in user may make.
fn write(user: &User) -> Call {
    user.delete("/api/cart/clear")
}

#[track_caller]
fn assert_session(session: &Value, user: &User) {
    assert_eq!(session["token_type"], "Bearer");
    assert_eq!(session["expires_in"], 900);
    let expected = json!({ "user_id": user.user_id, "username": user.username, "role": "user" });
    assert_eq!(session["user"], expected);
    for name in ["access_token", "refresh_token"] {
        assert!(session[name].as_str().is_some_and(|token| token.len() >= 32), "{session}");
    }
}

#[tokio::test]
async fn a_login_returns_a_session() {
    let shop = Shop::running();
    let user = shop.user().await;
    let session = login(&shop, &user.username, &user.password).await.is(200);
    assert_session(&session, &user);
    let access = session["access_token"].as_str().expect("an access token");
    shop.get("/api/cart").bearer(access).await.is(200);
}

#[tokio::test]
async fn a_login_ignores_the_case_of_the_username() {
    let shop = Shop::running();
    let (username, password) = shop.register().await;
    let session = login(&shop, &username.to_uppercase(), &password).await.is(200);
    assert_eq!(session["user"]["username"], username.as_str(), "as registered");
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_get_the_same_reply() {
    let shop = Shop::running();
    let (username, _) = shop.register().await;
    let wrong = login(&shop, &username, "not my password").header("x-request-id", "same").await;
    let unknown = login(&shop, &format!("u-{}", unique()), "not my password");
    let unknown = unknown.header("x-request-id", "same").await;
    wrong.problem(401, "invalid_credentials");
    unknown.problem(401, "invalid_credentials");
    assert_eq!(wrong.body, unknown.body);
    let names = |reply: &Reply| {
        let mut names: Vec<String> = reply.headers.keys().map(ToString::to_string).collect();
        names.sort();
        names
    };
    assert_eq!(names(&wrong), names(&unknown));
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_take_the_same_time() {
    let shop = Shop::running();
    let mut best = [Duration::MAX; 2];
    let [mut wrong, mut unknown] = [0.0; 2];
    // The best time of each counts: other tests can only slow a request down. They may slow down one of the two for a
    // while, so this is tried several times.
    for _ in 0..6 {
        let (username, _) = shop.register().await;
        for _ in 0..9 {
            for (index, name) in [username.clone(), format!("u-{}", unique())].iter().enumerate() {
                let start = Instant::now();
                login(&shop, name, "not my password").await.problem(401, "invalid_credentials");
                best[index] = best[index].min(start.elapsed());
            }
        }
        [wrong, unknown] = best.map(|time| time.as_secs_f64());
        if wrong.max(unknown) / wrong.min(unknown) < 2.0 {
            return;
        }
    }
    panic!("wrong password {wrong:.4} s, unknown name {unknown:.4} s");
}

#[tokio::test]
async fn an_impossible_password_is_refused() {
    let shop = Shop::running();
    let (username, _) = shop.register().await;
    for password in ["", "x", &"x".repeat(129)] {
        let reply = login(&shop, &username, password).await;
        assert!(matches!(reply.status, 401 | 422), "{reply}");
    }
}

#[tokio::test]
async fn a_refresh_token_renews_the_session() {
    let shop = Shop::running();
    let user = shop.user().await;
    let session = refresh(&shop, &user.refresh).await.is(200);
    assert_session(&session, &user);
    assert_ne!(session["refresh_token"], user.refresh.as_str());
    let session = refresh(&shop, &refresh_token(&session)).await.is(200);
    let access = session["access_token"].as_str().expect("an access token");
    shop.write_with(access).await.is(200);
}

#[tokio::test]
async fn a_refresh_token_used_twice_ends_the_session() {
    let shop = Shop::running();
    let user = shop.user().await;
    let next = refresh(&shop, &user.refresh).await.is(200);
    refresh(&shop, &user.refresh).await.problem(401, "invalid_token");
    refresh(&shop, &refresh_token(&next)).await.problem(401, "invalid_token");
    let access = next["access_token"].as_str().expect("an access token");
    shop.write_with(access).await.problem(401, "unauthenticated");
    write(&user).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn ending_a_session_leaves_the_others() {
    let shop = Shop::running();
    let one = shop.user().await;
    let other = one.sign_in_at(&shop).await;
    refresh(&shop, &one.refresh).await.is(200);
    refresh(&shop, &one.refresh).await.problem(401, "invalid_token");
    write(&other).await.is(200);
    refresh(&shop, &other.refresh).await.is(200);
}

#[tokio::test]
async fn of_concurrent_refreshes_one_succeeds() {
    let shop = Shop::running();
    let user = shop.user().await;
    let replies = join_all((0..20).map(|_| refresh(&shop, &user.refresh).into_future())).await;
    let succeeded: Vec<&Reply> = replies.iter().filter(|reply| reply.status == 200).collect();
    assert_eq!(succeeded.len(), 1);
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        reply.problem(401, "invalid_token");
    }
    // The others used the token a second time, which ended the session.
    refresh(&shop, &refresh_token(&succeeded[0].json())).await.problem(401, "invalid_token");
}

#[tokio::test]
async fn an_unknown_refresh_token_is_invalid() {
    let shop = Shop::running();
    let user = shop.user().await;
    let changed = format!("{}x", user.refresh);
    for unknown in ["x", "", &user.access, &changed, &"a".repeat(5000), "' OR 1=1 -- ", "\u{0}", "令牌"] {
        let reply = refresh(&shop, unknown).await;
        if reply.status != 422 {
            reply.problem(401, "invalid_token");
        }
    }
    refresh(&shop, &user.refresh).await.is(200);
}

#[tokio::test]
async fn a_refresh_token_is_no_access_token() {
    let shop = Shop::running();
    let user = shop.user().await;
    shop.get("/api/cart").bearer(&user.refresh).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn logout_ends_the_session_at_once() {
    let shop = Shop::running();
    let user = shop.user().await;
    let reply = user.post("/api/user/logout").await;
    reply.is(204);
    assert!(reply.body.is_empty());
    refresh(&shop, &user.refresh).await.problem(401, "invalid_token");
    for call in [
        user.post("/api/cart").json(json!({ "product_id": 1, "quantity": 1 })),
        user.put("/api/cart").json(json!({ "product_id": 1, "quantity": 1 })),
        user.delete("/api/cart/clear"),
        user.post("/api/checkout").json(json!({})),
        user.place_order(&[(1, 1)]),
        user.cancel("nothing"),
        user.pay("nothing"),
        user.post("/api/user/logout"),
    ] {
        call.await.problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn a_signed_out_admin_can_not_write() {
    let shop = Shop::running();
    let admin = shop.admin().await.sign_in_at(&shop).await;
    admin.post("/api/user/logout").await.is(204);
    let category = json!({ "name": unique() });
    admin.post("/api/category").json(category).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn logout_leaves_the_other_sessions() {
    let shop = Shop::running();
    let one = shop.user().await;
    let other = one.sign_in_at(&shop).await;
    one.post("/api/user/logout").await.is(204);
    write(&other).await.is(200);
    refresh(&shop, &other.refresh).await.is(200);
}

#[tokio::test]
async fn logout_ends_a_renewed_session() {
    let shop = Shop::running();
    let user = shop.user().await;
    let session = refresh(&shop, &user.refresh).await.is(200);
    let access = session["access_token"].as_str().expect("an access token");
    shop.post("/api/user/logout").bearer(access).await.is(204);
    refresh(&shop, &refresh_token(&session)).await.problem(401, "invalid_token");
    shop.write_with(access).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_reused_refresh_token_ends_the_access_token_even_if_redis_failed_or_forgot() {
    const ACTIVE: &str = "SELECT COUNT(*) FROM sessions WHERE ended_at IS NULL";
    let mut servers = Servers::start().await;
    let shop = DedicatedShop::on(&servers).start().await;
    let user = shop.user().await;
    let next = refresh(&shop, &user.refresh).await.is(200);
    let access = next["access_token"].as_str().expect("an access token");
    // The session does not end in MySQL before its access token is refused.
    servers.kill_redis();
    refresh(&shop, &user.refresh).await.problem(503, "unavailable");
    assert_eq!(servers.number(ACTIVE).await, 1);
    servers.start_redis().await;
    let reuse = async || {
        // The shop may have to connect to Redis again.
        eventually("the reuse is noticed", Duration::from_secs(10), async || {
            let reply = refresh(&shop, &user.refresh).await;
            (reply.status != 503).then(|| reply.problem(401, "invalid_token"))
        })
        .await;
    };
    reuse().await;
    shop.write_with(access).await.problem(401, "unauthenticated");
    // A repeat ends it again.
    let mut redis = servers.redis().await;
    redis::cmd("FLUSHDB").exec_async(&mut redis).await.expect("Redis loses its data");
    shop.write_with(access).await.is(200);
    reuse().await;
    shop.write_with(access).await.problem(401, "unauthenticated");
    refresh(&shop, &refresh_token(&next)).await.problem(401, "invalid_token");
}

#[tokio::test]
async fn logout_waits_for_the_user_s_other_changes() {
    let servers = Servers::start().await;
    let shop = DedicatedShop::on(&servers).start().await;
    let user = shop.user().await;
    let mut mysql = servers.mysql().await;
    let mut tx = mysql.start_transaction(TxOpts::default()).await.expect("a transaction");
    let lock = "SELECT id FROM users WHERE id = ? FOR UPDATE";
    tx.exec_drop(lock, (user.user_id,)).await.expect("a lock");
    let mut logout = user.post("/api/user/logout").into_future();
    let early = tokio::time::timeout(Duration::from_millis(500), &mut logout).await;
    assert!(early.is_err(), "the user is locked");
    tx.rollback().await.expect("unlocked");
    logout.await.is(204);
}

#[tokio::test]
async fn the_oldest_of_more_than_fifty_sessions_end() {
    let shop = Shop::running();
    let first = shop.user().await;
    let mut others = Vec::new();
    for _ in 0..50 {
        others.push(shop.sign_in(&first.username, &first.password).await);
    }
    write(&first).await.problem(401, "unauthenticated");
    refresh(&shop, &first.refresh).await.problem(401, "invalid_token");
    write(&others[0]).await.is(200);
    refresh(&shop, &others[0].refresh).await.is(200);
    let sessions = others[0].get("/api/user/session?limit=100").await.is(200);
    assert_eq!(sessions["items"].as_array().map(Vec::len), Some(50));
}

#[tokio::test]
async fn what_staff_read_ends_with_their_session() {
    let shop = Shop::running();
    let staff = shop.staff(&["users:write"]).await;
    staff.get("/api/admin/user").await.is(200);
    staff.post("/api/user/logout").await.is(204);
    staff.get("/api/admin/user").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn who_manages_the_catalogue_reads_like_anyone_once_the_session_has_ended() {
    let shop = Shop::running();
    let staff = shop.staff(&["catalog:write"]).await;
    let product = format!("/api/product/{}", shop.product(json!({ "on_shelf": false })).await);
    staff.get(&product).await.is(200);
    staff.post("/api/user/logout").await.is(204);
    staff.get(&product).await.problem(404, "not_found");
}

#[tokio::test]
async fn an_access_token_holds_no_secret() {
    let user = Shop::running().user().await;
    let claims = token::claims(&user.access).to_string();
    assert!(!claims.contains(&user.password) && !claims.contains(&user.refresh), "{claims}");
    assert_eq!(token::header(&user.access)["alg"], "HS256");
}

impl Shop {
    /// A write with this access token.
    fn write_with(&self, access: &str) -> Call {
        self.call(reqwest::Method::DELETE, "/api/cart/clear").bearer(access)
    }
}
