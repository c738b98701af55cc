//! Profile, password, addresses, sessions.

use std::time::Duration;

use futures::future::{join, join_all};
use serde_json::{Value, json};

use crate::harness::{Call, OwnShop, Servers, Service, Shop, User, eventually, unique};

fn changing(user: &User, old: &str, new: &str) -> Call {
    user.put("/api/user/password").json(json!({ "old_password": old, "new_password": new }))
}

fn refreshing(user: &User) -> Call {
    user.shop.post("/api/user/refresh").json(json!({ "refresh_token": user.refresh }))
}

/// A write that anyone who is signed in may make.
fn writing(user: &User) -> Call {
    user.delete("/api/cart/clear")
}

#[tokio::test]
async fn a_profile_is_one_s_own_to_see_and_change() {
    let user = Shop::running().user().await;
    let profile = user.get("/api/user/profile").await.is(200);
    assert_eq!(profile["user_id"], user.user_id);
    assert_eq!(profile["username"], user.username.as_str());
    assert_eq!(
        (&profile["email"], &profile["nickname"], &profile["role"]),
        (&Value::Null, &Value::Null, &json!("user"))
    );
    assert!(profile["created_at"].is_string());
    let put = |change: Value| user.put("/api/user/profile").json(change);
    let changed = put(json!({ "email": "a@b.example", "nickname": "小明" })).await.is(200);
    assert_eq!((&changed["email"], &changed["nickname"]), (&json!("a@b.example"), &json!("小明")));
    // What is not named stays; what is null goes.
    assert_eq!(put(json!({ "nickname": "Ming" })).await.is(200)["email"], "a@b.example");
    let changed = put(json!({ "email": null })).await.is(200);
    assert_eq!((&changed["email"], &changed["nickname"]), (&Value::Null, &json!("Ming")));
    assert_eq!(user.get("/api/user/profile").await.is(200), changed);
    put(json!({})).await.is(200);
    put(json!({ "email": "no address" })).await.invalid("email");
    put(json!({ "email": format!("{}@b.example", "a".repeat(250)) })).await.invalid("email");
    put(json!({ "nickname": "" })).await.invalid("nickname");
    put(json!({ "nickname": "x".repeat(65) })).await.invalid("nickname");
    put(json!({ "role": "admin" })).await.invalid("role");
    put(json!({ "username": "another" })).await.invalid("username");
}

#[tokio::test]
async fn a_new_password_ends_every_other_session_and_no_one_else_s() {
    let shop = Shop::running();
    let (user, stranger) = (shop.user().await, shop.user().await);
    let other = shop.sign_in(&user.username, &user.password).await;
    changing(&user, "wrong-password", "another password").await.problem(401, "invalid_credentials");
    changing(&user, &user.password, "short").await.invalid("new_password");
    writing(&other).await.is(200);
    assert_eq!(changing(&user, &user.password, "another password").await.status, 204);
    writing(&other).await.problem(401, "unauthenticated");
    refreshing(&other).await.problem(401, "invalid_token");
    writing(&user).await.is(200);
    writing(&stranger).await.is(200);
    refreshing(&user).await.is(200);
    let login =
        |password: &str| shop.post("/api/user/login").json(json!({ "username": user.username, "password": password }));
    login(&user.password).await.problem(401, "invalid_credentials");
    login("another password").await.is(200);
}

#[tokio::test]
async fn wrong_old_passwords_lock_the_name() {
    let user = Shop::running().user().await;
    for _ in 0..10 {
        changing(&user, "wrong-password", "another password").await.problem(401, "invalid_credentials");
    }
    changing(&user, &user.password, "another password").await.problem(429, "rate_limited");
}

