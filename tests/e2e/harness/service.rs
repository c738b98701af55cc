use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What somebody asked of a [`Service`].
#[derive(Clone, Debug)]
pub struct Asked {
    /// Method and path.
    pub line: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// A small HTTP service of somebody else, which the shop calls.
pub struct Service {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

type Answer = dyn Fn(&Asked, usize) -> (u16, Value) + Send + Sync;

impl Service {
    /// Answers what `answer` says of a request and of how many there have been, this one included.
    pub async fn answering(answer: impl Fn(&Asked, usize) -> (u16, Value) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (asked, answer): (Arc<Mutex<Vec<Asked>>>, Arc<Answer>) = (Arc::default(), Arc::new(answer));
        let seen = asked.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (seen, answer) = (seen.clone(), answer.clone());
                tokio::spawn(async move { serve(connection, &seen, &*answer).await });
            }
        });
        Self { url, asked }
    }

    /// An e-mail service that refuses the first attempts.
    pub async fn mail(refused: usize) -> Self {
        Self::answering(move |asked, count| match asked.line == "POST /emails" && count > refused {
            true => (200, json!({})),
            false => (500, json!({})),
        })
        .await
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("a lock").clone()
    }
}

async fn serve(connection: TcpStream, seen: &Mutex<Vec<Asked>>, answer: &Answer) -> Option<()> {
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
    let mut body = vec![0; headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or_default()];
    connection.read_exact(&mut body).await.ok()?;
    let line = line.rsplit_once(' ')?.0.to_owned();
    let asked = Asked { line, headers, body: String::from_utf8_lossy(&body).into_owned() };
    let count = {
        let mut seen = seen.lock().ok()?;
        seen.push(asked.clone());
        seen.len()
    };
    let (status, body) = answer(&asked, count);
    let body = body.to_string();
    let length = body.len();
    let reply = format!("HTTP/1.1 {status} So\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    connection.write_all(reply.as_bytes()).await.ok()
}
