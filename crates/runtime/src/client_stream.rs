//! A client's connection: which protocol it speaks, and whether it takes what is sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// What an HTTP/2 connection begins with. It can't be the beginning of an HTTP/1 request.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// A connection on which a write fails if the client takes nothing for too long.
pub struct ClientStream {
    stream: TcpStream,
    /// What was read to find out the protocol, and how much of it was passed on.
    start: [u8; PREFACE.len()],
    read: usize,
    passed_on: usize,
    write_timeout: Duration,
    /// Set while a write waits for the client.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl ClientStream {
    pub fn new(stream: TcpStream, write_timeout: Duration) -> Self {
        Self { stream, start: [0; PREFACE.len()], read: 0, passed_on: 0, write_timeout, stalled: None }
    }

    /// Reads until it is clear which protocol the client speaks.
    pub async fn protocol(&mut self) -> io::Result<Protocol> {
        loop {
            let read = self.stream.read(&mut self.start[self.read..]).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.read += read;
            if self.start[..self.read] != PREFACE[..self.read] {
                return Ok(Protocol::Http1);
            }
            if self.read == PREFACE.len() {
                return Ok(Protocol::Http2);
            }
        }
    }

    /// The outcome of a write; an error if it has waited for too long. There is no timer while writes succeed.
    fn unless_stalled<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let timeout = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if stalled.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        // The kernel would keep what it has not sent for minutes after the connection was closed.
        let _ = self.stream.set_zero_linger();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let start = &self.start[self.passed_on..self.read];
        if start.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let length = start.len().min(buf.remaining());
        buf.put_slice(&start[..length]);
        self.passed_on += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.unless_stalled(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.unless_stalled(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// A client and the server's side of its connection.
    async fn connection(write_timeout: Duration) -> (TcpStream, ClientStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        (client, ClientStream::new(stream, write_timeout))
    }

    #[tokio::test]
    async fn the_protocol_is_known_as_soon_as_the_bytes_tell() {
        for (parts, protocol) in [
            (&["G"][..], Protocol::Http1),
            (&["P", "RI * HTTP/2.0\r\n\r\nSM\r\n\r", "\n"], Protocol::Http2),
            (&["P", "O"], Protocol::Http1),
            (&["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore"], Protocol::Http2),
            (&["PRI * HTTP/2.0\r\n\r\nSN"], Protocol::Http1),
        ] {
            let (mut client, mut stream) = connection(Duration::from_secs(30)).await;
            let (last, before) = parts.split_last().unwrap();
            for part in before {
                client.write_all(part.as_bytes()).await.unwrap();
                let undecided = tokio::time::timeout(Duration::from_millis(20), stream.protocol()).await;
                assert!(undecided.is_err(), "{parts:?}: {undecided:?}");
            }
            client.write_all(last.as_bytes()).await.unwrap();
            assert_eq!(stream.protocol().await.unwrap(), protocol, "{parts:?}");
            drop(client);
            let mut all = String::new();
            stream.read_to_string(&mut all).await.unwrap();
            assert_eq!(all, parts.concat());
        }
    }

    #[tokio::test]
    async fn a_connection_that_ends_has_no_protocol() {
        let (client, mut stream) = connection(Duration::from_secs(30)).await;
        drop(client);
        assert_eq!(stream.protocol().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_write_fails_if_the_client_takes_nothing() {
        let (mut client, mut stream) = connection(Duration::from_millis(300)).await;
        let block = vec![0; 1 << 20];
        let taken = async {
            let mut buffer = vec![0; 1 << 20];
            // Slowly, but for longer than the timeout.
            for _ in 0..8 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                assert!(client.read(&mut buffer).await.unwrap() > 0);
            }
            std::time::Instant::now()
        };
        let written = async {
            loop {
                if let Err(error) = stream.write_all(&block).await {
                    return (error.kind(), std::time::Instant::now());
                }
            }
        };
        let (last_taken, (kind, failed)) = tokio::join!(taken, written);
        assert_eq!(kind, io::ErrorKind::TimedOut);
        assert!(failed > last_taken, "the client was still reading");
    }
}