/// Whoever wins, no session but one survives the change.
#[tokio::test]
async fn of_sessions_that_refresh_while_the_password_changes_none_survives() {
    let shop = Shop::running();
    let user = shop.user().await;
    let others = join_all((0..6).map(|_| shop.sign_in(&user.username, &user.password))).await;
    let refreshes = join_all(others.iter().map(async |other| {
        let mut other = other.clone();
        let mut count = 0;
        loop {
            let reply = refreshing(&other).lenient().await;
            if reply.status != 200 {
                assert_eq!(reply.status, 401, "{reply}");
                return (other, count);
            }
            let session = reply.json();
            other.refresh = session["refresh_token"].as_str().expect("a refresh token").to_owned();
            other.access = session["access_token"].as_str().expect("an access token").to_owned();
            count += 1;
        }
    }));
    let change = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        changing(&user, &user.password, "another password").await
    };
    let (ended, changed) = join(refreshes, change).await;
    assert_eq!(changed.status, 204, "{changed}");
    for (other, _) in &ended {
        writing(other).await.problem(401, "unauthenticated");
    }
    assert!(ended.iter().any(|(_, count)| *count > 0), "nobody refreshed");
    let sessions = user.get("/api/user/session").await.is(200);
    assert_eq!(sessions["items"].as_array().expect("items").len(), 1, "{sessions}");
}

#[tokio::test]
async fn sessions_are_listed_and_ended() {
    let shop = Shop::running();
    let (user, stranger) = (shop.user().await, shop.user().await);
    let others = join_all((0..3).map(|_| shop.sign_in(&user.username, &user.password))).await;
    let list =
        async |user: &User| user.get("/api/user/session").await.is(200)["items"].as_array().expect("items").clone();
    // Signing up signed in once.
    let sessions = list(&user).await;
    assert_eq!(sessions.len(), 4, "{sessions:?}");
    let current: Vec<_> = sessions.iter().filter(|session| session["current"] == true).collect();
    assert_eq!(current.len(), 1);
    for session in &sessions {
        assert!(session["created_at"].is_string() && session["expires_at"].is_string(), "{session}");
        assert!(session["address"].is_string(), "{session}");
    }
    let mine =
        list(&others[0]).await.iter().find(|session| session["current"] == true).expect("one")["session_id"].clone();
    let path = format!("/api/user/session/{mine}");
    stranger.delete(&path).await.problem(404, "not_found");
    assert_eq!(user.delete(&path).await.status, 204);
    user.delete(&path).await.problem(404, "not_found");
    writing(&others[0]).await.problem(401, "unauthenticated");
    refreshing(&others[0]).await.problem(401, "invalid_token");
    writing(&others[1]).await.is(200);
    assert_eq!(user.delete("/api/user/session").await.status, 204);
    for other in &others[1..] {
        writing(other).await.problem(401, "unauthenticated");
        refreshing(other).await.problem(401, "invalid_token");
    }
    assert_eq!(list(&user).await.len(), 1);
    writing(&stranger).await.is(200);
}

fn address(detail: &str) -> Value {
    json!({ "receiver": "王小明", "phone": "+86 10-1234 5678", "region": "北京", "detail": detail })
}

#[tokio::test]
async fn addresses_are_one_s_own_and_one_is_the_default() {
    let shop = Shop::running();
    let (user, stranger) = (shop.user().await, shop.user().await);
    let list = async || user.get("/api/user/address").await.is(200)["items"].as_array().expect("items").clone();
    assert_eq!(list().await, Vec::<Value>::new());
    let first = user.post("/api/user/address").json(address("1")).await.is(201);
    assert_eq!(first["is_default"], true, "the first is the default");
    assert_eq!((&first["receiver"], &first["phone"]), (&json!("王小明"), &json!("+86 10-1234 5678")));
    let second = user.post("/api/user/address").json(address("2")).await.is(201);
    assert_eq!(second["is_default"], false);
    let path = format!("/api/user/address/{}", second["address_id"]);
    let mut changed = address("two");
    changed["is_default"] = json!(true);
    stranger.put(&path).json(changed.clone()).await.problem(404, "not_found");
    stranger.delete(&path).await.problem(404, "not_found");
    let second = user.put(&path).json(changed).await.is(200);
    assert_eq!((&second["detail"], &second["is_default"]), (&json!("two"), &json!(true)));
    let all = list().await;
    assert_eq!(all.iter().filter(|one| one["is_default"] == true).count(), 1, "{all:?}");
    assert_eq!(all[0], second, "the default comes first");
    // Replaced as a whole: what is not said is false.
    assert_eq!(user.put(&path).json(address("2")).await.is(200)["is_default"], false);
    assert_eq!(user.delete(&path).await.status, 204);
    user.delete(&path).await.problem(404, "not_found");
    assert_eq!(list().await.len(), 1);
    assert_eq!(stranger.get("/api/user/address").await.is(200)["items"], json!([]));
}

