use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A request that a [`FakeService`] received.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    /// Method and path.
    pub line: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl ReceivedRequest {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// A fake of an HTTP service that the shop calls.
pub struct FakeService {
    pub url: String,
    requests: Arc<Mutex<Vec<ReceivedRequest>>>,
}

type Answer = dyn Fn(&ReceivedRequest, usize) -> (u16, Value) + Send + Sync;

impl FakeService {
    /// Responds with the status and JSON that `answer` gives for a request and the number of requests so far, this one
    /// included.
    pub async fn responding(answer: impl Fn(&ReceivedRequest, usize) -> (u16, Value) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (requests, answer): (Arc<Mutex<Vec<ReceivedRequest>>>, Arc<Answer>) = (Arc::default(), Arc::new(answer));
        let received = requests.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (received, answer) = (received.clone(), answer.clone());
                tokio::spawn(async move { serve(connection, &received, &*answer).await });
            }
        });
        Self { url, requests }
    }

    /// An e-mail service that refuses the first `refused` requests.
    pub async fn mail(refused: usize) -> Self {
        Self::responding(move |request, count| match request.line == "POST /emails" && count > refused {
            true => (200, json!({})),
            false => (500, json!({})),
        })
        .await
    }

    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.requests.lock().expect("a lock").clone()
    }
}

async fn serve(connection: TcpStream, received: &Mutex<Vec<ReceivedRequest>>, answer: &Answer) -> Option<()> {
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
    let request = ReceivedRequest { line, headers, body: String::from_utf8_lossy(&body).into_owned() };
    let count = {
        let mut received = received.lock().ok()?;
        received.push(request.clone());
        received.len()
    };
    let (status, body) = answer(&request, count);
    let body = body.to_string();
    let length = body.len();
    let reply = format!("HTTP/1.1 {status} Status\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    connection.write_all(reply.as_bytes()).await.ok()
}
