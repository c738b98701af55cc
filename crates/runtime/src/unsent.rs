//! What an HTTP/2 connection's client has not taken of its replies. Such a client is not noticed by writes to the
//! connection that wait: it may take nothing of one reply by giving it no window, and answer everything else.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};

/// When something was last taken of each part of a reply that has not been sent.
#[derive(Default)]
pub struct Unsent(Mutex<Parts>);

#[derive(Default)]
struct Parts {
    last_taken: HashMap<u64, Instant>,
    next_id: u64,
}

impl Unsent {
    /// Whether nothing was taken of some reply for as long as `timeout`.
    pub fn has_stalled(&self, timeout: Duration) -> bool {
        self.parts().last_taken.values().any(|taken| taken.elapsed() >= timeout)
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of a reply. It is dropped once it has been sent.
pub struct Part {
    bytes: Bytes,
    unsent: Arc<Unsent>,
    id: u64,
}

impl Part {
    fn new(bytes: Bytes, unsent: &Arc<Unsent>) -> Self {
        let mut parts = unsent.parts();
        let id = parts.next_id;
        parts.next_id += 1;
        parts.last_taken.insert(id, Instant::now());
        drop(parts);
        Self { bytes, unsent: unsent.clone(), id }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.unsent.parts().last_taken.remove(&self.id);
    }
}

impl Buf for Part {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.unsent.parts().last_taken.insert(self.id, Instant::now());
    }
}

/// A reply's body, whose parts are tracked from when they are handed over until they have been sent.
pub struct TrackedBody<B> {
    body: B,
    unsent: Arc<Unsent>,
}

impl<B> TrackedBody<B> {
    pub fn new(body: B, unsent: Arc<Unsent>) -> Self {
        Self { body, unsent }
    }
}

impl<B: http_body::Body<Data = Bytes> + Unpin> http_body::Body for TrackedBody<B> {
    type Data = Part;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Part>, B::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(|bytes| Part::new(bytes, &self.unsent)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    #[tokio::test]
    async fn a_reply_has_stalled_when_nothing_is_taken_of_it() {
        const TIMEOUT: Duration = Duration::from_millis(50);
        let unsent = Arc::new(Unsent::default());
        let mut body = TrackedBody::new(Full::new(Bytes::from_static(b"reply")), unsent.clone());
        tokio::time::sleep(TIMEOUT).await;
        assert!(!unsent.has_stalled(TIMEOUT), "nothing was handed over");
        let mut part = body.frame().await.unwrap().unwrap().into_data().ok().unwrap();
        assert!(!unsent.has_stalled(TIMEOUT));
        tokio::time::sleep(TIMEOUT).await;
        assert!(unsent.has_stalled(TIMEOUT));
        part.advance(1);
        assert!(!unsent.has_stalled(TIMEOUT), "something was taken");
        tokio::time::sleep(TIMEOUT).await;
        assert!(unsent.has_stalled(TIMEOUT));
        drop(part);
        assert!(!unsent.has_stalled(TIMEOUT), "it was sent");
        assert!(unsent.parts().last_taken.is_empty());
    }
}