#[tokio::test]
async fn of_many_who_become_the_default_at_once_one_is() {
    let user = Shop::running().user().await;
    let mut new = address("x");
    new["is_default"] = json!(true);
    join_all((0..12).map(async |_| user.post("/api/user/address").json(new.clone()).await.is(201))).await;
    let all = user.get("/api/user/address").await.is(200);
    let defaults = all["items"].as_array().expect("items").iter().filter(|one| one["is_default"] == true).count();
    assert_eq!(defaults, 1, "{all}");
}

#[tokio::test]
async fn an_address_has_bounds() {
    let user = Shop::running().user().await;
    let with = |field: &str, value: Value| {
        let mut new = address("1");
        new[field] = value;
        user.post("/api/user/address").json(new)
    };
    for (field, value) in [
        ("receiver", ""),
        ("receiver", &"x".repeat(201)),
        ("region", ""),
        ("detail", &"x".repeat(201)),
        ("phone", "1234"),
        ("phone", "123456789012345678901"),
        ("phone", "12345x"),
        ("phone", "-----"),
    ] {
        with(field, json!(value)).await.invalid(field);
    }
    with("detail", json!("x".repeat(200))).await.is(201);
    with("phone", json!("12345")).await.is(201);
}

#[tokio::test]
async fn an_order_keeps_a_copy_of_its_address() {
    let shop = Shop::running();
    let (user, stranger) = (shop.user().await, shop.user().await);
    let product = shop.product(json!({})).await;
    let id = user.post("/api/user/address").json(address("here")).await.is(201)["address_id"].clone();
    let ordering = |user: &User| {
        let items = json!([{ "product_id": product, "quantity": 1 }]);
        user.post("/api/order").json(json!({ "items": items, "address_id": id }))
    };
    ordering(&stranger).await.invalid("address_id");
    let order = ordering(&user).await.is(201);
    assert_eq!(order["address"], address("here"));
    user.delete(&format!("/api/user/address/{id}")).await;
    assert_eq!(user.see(order["order_no"].as_str().expect("a number")).await["address"], address("here"));
}

async fn member(shop: &Shop, email: Option<&str>) -> User {
    let username = format!("u-{}", unique());
    let form = json!({ "username": username, "password": "the old one", "email": email });
    shop.post("/api/user/register").json(form).await.is(201);
    shop.sign_in(&username, "the old one").await
}

fn forgetting(shop: &Shop, username: &str) -> Call {
    shop.post("/api/user/password/forgot").json(json!({ "username": username }))
}

fn resetting(shop: &Shop, token: &str, new: &str) -> Call {
    shop.post("/api/user/password/reset").json(json!({ "token": token, "new_password": new }))
}

