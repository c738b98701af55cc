//! Redis through Spin's interface: one connection per instance, and scripts that are called by their digest.

use std::{
    pin::pin,
    sync::{Arc, OnceLock},
};

use futures::future::{Either, select};
use sha1::{Digest, Sha1};
pub use spin_sdk::redis::{RedisParameter, RedisResult};
use spin_sdk::{
    redis::{self, Error},
    wasip3,
};

use crate::{Context, Problem, Result, Timestamp, config};

/// Shared by all requests of the instance: the host can send several commands over it at once.
static SHARED: tokio::sync::Mutex<Option<Arc<Connection>>> = tokio::sync::Mutex::const_new(None);

struct Connection {
    host: redis::Connection,
    /// What is to be added to our clock to get the server's, in milliseconds.
    clock_offset_ms: i64,
}

/// Runs a command, which must not block. A nested reply comes as one flat list. 503 for any error.
pub async fn command(name: &'static str, arguments: Vec<RedisParameter>) -> Result<Vec<RedisResult>> {
    unless_late(async move {
        let connection = shared().await?;
        match connection.host.execute(name, arguments).await {
            Ok(reply) => Ok(reply),
            Err(error) => Err(failed(&connection, error).await),
        }
    })
    .await
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
    pub async fn run(&'static self, keys: &[&str], arguments: Vec<RedisParameter>) -> Result<Vec<RedisResult>> {
        self.run_with(keys, arguments, None::<fn(i64) -> RedisParameter>).await
    }

    /// The same with a last argument that is made from the difference between the server's clock and ours, in
    /// milliseconds.
    pub(crate) async fn run_by_clock(
        &'static self,
        keys: &[&str],
        arguments: Vec<RedisParameter>,
        last: impl FnOnce(i64) -> RedisParameter + 'static,
    ) -> Result<Vec<RedisResult>> {
        self.run_with(keys, arguments, Some(last)).await
    }

    async fn run_with(
        &'static self,
        keys: &[&str],
        arguments: Vec<RedisParameter>,
        last: Option<impl FnOnce(i64) -> RedisParameter + 'static>,
    ) -> Result<Vec<RedisResult>> {
        let mut values = vec![arg(""), int(i64::try_from(keys.len()).unwrap_or_default())];
        values.extend(keys.iter().map(arg));
        values.extend(arguments);
        unless_late(async move {
            let connection = shared().await?;
            values.extend(last.map(|last| last(connection.clock_offset_ms)));
            let mut with = |script: &str| {
                if let Some(first) = values.first_mut() {
                    *first = arg(script);
                }
                values.clone()
            };
            let reply = match connection.host.execute("EVALSHA", with(self.digest())).await {
                Err(Error::Other(text)) if text.contains("NoScript") || text.contains("NOSCRIPT") => {
                    connection.host.execute("EVAL", with(self.text)).await
                }
                reply => reply,
            };
            match reply {
                Ok(reply) => Ok(reply),
                Err(error) => Err(failed(&connection, error).await),
            }
        })
        .await
    }

    fn digest(&self) -> &str {
        self.digest.get_or_init(|| Sha1::digest(self.text).iter().map(|b| format!("{b:02x}")).collect())
    }
}

/// Awaits a call of the host up to the end of the request's time; 503 after that. The call itself can't be cancelled: it
/// ends in the background.
async fn unless_late<T: 'static>(call: impl Future<Output = Result<T>> + 'static) -> Result<T> {
    let Some(context) = Context::current() else { return call.await };
    context.check_time()?;
    let call = Box::pin(call);
    match select(call, pin!(context.late())).await {
        Either::Left((result, _)) => result,
        Either::Right(((), call)) => {
            wasip3::spawn(async move { drop(call.await) });
            Err(Problem::unavailable().because("Redis did not answer in time"))
        }
    }
}

async fn shared() -> Result<Arc<Connection>> {
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
    let host = redis::Connection::open(address.clone()).await.map_err(failed)?;
    let time = host.execute("TIME", vec![]).await.map_err(failed)?;
    // Not before: a slow reply must make our idea of the server's clock slow, and a script late rather than in time.
    let now = Timestamp::now();
    let server_ms =
        time.int(0).unwrap_or_default().saturating_mul(1000).saturating_add(time.int(1).unwrap_or_default() / 1000);
    let connection = Connection { host, clock_offset_ms: server_ms.saturating_sub(now.0) };
    Ok(shared.insert(Arc::new(connection)).clone())
}

/// After any error the next command opens a new connection: errors of the server are rare, and can't be told reliably
/// from a broken connection.
async fn failed(connection: &Arc<Connection>, error: Error) -> Problem {
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
