//! Verifying e-mail addresses, and what users are told about their accounts.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

use crate::harness::{Call, DedicatedShop, FakeService, ReceivedRequest, Servers, Shop, User, eventually, unique};

const PASSWORD: &str = "the old one";

struct Mailed {
    servers: Servers,
    mail: FakeService,
    shop: DedicatedShop,
}

impl Mailed {
    async fn start() -> Self {
        let (servers, mail) = (Servers::start().await, FakeService::mail(0).await);
        let shop = DedicatedShop::on(&servers).with_mail(&mail).variable("public_url", "https://shop.example");
        let shop = shop.start().await;
        Self { servers, mail, shop }
    }

    async fn user(&self, email: Option<&str>) -> User {
        let username = format!("u-{}", unique());
        let form = json!({ "username": username, "password": PASSWORD, "email": email });
        self.shop.post("/api/user/register").json(form).await.is(201);
        self.shop.sign_in(&username, PASSWORD).await
    }

    /// The mails to an address, once there are this many and no job is left.
    async fn mails(&self, to: &str, count: usize) -> Vec<ReceivedRequest> {
        const JOBS: &str = "SELECT COUNT(*) FROM jobs WHERE queue = 'notify'";
        eventually(&format!("{count} mails to {to}"), Duration::from_secs(40), async || {
            let jobs = self.servers.number(JOBS).await;
            let mails: Vec<_> =
                self.mail.requests().into_iter().filter(|mail| mail.json()["to"] == json!([to])).collect();
            (jobs == 0 && mails.len() >= count).then_some(mails)
        })
        .await
    }

    /// A new user whose address is verified.
    async fn verified_user(&self, email: &str) -> User {
        let user = self.user(Some(email)).await;
        let token = token(&self.mails(email, 1).await[0]);
        verify(&self.shop, &token).await.is(204);
        user
    }
}

fn verify(shop: &Shop, token: &str) -> Call {
    shop.post("/api/user/email/verify").json(json!({ "token": token }))
}

fn text(mail: &ReceivedRequest) -> String {
    mail.json()["text"].as_str().expect("a text").to_owned()
}

/// The token in the link of a mail.
fn token(mail: &ReceivedRequest) -> String {
    let text = text(mail);
    let token = text.split("https://shop.example/verify?token=").nth(1).and_then(|rest| rest.lines().next());
    token.expect("a token").to_owned()
}

async fn profile(user: &User) -> Value {
    user.get("/api/user/profile").await.is(200)
}

async fn kinds(user: &User) -> Vec<String> {
    let messages = user.get("/api/user/message").await.is(200);
    let kinds = messages["items"].as_array().expect("items").iter().rev();
    kinds.map(|message| message["kind"].as_str().unwrap_or_default().to_owned()).collect()
}