#[tokio::test]
async fn who_forgot_the_password_sets_it_anew_by_mail_once() {
    let (servers, mail) = (Servers::start().await, Service::mail(1).await);
    let shop =
        OwnShop::on(&servers).mailing(&mail).variable("reset_url", "https://shop.example/reset?token=").start().await;
    let (user, mute) = (member(&shop, Some("user@mail.example")).await, member(&shop, None).await);
    // The same answer for everyone; a mail for who has an address.
    for name in [user.username.to_uppercase().as_str(), mute.username.as_str(), "nobody-here", "no name at all!"] {
        assert_eq!(forgetting(&shop, name).await.status, 202);
    }
    let sent = eventually("the mail goes out", Duration::from_secs(40), async || {
        let asked = mail.asked();
        (asked.len() == 2).then(|| asked[1].json())
    })
    .await;
    assert_eq!(sent["to"], json!(["user@mail.example"]));
    let text = sent["text"].as_str().expect("a text");
    let token =
        text.split("https://shop.example/reset?token=").nth(1).and_then(|rest| rest.lines().next()).expect("a token");
    // Nobody finds it in the shop.
    assert_eq!(user.get("/api/user/message").await.is(200)["items"], json!([]));
    const LEFT: &str = "SELECT COUNT(*) FROM jobs WHERE queue = 'notify'";
    eventually("the jobs are done", Duration::from_secs(40), async || (servers.number(LEFT).await == 0).then_some(()))
        .await;

    resetting(&shop, "another-token", "the new one").await.problem(401, "invalid_token");
    resetting(&shop, token, "short").await.invalid("new_password");
    let tries = join_all((0..4).map(async |_| resetting(&shop, token, "the new one").await)).await;
    assert_eq!(tries.iter().filter(|reply| reply.status == 204).count(), 1, "good once");
    resetting(&shop, token, "another new one").await.problem(401, "invalid_token");
    writing(&user).await.problem(401, "unauthenticated");
    refreshing(&user).await.problem(401, "invalid_token");
    shop.sign_in(&user.username, "the new one").await;
}

#[tokio::test]
async fn who_changes_password_or_address_leaves_no_token_to_reset_behind() {
    let (servers, mail) = (Servers::start().await, Service::mail(0).await);
    let shop = OwnShop::on(&servers).mailing(&mail).start().await;
    let user = member(&shop, Some("user@mail.example")).await;
    let changes = [
        ("/api/user/password", json!({ "old_password": "the old one", "new_password": "the next one" }), 204),
        ("/api/user/profile", json!({ "email": "other@mail.example" }), 200),
    ];
    for (count, (path, change, status)) in changes.into_iter().enumerate() {
        assert_eq!(forgetting(&shop, &user.username).await.status, 202);
        let asked = eventually("a mail", Duration::from_secs(40), async || mail.asked().get(count).cloned()).await;
        let token = asked.json()["text"].as_str().expect("a text").lines().nth(2).expect("a token").to_owned();
        user.put(path).json(change).await.is(status);
        resetting(&shop, &token, "the thief's one").await.problem(401, "invalid_token");
    }
}

#[tokio::test]
async fn a_token_to_reset_is_good_for_half_an_hour_and_mails_are_few() {
    let (servers, mail) = (Servers::start().await, Service::mail(0).await);
    let shop = OwnShop::on(&servers).mailing(&mail).start().await;
    let user = member(&shop, Some("user@mail.example")).await;
    for _ in 0..5 {
        assert_eq!(forgetting(&shop, &user.username).await.status, 202);
    }
    let asked = eventually("three mails", Duration::from_secs(40), async || {
        let jobs = servers.number("SELECT COUNT(*) FROM jobs WHERE queue = 'notify'").await;
        (jobs == 0).then(|| mail.asked())
    })
    .await;
    assert_eq!(asked.len(), 3, "three an hour");
    let tokens: Vec<String> = asked
        .iter()
        .map(|asked| asked.json()["text"].as_str().expect("a text").lines().nth(2).expect("a token").to_owned())
        .collect();
    // One is good, and only until its time.
    assert_eq!(servers.number("SELECT COUNT(*) FROM password_resets").await, 1);
    const AGE: &str = "UPDATE password_resets SET expires_at = expires_at - 1800000";
    sqlx::query(AGE).execute(&mut servers.mysql().await).await.expect("aged");
    for token in &tokens {
        resetting(&shop, token, "the new one").await.problem(401, "invalid_token");
    }
    shop.sign_in(&user.username, "the old one").await;
}
