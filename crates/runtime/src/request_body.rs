//! The bodies of requests. A function gets a request when its body is there, or as much of it as is kept: clients that
//! send slowly hold no instance.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;
use wasmtime_wasi_http::handler::ErrorCode;
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode as Code;

/// How much of a body is received before its function runs. More is passed on as it comes, if the function reads it.
const RECEIVED_FIRST: usize = 64 << 10;
/// What a frame takes besides its bytes. There may be a frame for each byte.
const PER_FRAME: usize = size_of::<Result<Frame<Bytes>, ErrorCode>>();
/// How much is kept of the bodies of all clients while their rest is awaited.
const MAX_KEPT: usize = 128 << 20;

/// What is kept of bodies whose rest is awaited, in bytes.
pub type Kept = Arc<AtomicUsize>;

/// Why a request is refused before a function gets it.
#[derive(Debug, PartialEq)]
pub enum Refused {
    /// The body did not come in time.
    Late,
    /// Too much is kept already.
    TooMuchKept,
}

/// A body: what was received of it, and the rest.
pub struct RequestBody {
    received: VecDeque<Result<Frame<Bytes>, ErrorCode>>,
    rest: Incoming,
    deadline: Deadline,
}

/// How long the body may take. There is no timer unless it is awaited.
struct Deadline {
    timeout: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// Set when it has passed.
    passed: Option<Arc<AtomicBool>>,
}

impl RequestBody {
    /// Waits for the whole body, or for the first part of a long one.
    pub async fn receive(rest: Incoming, timeout: Duration, kept: &Kept) -> Result<Self, Refused> {
        let deadline = Deadline { timeout, timer: None, passed: None };
        let mut body = Self { received: VecDeque::new(), rest, deadline };
        let mut share = Share { kept, bytes: 0 };
        while share.bytes < RECEIVED_FIRST && !body.rest.is_end_stream() {
            let Some(frame) = poll_fn(|cx| body.poll_rest(cx)).await else { break };
            if let Err(ErrorCode::P3(Code::ConnectionReadTimeout)) = frame {
                return Err(Refused::Late);
            }
            let length = frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len) + PER_FRAME;
            let is_broken = frame.is_err();
            body.received.push_back(frame);
            if is_broken {
                break;
            }
            // Only what waits is counted.
            if !body.rest.is_end_stream() && !share.add(length) {
                return Err(Refused::TooMuchKept);
            }
        }
        Ok(body)
    }

    /// Becomes true when the function is given an error instead of the rest, because that did not come in time; none if
    /// all was received.
    pub fn is_late(&mut self) -> Option<Arc<AtomicBool>> {
        (!self.rest.is_end_stream()).then(|| self.deadline.passed.get_or_insert_default().clone())
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ErrorCode>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.rest).poll_frame(cx) {
            // The client disconnected or sent a malformed body.
            return Poll::Ready(frame.map(|frame| frame.map_err(|_| ErrorCode::P3(Code::ConnectionTerminated))));
        }
        let Deadline { timeout, timer, passed } = &mut self.deadline;
        ready!(timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(*timeout))).as_mut().poll(cx));
        if let Some(passed) = passed {
            passed.store(true, Relaxed);
        }
        Poll::Ready(Some(Err(ErrorCode::P3(Code::ConnectionReadTimeout))))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = ErrorCode;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ErrorCode>>> {
        match self.received.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None if self.rest.is_end_stream() => Poll::Ready(None),
            None => self.poll_rest(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.received.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let received: usize = self.received.iter().flatten().filter_map(Frame::data_ref).map(Bytes::len).sum();
        let (received, rest) = (received as u64, self.rest.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(received.saturating_add(rest.lower()));
        if let Some(upper) = rest.upper() {
            hint.set_upper(received.saturating_add(upper));
        }
        hint
    }
}

/// One body's share of what is kept.
struct Share<'a> {
    kept: &'a AtomicUsize,
    bytes: usize,
}

impl Share<'_> {
    fn add(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        self.kept.fetch_add(bytes, Relaxed) + bytes <= MAX_KEPT
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.kept.fetch_sub(self.bytes, Relaxed);
    }
}
