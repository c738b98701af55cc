//! Limits how many requests hash passwords at once. Each takes 19 MiB and tens of milliseconds of a core, and the memory
//! stays with the instance: without a limit, a burst of sign-ups would fill the memory of the machine.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How many requests may hash at once.
const AT_ONCE: usize = 2;
/// A request that waits longer is refused.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
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

/// The requests that wait for their turn.
pub struct PasswordQueue(Arc<Semaphore>);

impl Default for PasswordQueue {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl PasswordQueue {
    /// Waits for the turn of a request whose body has arrived. The turn lasts until the permit is dropped. None if that
    /// takes too long.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        timeout(LONGEST_WAIT, self.0.clone().acquire_owned()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_method_and_a_path() {
        let login = Endpoint::parse("POST /api/user/login").unwrap();
        assert!(login.matches(&Method::POST, "/api/user/login"));
        assert!(!login.matches(&Method::GET, "/api/user/login") && !login.matches(&Method::POST, "/api/user"));
        assert!(Endpoint::parse("/api/user/login").is_err() && Endpoint::parse("POST login").is_err());
    }

    #[tokio::test]
    async fn two_requests_have_their_turn_and_the_third_waits() {
        let queue = PasswordQueue::default();
        let first = queue.turn().await.unwrap();
        let _second = queue.turn().await.unwrap();
        assert!(queue.turn().await.is_none());
        drop(first);
        assert!(queue.turn().await.is_some());
    }
}
