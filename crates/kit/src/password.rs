//! Passwords: argon2id, 19 MiB, two passes, one lane, as PHC strings
//! (OWASP Password Storage Cheat Sheet; RFC 9106).

use std::time::{Duration, Instant};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::Semaphore;

use crate::{Problem, Result};

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// A hash that no password matches: verifying against it takes as long as for a real user.
const DUMMY_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$YWJzZW50LXVzZXItc2FsdA$\
                      Zm9yLWFuLXVua25vd24tdXNlci1uby1wYXNzd29yZC4";

/// Hashing takes tens of milliseconds, during which the instance does nothing else: requests take turns.
static QUEUE: Queue = Queue { turn: Semaphore::const_new(1), longest_wait: Duration::from_secs(2) };

struct Queue {
    turn: Semaphore,
    longest_wait: Duration,
}

impl Queue {
    /// Computes something when it is this request's turn; 503 if it had to wait too long.
    async fn run<T>(&self, compute: impl FnOnce() -> Result<T>) -> Result<T> {
        let arrived = Instant::now();
        let _turn = self.turn.acquire().await.map_err(failed)?;
        // Requests that have arrived in the meantime join the queue here: their wait counts from now on.
        tokio::task::yield_now().await;
        match arrived.elapsed() > self.longest_wait {
            true => Err(Problem::unavailable().because("too many passwords are waiting to be hashed")),
            false => compute(),
        }
    }
}

/// A PHC string with a random salt; 503 if too many passwords are waiting to be hashed.
pub async fn hash(password: &str) -> Result<String> {
    QUEUE
        .run(|| {
            let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(failed)?;
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            Ok(argon2.hash_password(password.as_bytes()).map_err(failed)?.to_string())
        })
        .await
}

/// Whether the password is the one that was hashed, with the parameters that the hash names.
/// `None` is for a user who does not exist: never a match, and it takes as long. 503 if too many passwords are waiting.
pub async fn verify(password: &str, hash: Option<&str>) -> Result<bool> {
    QUEUE
        .run(|| {
            let parsed = PasswordHash::new(hash.unwrap_or(DUMMY_HASH)).map_err(failed)?;
            let matches = Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok();
            Ok(matches && hash.is_some())
        })
        .await
}

fn failed(error: impl std::fmt::Display) -> Problem {
    Problem::internal().because(format!("password hashing: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    #[tokio::test]
    async fn verifies_only_its_own_hash() {
        let phc = hash("正确的马电池订书钉").await.unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert!(verify("正确的马电池订书钉", Some(&phc)).await.unwrap());
        assert!(!verify("wrong", Some(&phc)).await.unwrap());
        assert_ne!(phc, hash("正确的马电池订书钉").await.unwrap(), "salts differ");
    }

    #[tokio::test]
    async fn an_unknown_user_takes_as_long_to_refuse() {
        assert!(!verify("anything", None).await.unwrap());
        assert!(PasswordHash::new(DUMMY_HASH).is_ok());
    }

    #[tokio::test]
    async fn who_waits_too_long_is_refused() {
        let queue = Queue { turn: Semaphore::new(1), longest_wait: Duration::from_millis(50) };
        let compute = |milliseconds| {
            queue.run(move || {
                std::thread::sleep(Duration::from_millis(milliseconds));
                Ok(())
            })
        };
        let (first, second) = futures::join!(compute(60), compute(0));
        assert!(first.is_ok());
        assert_eq!(second.unwrap_err().code, Code::Unavailable);
        assert!(compute(0).await.is_ok(), "the queue is empty again");
    }
}
