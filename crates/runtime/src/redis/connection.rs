//! Connections to Redis: one for each address, opened again when it breaks, and one apart for whoever needs a session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::{TcpSettings, socket2};
use redis::{AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo, RedisError, Value};
use tokio::sync::{Mutex as AsyncMutex, RwLock};

use crate::bindings::spin::redis::redis::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// What a shared connection waits for a reply: no command that blocks is sent on it.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client for an address, with the sockets set up as this runtime wants them.
pub fn client(address: &str) -> Result<Client, RedisError> {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    Client::open(address.into_connection_info()?.set_tcp_settings(tcp))
}

/// The shared connections.
#[derive(Default)]
pub struct Connections(Mutex<HashMap<String, Arc<Shared>>>);

struct Shared {
    client: Client,
    current: RwLock<Option<Current>>,
}

#[derive(Clone)]
struct Current {
    connection: MultiplexedConnection,
    generation: u64,
}

impl Connections {
    /// A handle on the address, not connected yet.
    pub fn open(&self, address: &str) -> Result<Handle, Error> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = match shared.get(address) {
            Some(shared) => shared.clone(),
            None => {
                let new = Arc::new(Shared {
                    client: client(address).map_err(|_| Error::InvalidAddress)?,
                    current: RwLock::default(),
                });
                shared.insert(address.into(), new.clone());
                new
            }
        };
        Ok(Handle { shared, own: AsyncMutex::default(), has_own: std::sync::atomic::AtomicBool::new(false) })
    }
}

impl Shared {
    async fn connect(&self, response: Option<Duration>) -> Result<MultiplexedConnection, RedisError> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_TIMEOUT)).set_response_timeout(response);
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// The connection, opened if need be by the first of those who wait for it.
    async fn current(&self) -> Result<Current, RedisError> {
        if let Some(current) = &*self.current.read().await {
            return Ok(current.clone());
        }
        let mut slot = self.current.write().await;
        if let Some(current) = &*slot {
            return Ok(current.clone());
        }
        static GENERATION: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let current = Current {
            connection: self.connect(Some(RESPONSE_TIMEOUT)).await?,
            generation: GENERATION.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
        };
        *slot = Some(current.clone());
        Ok(current)
    }

    async fn discard(&self, generation: u64) {
        let mut slot = self.current.write().await;
        if slot.as_ref().is_some_and(|current| current.generation == generation) {
            *slot = None;
        }
    }
}

/// What a function takes for a connection of its own.
pub struct Handle {
    shared: Arc<Shared>,
    /// There once a command asked for a session.
    own: AsyncMutex<Option<MultiplexedConnection>>,
    has_own: std::sync::atomic::AtomicBool,
}

impl Handle {
    /// Makes sure that the server is there.
    pub async fn connect(&self) -> Result<(), RedisError> {
        self.shared.current().await.map(drop)
    }

    pub async fn send(&self, command: &Cmd) -> Result<Value, RedisError> {
        use std::sync::atomic::Ordering::Relaxed;
        if self.has_own.load(Relaxed) || needs_session(command) {
            let mut connection = {
                let mut own = self.own.lock().await;
                match &*own {
                    Some(connection) => connection.clone(),
                    None => {
                        self.has_own.store(true, Relaxed);
                        own.insert(self.shared.connect(None).await?).clone()
                    }
                }
            };
            // A session that broke stays broken, since what it held is lost.
            return connection.send_packed_command(command).await;
        }
        let mut current = self.shared.current().await?;
        let result = current.connection.send_packed_command(command).await;
        // What the server itself says, errors too, comes as a value: here the connection failed.
        if result.is_err() {
            self.shared.discard(current.generation).await;
        }
        result
    }
}

/// Commands that change their connection's state, block it or turn it into something else.
fn needs_session(command: &Cmd) -> bool {
    const SESSION: [&str; 40] = [
        "ASKING",
        "AUTH",
        "BLMOVE",
        "BLMPOP",
        "BLPOP",
        "BRPOP",
        "BRPOPLPUSH",
        "BZMPOP",
        "BZPOPMAX",
        "BZPOPMIN",
        "CLIENT",
        "DEBUG",
        "DISCARD",
        "EXEC",
        "FAILOVER",
        "HELLO",
        "MONITOR",
        "MULTI",
        "PSUBSCRIBE",
        "PSYNC",
        "PUNSUBSCRIBE",
        "QUIT",
        "READONLY",
        "READWRITE",
        "REPLCONF",
        "RESET",
        "SCRIPT",
        "SELECT",
        "SHUTDOWN",
        "SSUBSCRIBE",
        "SUBSCRIBE",
        "SUNSUBSCRIBE",
        "SYNC",
        "UNSUBSCRIBE",
        "UNWATCH",
        "WAIT",
        "WAITAOF",
        "WATCH",
        "XREAD",
        "XREADGROUP",
    ];
    let mut arguments = command.args_iter().map(|argument| match argument {
        redis::Arg::Simple(bytes) => bytes,
        _ => &[],
    });
    let Some(name) = arguments.next() else {
        return false;
    };
    let Some(name) = SESSION.iter().find(|known| name.eq_ignore_ascii_case(known.as_bytes())) else {
        return false;
    };
    let mut has = |word: &str| arguments.any(|argument| argument.eq_ignore_ascii_case(word.as_bytes()));
    match *name {
        "XREAD" | "XREADGROUP" => has("BLOCK"),
        "SCRIPT" => has("DEBUG"),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_recognised() {
        let command = |words: &str| {
            let mut words = words.split(' ');
            let mut command = redis::cmd(words.next().unwrap());
            for word in words {
                command.arg(word);
            }
            command
        };
        for words in
            ["SELECT 1", "multi", "BLPOP a 0", "XREAD BLOCK 0 STREAMS a $", "xreadgroup GROUP g c block 5 STREAMS a >"]
        {
            assert!(needs_session(&command(words)), "{words}");
        }
        for words in ["GET a", "SET select multi", "XREADGROUP GROUP g c STREAMS a >", "SCRIPT LOAD x", "EVALSHA a 0"] {
            assert!(!needs_session(&command(words)), "{words}");
        }
    }
}
