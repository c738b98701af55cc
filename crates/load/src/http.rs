//! A small HTTP/1.1 client: one kept-alive connection.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};

pub type Body = Full<Bytes>;

pub struct Client {
    address: SocketAddr,
    from: Option<IpAddr>,
    sender: http1::SendRequest<Body>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { address, from: None, sender: open(address, None).await? })
    }

    /// Connects from another address of this machine.
    pub async fn connect_from(address: SocketAddr, from: IpAddr) -> anyhow::Result<Self> {
        Ok(Self { address, from: Some(from), sender: open(address, Some(from)).await? })
    }

    /// Sends a request and reads the whole reply; reconnects if the server has closed the connection.
    pub async fn send(&mut self, request: Request<Body>) -> anyhow::Result<(StatusCode, Bytes)> {
        if self.sender.ready().await.is_err() {
            self.sender = open(self.address, self.from).await?;
        }
        let reply = self.sender.send_request(request).await?;
        let status = reply.status();
        Ok((status, reply.into_body().collect().await?.to_bytes()))
    }

    pub async fn json(&mut self, request: Request<Body>) -> anyhow::Result<serde_json::Value> {
        let what = format!("{} {}", request.method(), request.uri());
        let (status, body) = self.send(request).await.with_context(|| what.clone())?;
        if !status.is_success() {
            return Err(anyhow!("{what}: {status} {}", String::from_utf8_lossy(&body)));
        }
        match body.is_empty() {
            true => Ok(serde_json::Value::Null),
            false => serde_json::from_slice(&body).with_context(|| format!("{what}: not JSON")),
        }
    }
}

async fn open(address: SocketAddr, from: Option<IpAddr>) -> anyhow::Result<http1::SendRequest<Body>> {
    let stream = connect(address, from, None).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Opens a connection, with a receive buffer of that size if one is given.
pub async fn connect(address: SocketAddr, from: Option<IpAddr>, buffer: Option<u32>) -> std::io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    if let Some(size) = buffer {
        socket.set_recv_buffer_size(size)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub fn request(method: Method, path: &str, token: Option<&str>, body: Option<&serde_json::Value>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let body = match body {
        Some(value) => {
            request = request.header(header::CONTENT_TYPE, "application/json");
            Full::new(Bytes::from(value.to_string()))
        }
        None => Full::default(),
    };
    // The callers' paths and tokens are valid in a URI and a header.
    request.body(body).unwrap_or_default()
}

/// Whether `GET path` answers 200 within a second.
pub async fn answers(address: SocketAddr, path: &str) -> bool {
    let asked = async {
        let mut client = Client::connect(address).await.ok()?;
        let (status, _) = client.send(request(Method::GET, path, None, None)).await.ok()?;
        Some(status == StatusCode::OK)
    };
    tokio::time::timeout(Duration::from_secs(1), asked).await.ok().flatten().unwrap_or(false)
}
