//! Messages to customers, in the shop and by mail.

use std::time::Duration;

use mysql_async::{Transaction, TxOpts, prelude::Queryable};
use serde_json::{Value, json};

use crate::harness::{DedicatedShop, FakeService, ReceivedRequest, Servers, Shop, User, eventually, unique};

async fn messages(user: &User) -> Vec<Value> {
    let list = user.get("/api/user/message").await.is(200);
    list["items"].as_array().expect("items").clone()
}

/// Waits for this many messages, and returns their kinds, the oldest first.
async fn kinds(user: &User, count: usize) -> Vec<String> {
    let messages = eventually("the messages are there", Duration::from_secs(40), async || {
        let messages = messages(user).await;
        (messages.len() >= count).then_some(messages)
    })
    .await;
    messages.iter().rev().map(|message| message["kind"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn users_get_a_message_for_each_change_of_an_order() {
    let shop = Shop::running();
    let (user, other, admin) = (shop.user().await, shop.user().await, shop.admin().await);
    let product = shop.product(json!({})).await;
    let order = user.new_order(&[(product, 1)]).await;
    user.pay(&order).await.is(200);
    kinds(&user, 1).await;
    let shipment = json!({ "carrier": "SF", "tracking_no": "1" });
    admin.post(&format!("/api/order/{order}/ship")).json(shipment).await.is(200);
    kinds(&user, 2).await;
    user.post(&format!("/api/order/{order}/refund")).json(json!({ "reason": "late" })).await.is(202);
    admin.post(&format!("/api/order/{order}/refund/approve")).await.is(200);
    assert_eq!(kinds(&user, 3).await, ["order_paid", "order_shipped", "order_refunded"]);
    for message in messages(&user).await {
        assert_eq!(message["order_no"], order);
        assert!(message["subject"].as_str().is_some_and(|text| text.contains(&order)), "{message}");
        assert!(message["message_id"].is_i64() && message["body"].is_string(), "{message}");
    }
    assert_eq!(messages(&other).await, Vec::<Value>::new());
    shop.get("/api/user/message").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn messages_are_in_the_language_of_the_user() {
    let shop = Shop::running();
    let user = shop.user().await;
    user.put("/api/user/profile").json(json!({ "locale": "zh-CN" })).await.is(200);
    let product = shop.product(json!({})).await;
    let order = user.new_order(&[(product, 1)]).await;
    user.cancel(&order).await.is(200);
    kinds(&user, 1).await;
    assert_eq!(messages(&user).await[0]["subject"], format!("订单 {order} 已取消"));
}

#[tokio::test]
async fn messages_are_paginated() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    for _ in 0..3 {
        let order = user.new_order(&[(product, 1)]).await;
        user.cancel(&order).await.is(200);
    }
    assert_eq!(kinds(&user, 3).await, ["order_cancelled"; 3]);
    let first = user.get("/api/user/message?limit=2").await.is(200);
    let cursor = first["next_cursor"].as_str().expect("a cursor");
    let second = user.get(&format!("/api/user/message?limit=2&cursor={cursor}")).await.is(200);
    let mut all = first["items"].as_array().expect("items").clone();
    all.extend(second["items"].as_array().expect("items").clone());
    assert_eq!(all, messages(&user).await);
    assert_eq!(second["next_cursor"], Value::Null);
    user.get("/api/user/message?cursor=nonsense").await.invalid("cursor");
}

/// Also tests a job that fails three times and then succeeds.
#[tokio::test]
async fn a_message_is_mailed_as_soon_as_the_service_accepts_it() {
    let (servers, mail) = (Servers::start().await, FakeService::mail(3).await);
    let shop = DedicatedShop::on(&servers).with_mail(&mail).start().await;
    let name = format!("u-{}", unique());
    let form = json!({ "username": name, "password": "long enough" });
    shop.post("/api/user/register").json(form).await.is(201);
    servers.set_email(&name, "buyer@mail.example").await;
    let user = shop.sign_in(&name, "long enough").await;
    let product = shop.product(json!({})).await;
    let order = user.new_order(&[(product, 1)]).await;
    user.cancel(&order).await.is(200);
    // The message is there before it is mailed.
    assert_eq!(kinds(&user, 1).await, ["order_cancelled"]);
    eventually("the mail is accepted", Duration::from_secs(40), async || {
        let sent = servers.number("SELECT COUNT(*) FROM messages WHERE sent_at IS NOT NULL").await;
        (sent == 1).then_some(())
    })
    .await;
    let requests = mail.requests();
    assert_eq!(requests.len(), 4, "{requests:?}");
    for attempt in &requests {
        let (key, email) = (attempt.header("idempotency-key"), attempt.json());
        assert_eq!(attempt.header("authorization"), "Bearer key-of-the-shop");
        assert_eq!(attempt.header("user-agent"), concat!("wasmall/", env!("CARGO_PKG_VERSION")));
        assert!(!key.is_empty() && key == requests[0].header("idempotency-key"), "{requests:?}");
        assert_eq!(email["from"], "shop@shop.example");
        assert_eq!(email["to"], json!(["buyer@mail.example"]));
        assert!(email["subject"].as_str().is_some_and(|text| text.contains(&order)), "{attempt:?}");
        assert!(email["text"].is_string(), "{attempt:?}");
    }
    assert_eq!(kinds(&user, 1).await.len(), 1, "there is one message");
    assert_eq!(servers.number("SELECT COUNT(*) FROM jobs WHERE queue = 'notify'").await, 0);
}

/// The service says of one address that it will never accept it.
#[tokio::test]
async fn a_mail_that_the_service_refuses_for_good_is_not_sent_again() {
    let servers = Servers::start().await;
    let refuses = |request: &ReceivedRequest, _| match request.json()["to"] == json!(["nobody@mail.example"]) {
        true => (422, json!({})),
        false => (200, json!({})),
    };
    let mail = FakeService::responding(refuses).await;
    let shop = DedicatedShop::on(&servers).with_mail(&mail).start().await;
    let product = shop.product(json!({})).await;
    for address in ["nobody@mail.example", "buyer@mail.example"] {
        let name = unique();
        let form = json!({ "username": name, "password": "long enough" });
        shop.post("/api/user/register").json(form).await.is(201);
        servers.set_email(&name, address).await;
        let user = shop.sign_in(&name, "long enough").await;
        let order = user.new_order(&[(product, 1)]).await;
        user.pay(&order).await.is(200);
    }
    eventually("one mail is sent, the other one is given up", Duration::from_secs(20), async || {
        let dead = servers.number("SELECT COUNT(*) FROM jobs WHERE state = 'dead'").await;
        let sent = servers.number("SELECT COUNT(*) FROM messages WHERE sent_at IS NOT NULL").await;
        ((dead, sent) == (1, 1)).then_some(())
    })
    .await;
    assert_eq!(mail.requests().len(), 2, "{:?}", mail.requests());
}

/// Adds a notification job, for an order that need not exist.
async fn add_job(tx: &mut Transaction<'_>, due_at: i64, user_id: i64) -> i64 {
    let notice = json!({ "user_id": user_id, "order_no": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "kind": "paid" });
    let job = "INSERT INTO jobs (queue, state, due_at, payload, created_at) VALUES ('notify', 'queued', ?, ?, 0)";
    tx.exec_drop(job, (due_at, notice.to_string())).await.expect("a job");
    i64::try_from(tx.last_insert_id().expect("an id")).expect("a number")
}

#[tokio::test]
async fn messages_are_written_in_batches_and_each_once() {
    const JOBS: &str = "SELECT COUNT(*) FROM jobs WHERE queue = 'notify'";
    const MESSAGES: &str = "SELECT COUNT(*) FROM messages";
    const UNEVEN: &str = "
        SELECT COUNT(*) FROM (SELECT user_id FROM messages GROUP BY user_id HAVING COUNT(*) % 30 <> 0) AS uneven";
    const OUT_OF_ORDER: &str = "SELECT COUNT(*) FROM messages a JOIN messages b ON a.id < b.id AND a.job_id > b.job_id";
    let servers = Servers::start().await;
    let shop = DedicatedShop::on(&servers).start().await;
    let users = [shop.user().await, shop.user().await];
    let mut mysql = servers.mysql().await;
    let ids = "SELECT id FROM users WHERE username IN (?, ?)";
    let ids: Vec<i64> = mysql.exec(ids, (&users[0].username, &users[1].username)).await.expect("users");
    let all_done = async || {
        eventually("all jobs are done", Duration::from_secs(30), async || {
            (servers.number(JOBS).await == 0).then_some(())
        })
        .await
    };

    // One is for an unknown user. A batch writes its messages in order. Jobs that are done one by one are done six at a
    // time, and their order is lost.
    let mut tries = 0;
    loop {
        let before = servers.number(OUT_OF_ORDER).await;
        let mut tx = mysql.start_transaction(TxOpts::default()).await.expect("a transaction");
        for count in 0..60 {
            add_job(&mut tx, count, ids[usize::from(count % 2 == 1)]).await;
        }
        add_job(&mut tx, 10, 987_654_321).await;
        tx.commit().await.expect("committed");
        all_done().await;
        tries += 1;
        assert_eq!(servers.number(UNEVEN).await, 0);
        assert_eq!(servers.number(MESSAGES).await, tries * 60);
        if servers.number(OUT_OF_ORDER).await == before {
            break;
        }
        assert!(tries < 3, "the messages are not written in batches");
    }

    // A job whose worker died after it had written the message writes no second one, and does not hold up others.
    let mut tx = mysql.start_transaction(TxOpts::default()).await.expect("a transaction");
    for count in 0..9 {
        let job = add_job(&mut tx, count, ids[0]).await;
        if count == 4 {
            let message = "INSERT INTO messages (user_id, job_id, kind, order_no, subject, body, created_at)
                           VALUES (?, ?, 'order_paid', '01ARZ3NDEKTSV4RRFFQ69G5FAV', '', '', 0)";
            tx.exec_drop(message, (ids[0], job)).await.expect("a message");
        }
    }
    tx.commit().await.expect("committed");
    all_done().await;
    assert_eq!(servers.number(MESSAGES).await, tries * 60 + 9);
}
