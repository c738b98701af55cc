//! Profile, password, addresses, sessions.

use std::time::Duration;

use futures::future::{join, join_all};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

use crate::harness::{Call, DedicatedShop, FakeService, ReceivedRequest, Servers, Shop, User, eventually, unique};

fn change_password(user: &User, old: &str, new: &str) -> Call {
    user.put("/api/user/password").json(json!({ "old_password": old, "new_password": new }))
}

fn refresh(user: &User) -> Call {
    user.shop.post("/api/user/refresh").json(json!({ "refresh_token": user.refresh }))
}

/// A write that every signed-in user may make.
fn write(user: &User) -> Call {
    user.delete("/api/cart/clear")
}

#[tokio::test]
async fn users_read_and_change_their_own_profile() {
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
    let change = json!({ "email": "a@b.example", "nickname": "小明", "password": user.password });
    let changed = put(change).await.is(200);
    assert_eq!((&changed["email"], &changed["nickname"]), (&json!("a@b.example"), &json!("小明")));
    // A missing field stays as it is; null clears it.
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
async fn a_user_s_language_is_the_chosen_one_or_else_the_one_that_is_asked_for() {
    let shop = Shop::running();
    let member = async |languages: &str| {
        let username = format!("u-{}", unique());
        let form = json!({ "username": username, "password": "long enough" });
        shop.post("/api/user/register").json(form).header("accept-language", languages).await.is(201);
        shop.sign_in(&username, "long enough").await
    };
    let seen = async |user: &User, languages: &str| {
        user.get("/api/user/profile").header("accept-language", languages).await.is(200)["locale"].clone()
    };
    let choose = |user: &User, locale: Value| user.put("/api/user/profile").json(json!({ "locale": locale }));
    // The language of the sign-up stays.
    let user = member("zh-TW, en;q=0.5").await;
    assert_eq!(seen(&user, "en").await, "zh-CN");
    assert_eq!(choose(&user, json!("en")).await.is(200)["locale"], "en");
    assert_eq!(seen(&user, "zh-CN").await, "en");
    assert_eq!(user.put("/api/user/profile").json(json!({ "nickname": "x" })).await.is(200)["locale"], "en");
    choose(&user, json!("fr")).await.invalid("locale");
    // Without a choice, the language that the request asks for.
    assert_eq!(choose(&user, json!(null)).header("accept-language", "zh").await.is(200)["locale"], "zh-CN");
    assert_eq!((seen(&user, "en").await, seen(&user, "zh-CN").await), (json!("en"), json!("zh-CN")));
    assert_eq!(seen(&user, "fr").await, "en");
    // A sign-up in a language that is not the shop's chooses none.
    assert_eq!(seen(&member("fr").await, "zh-CN").await, "zh-CN");
}

#[tokio::test]
async fn a_new_password_ends_the_users_other_sessions_only() {
    let shop = Shop::running();
    let (user, other_user) = (shop.user().await, shop.user().await);
    let other = shop.sign_in(&user.username, &user.password).await;
    change_password(&user, "wrong-password", "another password").await.problem(401, "invalid_credentials");
    change_password(&user, &user.password, "short").await.invalid("new_password");
    write(&other).await.is(200);
    assert_eq!(change_password(&user, &user.password, "another password").await.status, 204);
    write(&other).await.problem(401, "unauthenticated");
    refresh(&other).await.problem(401, "invalid_token");
    write(&user).await.is(200);
    write(&other_user).await.is(200);
    refresh(&user).await.is(200);
    let login =
        |password: &str| shop.post("/api/user/login").json(json!({ "username": user.username, "password": password }));
    login(&user.password).await.problem(401, "invalid_credentials");
    login("another password").await.is(200);
}

#[tokio::test]
async fn wrong_old_passwords_lock_the_account() {
    let user = Shop::running().user().await;
    for _ in 0..10 {
        change_password(&user, "wrong-password", "another password").await.problem(401, "invalid_credentials");
    }
    change_password(&user, &user.password, "another password").await.problem(429, "rate_limited");
}

/// Whichever comes first, only the session that changes the password survives.
#[tokio::test]
async fn sessions_refreshed_during_a_password_change_do_not_survive() {
    let shop = Shop::running();
    let user = shop.user().await;
    let others = join_all((0..6).map(|_| shop.sign_in(&user.username, &user.password))).await;
    let refreshes = join_all(others.iter().map(async |other| {
        let mut other = other.clone();
        let mut count = 0;
        loop {
            let reply = refresh(&other).unchecked().await;
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
        change_password(&user, &user.password, "another password").await
    };
    let (ended, changed) = join(refreshes, change).await;
    assert_eq!(changed.status, 204, "{changed}");
    for (other, _) in &ended {
        write(other).await.problem(401, "unauthenticated");
    }
    assert!(ended.iter().any(|(_, count)| *count > 0), "no session was refreshed");
    let sessions = user.get("/api/user/session").await.is(200);
    assert_eq!(sessions["items"].as_array().expect("items").len(), 1, "{sessions}");
}

#[tokio::test]
async fn sessions_can_be_listed_and_ended() {
    let shop = Shop::running();
    let (user, other_user) = (shop.user().await, shop.user().await);
    let others = join_all((0..3).map(|_| shop.sign_in(&user.username, &user.password))).await;
    let list =
        async |user: &User| user.get("/api/user/session").await.is(200)["items"].as_array().expect("items").clone();
    // The fourth is the one that `user` has.
    let sessions = list(&user).await;
    assert_eq!(sessions.len(), 4, "{sessions:?}");
    let current: Vec<_> = sessions.iter().filter(|session| session["current"] == true).collect();
    assert_eq!(current.len(), 1);
    for session in &sessions {
        assert!(session["created_at"].is_string() && session["expires_at"].is_string(), "{session}");
        assert!(session["address"].is_string(), "{session}");
    }
    let first =
        list(&others[0]).await.iter().find(|session| session["current"] == true).expect("one")["session_id"].clone();
    let path = format!("/api/user/session/{first}");
    other_user.delete(&path).await.problem(404, "not_found");
    assert_eq!(user.delete(&path).await.status, 204);
    user.delete(&path).await.problem(404, "not_found");
    write(&others[0]).await.problem(401, "unauthenticated");
    refresh(&others[0]).await.problem(401, "invalid_token");
    write(&others[1]).await.is(200);
    assert_eq!(user.delete("/api/user/session").await.status, 204);
    for other in &others[1..] {
        write(other).await.problem(401, "unauthenticated");
        refresh(other).await.problem(401, "invalid_token");
    }
    assert_eq!(list(&user).await.len(), 1);
    write(&other_user).await.is(200);
}

fn address(detail: &str) -> Value {
    json!({ "receiver": "王小明", "phone": "+86 10-1234 5678", "region": "北京", "detail": detail })
}

#[tokio::test]
async fn addresses_are_private_and_one_is_the_default() {
    let shop = Shop::running();
    let (user, other_user) = (shop.user().await, shop.user().await);
    let list = async || user.get("/api/user/address").await.is(200)["items"].as_array().expect("items").clone();
    assert_eq!(list().await, Vec::<Value>::new());
    let first = user.post("/api/user/address").json(address("1")).await.is(201);
    assert_eq!(first["is_default"], true, "the first address is the default");
    assert_eq!((&first["receiver"], &first["phone"]), (&json!("王小明"), &json!("+86 10-1234 5678")));
    let second = user.post("/api/user/address").json(address("2")).await.is(201);
    assert_eq!(second["is_default"], false);
    let path = format!("/api/user/address/{}", second["address_id"]);
    let mut changed = address("two");
    changed["is_default"] = json!(true);
    other_user.put(&path).json(changed.clone()).await.problem(404, "not_found");
    other_user.delete(&path).await.problem(404, "not_found");
    let second = user.put(&path).json(changed).await.is(200);
    assert_eq!((&second["detail"], &second["is_default"]), (&json!("two"), &json!(true)));
    let all = list().await;
    assert_eq!(all.iter().filter(|one| one["is_default"] == true).count(), 1, "{all:?}");
    assert_eq!(all[0], second, "the default comes first");
    // PUT replaces the whole address: a missing `is_default` is false.
    assert_eq!(user.put(&path).json(address("2")).await.is(200)["is_default"], false);
    assert_eq!(user.delete(&path).await.status, 204);
    user.delete(&path).await.problem(404, "not_found");
    assert_eq!(list().await.len(), 1);
    assert_eq!(other_user.get("/api/user/address").await.is(200)["items"], json!([]));
}

#[tokio::test]
async fn concurrent_default_addresses_leave_one_default() {
    let user = Shop::running().user().await;
    let mut new = address("x");
    new["is_default"] = json!(true);
    join_all((0..12).map(async |_| user.post("/api/user/address").json(new.clone()).await.is(201))).await;
    let all = user.get("/api/user/address").await.is(200);
    let defaults = all["items"].as_array().expect("items").iter().filter(|one| one["is_default"] == true).count();
    assert_eq!(defaults, 1, "{all}");
}

#[tokio::test]
async fn address_fields_are_validated() {
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
    let (user, other_user) = (shop.user().await, shop.user().await);
    let product = shop.product(json!({})).await;
    let id = user.post("/api/user/address").json(address("here")).await.is(201)["address_id"].clone();
    let order_to_address = |user: &User| {
        let items = json!([{ "product_id": product, "quantity": 1 }]);
        user.post("/api/order").json(json!({ "items": items, "address_id": id }))
    };
    order_to_address(&other_user).await.invalid("address_id");
    let order = order_to_address(&user).await.is(201);
    assert_eq!(order["address"], address("here"));
    user.delete(&format!("/api/user/address/{id}")).await;
    assert_eq!(user.get_order(order["order_no"].as_str().expect("a number")).await["address"], address("here"));
}

/// A user whose address is verified.
async fn user_with_email(servers: &Servers, shop: &Shop, email: Option<&str>) -> User {
    let username = format!("u-{}", unique());
    let form = json!({ "username": username, "password": "the old one" });
    shop.post("/api/user/register").json(form).await.is(201);
    if let Some(email) = email {
        servers.set_email(&username, email).await;
    }
    shop.sign_in(&username, "the old one").await
}

fn forgot_password(shop: &Shop, username: &str) -> Call {
    shop.post("/api/user/password/forgot").json(json!({ "username": username }))
}

/// The token in a mail, on its own or at the end of a link.
fn reset_token(mail: &ReceivedRequest) -> String {
    let text = mail.json()["text"].as_str().expect("a text").to_owned();
    let word = text.split_whitespace().find(|word| word.len() >= 32).expect("a token");
    word.rsplit('=').next().unwrap_or_default().to_owned()
}

fn reset_password(shop: &Shop, token: &str, new: &str) -> Call {
    shop.post("/api/user/password/reset").json(json!({ "token": token, "new_password": new }))
}

#[tokio::test]
async fn a_forgotten_password_is_reset_once_by_mail() {
    let (servers, mail) = (Servers::start().await, FakeService::mail(1).await);
    let shop = DedicatedShop::on(&servers)
        .with_mail(&mail)
        .variable("reset_url", "https://shop.example/reset?token=")
        .start()
        .await;
    let (user, without_email) = (
        user_with_email(&servers, &shop, Some("user@mail.example")).await,
        user_with_email(&servers, &shop, None).await,
    );
    // Every name gets the same answer; only the account with an address gets a mail.
    for name in
        [user.username.to_uppercase().as_str(), without_email.username.as_str(), "nobody-here", "no name at all!"]
    {
        assert_eq!(forgot_password(&shop, name).await.status, 202);
    }
    let sent = eventually("the mail is sent", Duration::from_secs(40), async || {
        let requests = mail.requests();
        (requests.len() == 2).then(|| requests[1].json())
    })
    .await;
    assert_eq!(sent["to"], json!(["user@mail.example"]));
    let text = sent["text"].as_str().expect("a text");
    let token =
        text.split("https://shop.example/reset?token=").nth(1).and_then(|rest| rest.lines().next()).expect("a token");
    // The token is not among the messages.
    assert_eq!(user.get("/api/user/message").await.is(200)["items"], json!([]));
    const LEFT: &str = "SELECT COUNT(*) FROM jobs WHERE queue = 'notify'";
    eventually("the jobs are done", Duration::from_secs(40), async || (servers.number(LEFT).await == 0).then_some(()))
        .await;

    reset_password(&shop, "another-token", "the new one").await.problem(401, "invalid_token");
    reset_password(&shop, token, "short").await.invalid("new_password");
    let tries = join_all((0..4).map(async |_| reset_password(&shop, token, "the new one").await)).await;
    assert_eq!(tries.iter().filter(|reply| reply.status == 204).count(), 1, "the token works once");
    reset_password(&shop, token, "another new one").await.problem(401, "invalid_token");
    write(&user).await.problem(401, "unauthenticated");
    refresh(&user).await.problem(401, "invalid_token");
    shop.sign_in(&user.username, "the new one").await;
}

#[tokio::test]
async fn changing_password_or_email_revokes_reset_tokens() {
    let (servers, mail) = (Servers::start().await, FakeService::mail(0).await);
    let shop = DedicatedShop::on(&servers).with_mail(&mail).start().await;
    let user = user_with_email(&servers, &shop, Some("user@mail.example")).await;
    let changes = [
        ("/api/user/password", json!({ "old_password": "the old one", "new_password": "the next one" }), 204),
        ("/api/user/profile", json!({ "email": "other@mail.example", "password": "the next one" }), 200),
    ];
    for (count, (path, change, status)) in changes.into_iter().enumerate() {
        assert_eq!(forgot_password(&shop, &user.username).await.status, 202);
        let request = eventually("a mail", Duration::from_secs(40), async || {
            let mails = mail.requests();
            mails.into_iter().filter(|mail| mail.json()["subject"] == "Reset your password").nth(count)
        })
        .await;
        let token = reset_token(&request);
        user.put(path).json(change).await.is(status);
        reset_password(&shop, &token, "the thief's password").await.problem(401, "invalid_token");
    }
}

#[tokio::test]
async fn reset_tokens_expire_and_reset_mails_are_limited() {
    let (servers, mail) = (Servers::start().await, FakeService::mail(0).await);
    let shop = DedicatedShop::on(&servers).with_mail(&mail).start().await;
    let user = user_with_email(&servers, &shop, Some("user@mail.example")).await;
    for _ in 0..5 {
        assert_eq!(forgot_password(&shop, &user.username).await.status, 202);
    }
    let requests = eventually("three mails", Duration::from_secs(40), async || {
        let jobs = servers.number("SELECT COUNT(*) FROM jobs WHERE queue = 'notify'").await;
        (jobs == 0).then(|| mail.requests())
    })
    .await;
    assert_eq!(requests.len(), 3, "three mails an hour");
    let tokens: Vec<String> = requests.iter().map(reset_token).collect();
    // Only the last one counts, and only until it expires.
    assert_eq!(servers.number("SELECT COUNT(*) FROM password_resets").await, 1);
    const AGE: &str = "UPDATE password_resets SET expires_at = expires_at - 1800000";
    servers.mysql().await.query_drop(AGE).await.expect("the tokens get older");
    for token in &tokens {
        reset_password(&shop, token, "the new one").await.problem(401, "invalid_token");
    }
    shop.sign_in(&user.username, "the old one").await;
}