fn subjects(mails: &[ReceivedRequest]) -> Vec<String> {
    mails.iter().map(|mail| mail.json()["subject"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn a_new_address_gets_nothing_but_its_token_until_it_is_verified() {
    let shop = Mailed::start().await;
    let user = shop.user(Some("new@mail.example")).await;
    assert_eq!(profile(&user).await["email_verified"], false);
    let token = token(&shop.mails("new@mail.example", 1).await[0]);
    // Neither notices, nor password resets.
    let product = shop.shop.product(json!({})).await;
    let order = user.new_order(&[(product, 1)]).await;
    user.cancel(&order).await.is(200);
    let forgotten = json!({ "username": user.username });
    assert_eq!(shop.shop.post("/api/user/password/forgot").json(forgotten.clone()).await.status, 202);
    eventually("the message is written", Duration::from_secs(40), async || {
        (kinds(&user).await == ["order_cancelled"]).then_some(())
    })
    .await;
    assert_eq!(shop.mails("new@mail.example", 1).await.len(), 1);

    verify(&shop.shop, "another-token").await.problem(401, "invalid_token");
    verify(&shop.shop, &token).await.is(204);
    verify(&shop.shop, &token).await.problem(401, "invalid_token");
    assert_eq!(profile(&user).await["email_verified"], true);
    assert_eq!(shop.shop.post("/api/user/password/forgot").json(forgotten).await.status, 202);
    shop.mails("new@mail.example", 2).await;
}

#[tokio::test]
async fn a_new_address_needs_the_password_and_the_old_one_is_told() {
    let shop = Mailed::start().await;
    let user = shop.verified_user("old@mail.example").await;
    let put = |change: Value| user.put("/api/user/profile").json(change);
    put(json!({ "email": "new@mail.example" })).await.invalid("password");
    let wrong = json!({ "email": "new@mail.example", "password": "not the password" });
    put(wrong).await.problem(401, "invalid_credentials");
    // The same address is no new one.
    assert_eq!(put(json!({ "email": "old@mail.example" })).await.is(200)["email_verified"], true);
    let right = json!({ "email": "new@mail.example", "password": PASSWORD });
    let changed = put(right).await.is(200);
    assert_eq!((&changed["email"], &changed["email_verified"]), (&json!("new@mail.example"), &json!(false)));
    let old = shop.mails("old@mail.example", 2).await;
    assert_eq!(subjects(&old)[1], "The e-mail address of your account was replaced");
    assert!(!text(&old[1]).contains("new@mail.example"), "the old address does not learn the new one");
    let new = shop.mails("new@mail.example", 1).await;
    assert_eq!(subjects(&new), ["Confirm your e-mail address"]);
    assert_eq!(kinds(&user).await, ["email_changed"]);
    assert_eq!(shop.servers.number("SELECT COUNT(*) FROM former_emails").await, 0);

    // A token is for the address that it was mailed to.
    put(json!({ "email": "third@mail.example", "password": PASSWORD })).await.is(200);
    verify(&shop.shop, &token(&new[0])).await.problem(401, "invalid_token");
    // The second address was never verified: it is not told.
    let third = shop.mails("third@mail.example", 1).await;
    assert_eq!(shop.mails("new@mail.example", 1).await.len(), 1);
    verify(&shop.shop, &token(&third[0])).await.is(204);
    // Without an address, nothing is verified; its removal is told, too.
    let removed = put(json!({ "email": null })).await.is(200);
    assert_eq!((&removed["email"], &removed["email_verified"]), (&Value::Null, &json!(false)));
    shop.mails("third@mail.example", 2).await;
}

#[tokio::test]
async fn the_mail_is_sent_again_once_a_minute_and_expires() {
    let shop = Mailed::start().await;
    let user = shop.user(Some("slow@mail.example")).await;
    let first = token(&shop.mails("slow@mail.example", 1).await[0]);
    assert_eq!(user.post("/api/user/email/resend").await.status, 202);
    let second = token(&shop.mails("slow@mail.example", 2).await[1]);
    user.post("/api/user/email/resend").await.problem(429, "rate_limited");
    verify(&shop.shop, &first).await.problem(401, "invalid_token");
    const AGE: &str = "UPDATE email_verifications SET expires_at = expires_at - 86400000";
    shop.servers.mysql().await.query_drop(AGE).await.expect("the token gets older");
    verify(&shop.shop, &second).await.problem(401, "invalid_token");
    assert_eq!(profile(&user).await["email_verified"], false);
}

#[tokio::test]
async fn addresses_from_before_the_rule_count_as_verified() {
    let shop = Mailed::start().await;
    let user = shop.user(None).await;
    // As a function from before the rule writes it.
    const OLD: &str = "INSERT INTO users (username, password_hash, email, created_at)
                       SELECT 'from-before', password_hash, 'before@mail.example', created_at FROM users WHERE id = ?";
    shop.servers.mysql().await.exec_drop(OLD, (user.user_id,)).await.expect("a user");
    let before = shop.shop.sign_in("from-before", PASSWORD).await;
    assert_eq!(profile(&before).await["email_verified"], true);
    before.post("/api/user/email/resend").await.is(202);
    let forgotten = json!({ "username": "from-before" });
    assert_eq!(shop.shop.post("/api/user/password/forgot").json(forgotten).await.status, 202);
    let mails = shop.mails("before@mail.example", 1).await;
    assert_eq!(subjects(&mails), ["Reset your password"]);
}

#[tokio::test]
async fn changes_of_the_password_are_told() {
    let shop = Mailed::start().await;
    let user = shop.verified_user("user@mail.example").await;
    let change = json!({ "old_password": PASSWORD, "new_password": "the next one" });
    user.put("/api/user/password").json(change).await.is(204);
    let mails = shop.mails("user@mail.example", 2).await;
    assert_eq!(subjects(&mails)[1], "Your password was changed");

    const LINK: &str = "INSERT INTO identities (provider, subject, user_id, created_at) VALUES ('home', 'me', ?, 0)";
    shop.servers.mysql().await.exec_drop(LINK, (user.user_id,)).await.expect("an identity");
    let forgotten = json!({ "username": user.username });
    assert_eq!(shop.shop.post("/api/user/password/forgot").json(forgotten).await.status, 202);
    let reset = text(&shop.mails("user@mail.example", 3).await[2]);
    let link = "https://shop.example/reset?token=";
    let token = reset.split(link).nth(1).and_then(|rest| rest.lines().next()).expect("a token");
    assert!(reset.contains("home"), "the linked identity is named: {reset}");
    let form = json!({ "token": token, "new_password": "another one" });
    shop.shop.post("/api/user/password/reset").json(form).await.is(204);
    let mails = shop.mails("user@mail.example", 4).await;
    assert_eq!(subjects(&mails)[3], "Your password was reset");
    assert!(text(&mails[3]).contains("Still linked to your account: home."), "{}", text(&mails[3]));
    user.delete("/api/cart/clear").await.problem(401, "unauthenticated");
    let user = shop.shop.sign_in(&user.username, "another one").await;
    assert_eq!(kinds(&user).await, ["password_changed", "password_reset"]);
}

#[tokio::test]
async fn an_identity_is_listed_and_unlinked_unless_it_is_the_last_way_in() {
    let shop = Mailed::start().await;
    let (user, other) = (shop.verified_user("user@mail.example").await, shop.user(None).await);
    const LINK: &str = "INSERT INTO identities (provider, subject, user_id, created_at) VALUES (?, 'me', ?, 1000)";
    let mut mysql = shop.servers.mysql().await;
    for provider in ["home", "work"] {
        mysql.exec_drop(LINK, (provider, user.user_id)).await.expect("an identity");
    }
    let list = user.get("/api/user/identity").await.is(200);
    let ids: Vec<i64> = list["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|one| one["identity_id"].as_i64().expect("an id"))
        .collect();
    let expected = |index: usize, provider: &str| json!({ "identity_id": ids[index], "provider": provider, "linked_at": "1970-01-01T00:00:01.000Z" });
    assert_eq!(list, json!({ "items": [expected(0, "home"), expected(1, "work")] }));
    assert_eq!(other.get("/api/user/identity").await.is(200), json!({ "items": [] }));
    let unlink = |user: &User, id: i64| user.delete(&format!("/api/user/identity/{id}"));
    unlink(&other, ids[0]).await.problem(404, "not_found");
    unlink(&user, ids[0]).await.is(204);
    unlink(&user, ids[0]).await.problem(404, "not_found");
    let mails = shop.mails("user@mail.example", 2).await;
    assert_eq!(subjects(&mails)[1], "home was unlinked from your account");
    assert_eq!(kinds(&user).await, ["identity_unlinked"]);
    // Without a password it is the only way in.
    let no_password = "UPDATE users SET password_hash = '' WHERE id = ?";
    mysql.exec_drop(no_password, (user.user_id,)).await.expect("no password");
    unlink(&user, ids[1]).await.problem(409, "identity_needed");
    assert_eq!(user.get("/api/user/identity").await.is(200)["items"], json!([expected(1, "work")]));
}
