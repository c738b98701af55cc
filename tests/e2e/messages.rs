//! What users are told, and by which way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{OwnShop, Servers, Shop, User, eventually, unique};

async fn messages(user: &User) -> Vec<Value> {
    let list = user.get("/api/user/message").await.is(200);
    list["items"].as_array().expect("items").clone()
}

/// Waits for so many messages; their kinds, the oldest first.
async fn kinds(user: &User, count: usize) -> Vec<String> {
    let messages = eventually("the messages come", Duration::from_secs(40), async || {
        let messages = messages(user).await;
        (messages.len() >= count).then_some(messages)
    })
    .await;
    messages.iter().rev().map(|message| message["kind"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn a_user_is_told_what_became_of_an_order() {
    let shop = Shop::running();
    let (user, other, admin) = (shop.user().await, shop.user().await, shop.admin().await);
    let product = shop.product(json!({})).await;
    let order = user.order(&[(product, 1)]).await;
    user.paying(&order).await.is(200);
    kinds(&user, 1).await;
    let parcel = json!({ "carrier": "SF", "tracking_no": "1" });
    admin.post(&format!("/api/order/{order}/ship")).json(parcel).await.is(200);
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
async fn messages_come_in_pages() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({})).await;
    for _ in 0..3 {
        let order = user.order(&[(product, 1)]).await;
        user.cancelling(&order).await.is(200);
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

/// An e-mail in the API's format, with the key it came under.
#[derive(Clone, Debug)]
struct Received {
    authorization: String,
    key: String,
    email: Value,
}

/// An e-mail service that refuses the first attempts.
struct MailService {
    url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl MailService {
    async fn refusing(first: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let received = Arc::new(Mutex::new(Vec::new()));
        let seen = received.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let seen = seen.clone();
                tokio::spawn(async move { read(connection, first, &seen).await });
            }
        });
        Self { url, received }
    }

    fn received(&self) -> Vec<Received> {
        self.received.lock().expect("a lock").clone()
    }
}

async fn read(connection: TcpStream, refused: usize, seen: &Mutex<Vec<Received>>) -> Option<()> {
    let mut connection = BufReader::new(connection);
    let mut line = String::new();
    connection.read_line(&mut line).await.ok()?;
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    connection.read_exact(&mut body).await.ok()?;
    let count = {
        let mut seen = seen.lock().ok()?;
        seen.push(Received {
            authorization: headers.remove("authorization").unwrap_or_default(),
            key: headers.remove("idempotency-key").unwrap_or_default(),
            email: serde_json::from_slice(&body).unwrap_or_default(),
        });
        seen.len()
    };
    let status = if line.starts_with("POST /emails ") && count > refused { "200 OK" } else { "500 Oh" };
    let reply = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
    connection.write_all(reply.as_bytes()).await.ok()
}

/// Also the test of a job that fails three times and then works.
#[tokio::test]
async fn a_message_goes_out_by_mail_once_the_service_takes_it() {
    let (servers, mail) = (Servers::start().await, MailService::refusing(3).await);
    let shop = OwnShop::on(&servers)
        .variable("mail_url", &mail.url)
        .variable("mail_key", "key-of-the-shop")
        .variable("mail_from", "shop@shop.example")
        .start()
        .await;
    let name = format!("u-{}", unique());
    let form = json!({ "username": name, "password": "long enough", "email": "buyer@mail.example" });
    shop.post("/api/user/register").json(form).await.is(201);
    let user = shop.sign_in(&name, "long enough").await;
    let product = shop.product(json!({})).await;
    let order = user.order(&[(product, 1)]).await;
    user.cancelling(&order).await.is(200);
    // It is there before it is sent.
    assert_eq!(kinds(&user, 1).await, ["order_cancelled"]);
    eventually("the service takes it", Duration::from_secs(40), async || {
        let sent = servers.number("SELECT COUNT(*) FROM messages WHERE sent_at IS NOT NULL").await;
        (sent == 1).then_some(())
    })
    .await;
    let received = mail.received();
    assert_eq!(received.len(), 4, "{received:?}");
    for attempt in &received {
        assert_eq!(attempt.authorization, "Bearer key-of-the-shop");
        assert!(!attempt.key.is_empty() && attempt.key == received[0].key, "{received:?}");
        assert_eq!(attempt.email["from"], "shop@shop.example");
        assert_eq!(attempt.email["to"], json!(["buyer@mail.example"]));
        assert!(attempt.email["subject"].as_str().is_some_and(|text| text.contains(&order)), "{attempt:?}");
        assert!(attempt.email["text"].is_string(), "{attempt:?}");
    }
    assert_eq!(kinds(&user, 1).await.len(), 1, "told once");
    assert_eq!(servers.number("SELECT COUNT(*) FROM jobs WHERE queue = 'notify'").await, 0);
}
