//! Limits how many requests hash passwords at once. Each takes 19 MiB and tens of milliseconds of a core, and the memory
//! stays with the instance: without a limit, a burst of sign-ups would fill the memory of the machine. They run on threads
//! of their own, which leave the cores to other requests.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How many requests may hash at once.
const AT_ONCE: usize = 2;
/// A request that waits longer is refused.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// By how much the threads are nicer than others. If others want all cores, these get about a tenth of them.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

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

/// The requests that wait for their turn, and the threads that run the others.
pub struct PasswordQueue {
    turns: Arc<Semaphore>,
    /// None when it is dropped.
    threads: Option<Runtime>,
}

impl PasswordQueue {
    pub fn start() -> std::io::Result<Self> {
        let threads = Builder::new_multi_thread()
            .worker_threads(AT_ONCE)
            .thread_name("passwords")
            .on_thread_start(yield_to_others)
            .enable_all()
            .build()?;
        Ok(Self { turns: Arc::new(Semaphore::new(AT_ONCE)), threads: Some(threads) })
    }

    /// Runs a request that has its turn.
    pub async fn run<T: Send + 'static>(
        &self,
        request: impl Future<Output = wasmtime::Result<T>> + Send + 'static,
    ) -> wasmtime::Result<T> {
        match &self.threads {
            Some(threads) => threads.spawn(request).await?,
            None => request.await,
        }
    }

    /// Waits for the turn of a request whose body has arrived. The turn lasts until the permit is dropped. None if that
    /// takes too long.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        timeout(LONGEST_WAIT, self.turns.clone().acquire_owned()).await.ok()?.ok()
    }
}

impl Drop for PasswordQueue {
    fn drop(&mut self) {
        // Dropping it would block.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// Lowers the priority of this thread. Elsewhere than on Linux, it would be that of the process.
fn yield_to_others() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, "the threads that hash passwords have the usual priority");
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
        let queue = PasswordQueue::start().unwrap();
        let first = queue.turn().await.unwrap();
        let _second = queue.turn().await.unwrap();
        assert!(queue.turn().await.is_none());
        drop(first);
        assert!(queue.turn().await.is_some());
    }
}
