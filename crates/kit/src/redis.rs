//! Redis through Spin's interface: one connection per instance, and scripts that are called by their digest.

use std::sync::{Arc, OnceLock};

use sha1::{Digest, Sha1};
use spin_sdk::redis::{self, Error};
pub use spin_sdk::redis::{RedisParameter, RedisResult};

use crate::{Problem, Result, config};

/// Shared by all requests of the instance: the host can send several commands over it at once.
static SHARED: tokio::sync::Mutex<Option<Arc<redis::Connection>>> = tokio::sync::Mutex::const_new(None);

/// Runs a command, which must not block. A nested reply comes as one flat list. 503 for any error.
pub async fn command(name: &str, arguments: Vec<RedisParameter>) -> Result<Vec<RedisResult>> {
    let connection = shared().await?;
    match connection.execute(name, arguments).await {
        Ok(reply) => Ok(reply),
        Err(error) => Err(failed(&connection, error).await),
    }
}

/// A parameter of a command.
pub fn arg(value: impl AsRef<[u8]>) -> RedisParameter {
    RedisParameter::Binary(value.as_ref().to_vec())
}

/// A number as a parameter.
pub fn int(value: i64) -> RedisParameter {
    RedisParameter::Int64(value)
}

/// A Lua script, called by the digest of its text (`EVALSHA`); the text is only sent if the server does not have it.
pub struct Script {
    text: &'static str,
    digest: OnceLock<String>,
}

impl Script {
    pub const fn new(text: &'static str) -> Self {
        Script { text, digest: OnceLock::new() }
    }

    /// Runs the script. It should return a number, a text or a flat list. 503 for any error.
    pub async fn run(&self, keys: &[&str], arguments: Vec<RedisParameter>) -> Result<Vec<RedisResult>> {
        let digest = self.digest.get_or_init(|| Sha1::digest(self.text).iter().map(|b| format!("{b:02x}")).collect());
        let with = |script: &str| {
            let count = i64::try_from(keys.len()).unwrap_or_default();
            let head = [arg(script), int(count)].into_iter().chain(keys.iter().map(arg));
            head.chain(arguments.iter().cloned()).collect::<Vec<_>>()
        };
        let connection = shared().await?;
        match connection.execute("EVALSHA", with(digest)).await {
            Ok(reply) => Ok(reply),
            Err(Error::Other(text)) if text.contains("NoScript") || text.contains("NOSCRIPT") => {
                command("EVAL", with(self.text)).await
            }
            Err(error) => Err(failed(&connection, error).await),
        }
    }
}

async fn shared() -> Result<Arc<redis::Connection>> {
    let mut shared = SHARED.lock().await;
    if let Some(connection) = &*shared {
        return Ok(connection.clone());
    }
    let address = format!("{}/0", config::text("redis").await?);
    // The host repeats an address that it refuses, password included.
    let failed = |error| {
        let cause = describe(&error).replace(&address, "the address of `redis`");
        Problem::unavailable().because(format!("Redis is not available: {cause}"))
    };
    let opened = redis::Connection::open(address.clone()).await.map_err(failed)?;
    Ok(shared.insert(Arc::new(opened)).clone())
}

/// After any error the next command opens a new connection: errors of the server are rare, and can't be told reliably
/// from a broken connection.
async fn failed(connection: &Arc<redis::Connection>, error: Error) -> Problem {
    let mut shared = SHARED.lock().await;
    if shared.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
        *shared = None;
    }
    Problem::unavailable().because(format!("Redis: {}", describe(&error)))
}

fn describe(error: &Error) -> String {
    match error {
        Error::Other(text) => text.clone(),
        other => format!("{other:?}"),
    }
}

/// The bytes at a position of a reply.
pub fn bytes(reply: Vec<RedisResult>, at: usize) -> Option<Vec<u8>> {
    match reply.into_iter().nth(at)? {
        RedisResult::Binary(bytes) => Some(bytes),
        _ => None,
    }
}

/// Reads the values of a reply.
pub trait Reply {
    /// The number at a position; `None` where there is none.
    fn int(&self, at: usize) -> Option<i64>;
    /// The text at a position; `None` where there is none.
    fn text(&self, at: usize) -> Option<&str>;
}

impl Reply for [RedisResult] {
    fn int(&self, at: usize) -> Option<i64> {
        match self.get(at)? {
            RedisResult::Int64(n) => Some(*n),
            RedisResult::Binary(_) | RedisResult::Status(_) => self.text(at)?.parse().ok(),
            RedisResult::Nil => None,
        }
    }

    fn text(&self, at: usize) -> Option<&str> {
        match self.get(at)? {
            RedisResult::Binary(bytes) => std::str::from_utf8(bytes).ok(),
            RedisResult::Status(text) => Some(text),
            RedisResult::Int64(_) | RedisResult::Nil => None,
        }
    }
}
