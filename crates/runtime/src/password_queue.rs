//! Limits how many requests hash passwords at once. Each takes 19 MiB and tens of milliseconds of a core, and the memory
//! stays with the instance: without a limit, a burst of sign-ups would fill the memory of the machine.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::Method;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use wasmtime_wasi_http::handler::Request;

/// How many requests may hash at once.
const AT_ONCE: usize = 2;
/// A request that waits longer is refused.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// A body must arrive within this time.
const BODY_TIMEOUT: Duration = Duration::from_millis(4500);
/// Functions refuse a larger body, without hashing anything.
const MAX_BODY: usize = 64 * 1024;

/// An endpoint that hashes passwords, as `spin.toml` names it: `POST /api/user/login`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    method: Method,
    path: String,
}

impl Endpoint {
    pub fn parse(text: &str) -> Result<Self, String> {
        let invalid = || format!("{text:?} is not a method and a path");
        let (method, path) = text.split_once(' ').ok_or_else(invalid)?;
        let method = method.parse().map_err(|_| invalid())?;
        if path.starts_with('/') { Ok(Self { method, path: path.into() }) } else { Err(invalid()) }
    }

    pub fn matches(&self, method: &Method, path: &str) -> bool {
        self.method == *method && self.path == path
    }
}

/// Why a request does not get its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its body did not arrive in time.
    SlowBody,
    TooManyWaiting,
}

/// The requests that wait for their turn.
pub struct PasswordQueue(Arc<Semaphore>);

impl Default for PasswordQueue {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl PasswordQueue {
    /// Reads the request's body, so that a slow client holds up nobody, and waits for the request's turn, which lasts until
    /// the permit is dropped. A request that needs no turn gets none.
    pub async fn wait(&self, request: Request) -> Result<(Request, Option<OwnedSemaphorePermit>), Refusal> {
        let (parts, body) = request.into_parts();
        let read = timeout(BODY_TIMEOUT, read(body)).await.map_err(|_| Refusal::SlowBody)?;
        let request = Request::from_parts(parts, read.body);
        if !read.is_complete {
            return Ok((request, None));
        }
        match timeout(LONGEST_WAIT, self.0.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok((request, Some(permit))),
            _ => Err(Refusal::TooManyWaiting),
        }
    }
}

struct ReadBody<E> {
    body: UnsyncBoxBody<Bytes, E>,
    /// False if it is too large, or broken.
    is_complete: bool,
}

async fn read<E: Send + 'static>(mut body: UnsyncBoxBody<Bytes, E>) -> ReadBody<E> {
    let (mut frames, mut length, mut is_complete) = (Vec::new(), 0, true);
    while let Some(frame) = body.frame().await {
        length += frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len);
        is_complete = frame.is_ok() && length <= MAX_BODY;
        frames.push(frame);
        if !is_complete {
            break;
        }
    }
    let body = StreamBody::new(stream::iter(frames).chain(BodyStream::new(body)));
    ReadBody { body: body.boxed_unsync(), is_complete }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    fn request(length: usize) -> Request {
        let body = Full::new(Bytes::from(vec![b' '; length])).map_err(|never| match never {});
        Request::new(body.boxed_unsync())
    }

    #[test]
    fn an_endpoint_is_a_method_and_a_path() {
        let login = Endpoint::parse("POST /api/user/login").unwrap();
        assert!(login.matches(&Method::POST, "/api/user/login"));
        assert!(!login.matches(&Method::GET, "/api/user/login") && !login.matches(&Method::POST, "/api/user"));
        assert!(Endpoint::parse("/api/user/login").is_err() && Endpoint::parse("POST login").is_err());
    }

    #[tokio::test]
    async fn the_body_is_passed_on_whole() {
        for length in [0, 1000, MAX_BODY, MAX_BODY + 1, 10 * MAX_BODY] {
            let (request, permit) = PasswordQueue::default().wait(request(length)).await.unwrap();
            let passed_on = request.into_body().collect().await.ok().map(|body| body.to_bytes().len());
            assert_eq!(passed_on, Some(length));
            assert_eq!(permit.is_some(), length <= MAX_BODY, "functions refuse a larger body");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn two_requests_have_their_turn_and_the_third_waits() {
        let queue = PasswordQueue::default();
        let (_, first) = queue.wait(request(1)).await.unwrap();
        let (_, _second) = queue.wait(request(1)).await.unwrap();
        assert_eq!(queue.wait(request(1)).await.unwrap_err(), Refusal::TooManyWaiting);
        drop(first);
        assert!(queue.wait(request(1)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_holds_up_nobody() {
        let queue = PasswordQueue::default();
        let never = || {
            let frames = stream::pending::<Result<Frame<Bytes>, wasmtime_wasi_http::handler::ErrorCode>>();
            Request::new(StreamBody::new(frames).boxed_unsync())
        };
        let slow = async { futures::join!(queue.wait(never()), queue.wait(never()), queue.wait(never())) };
        let quick = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            queue.wait(request(1)).await.is_ok()
        };
        let (slow, quick) = futures::join!(slow, quick);
        assert!(quick);
        assert_eq!(slow.0.unwrap_err(), Refusal::SlowBody);
    }
}
