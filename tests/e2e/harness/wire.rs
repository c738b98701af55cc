//! Raw HTTP/1.1, for requests that a client library would not send.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub struct Raw {
    pub status: u16,
    /// Status line and headers, lower-cased.
    pub head: String,
    /// Everything after the headers until the connection closes.
    pub body: Vec<u8>,
}

/// Sends these bytes, which must include `connection: close`, and reads until the end.
pub async fn exchange(authority: &str, request: &[u8]) -> Raw {
    let mut stream = TcpStream::connect(authority).await.expect("the shop listens");
    // The shop may answer and close before it has read everything.
    let _ = stream.write_all(request).await;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read) = stream.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
    let text = String::from_utf8_lossy(&bytes);
    let end =
        bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or_else(|| panic!("no HTTP reply: {text}"));
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Raw { status: status.unwrap_or_else(|| panic!("no status: {head}")), body: bytes[end + 4..].to_vec(), head }
}

impl Raw {
    pub fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line.starts_with(&format!("{header}:")))
    }
}
