//! Connections to Redis: one for each address, shared and reopened when it breaks, and a dedicated one for a function
//! that uses commands which change the connection's state.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::{TcpSettings, socket2};
use redis::{AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo, RedisError, Value};
use tokio::runtime;
use tokio::sync::{Mutex as AsyncMutex, RwLock};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a shared connection waits for a reply. Blocking commands are not sent on it.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client for an address, with this runtime's socket options.
pub fn client(address: &str) -> Result<Client, RedisError> {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    Client::open(address.into_connection_info()?.set_tcp_settings(tcp))
}

/// The connection that a guest holds.
pub struct Connection(pub Arc<Handle>);

/// The shared connections, by address.
pub struct Connections {
    by_address: Mutex<HashMap<String, Arc<SharedConnection>>>,
    /// Where connections are opened, whoever asks for them: their sockets stay with the runtime that opened them.
    opener: runtime::Handle,
}

struct SharedConnection {
    client: Client,
    opener: runtime::Handle,
    current: RwLock<Option<Current>>,
}

#[derive(Clone)]
struct Current {
    connection: MultiplexedConnection,
    /// Tells it from the connection that replaces it when it breaks.
    generation: u64,
}

impl Connections {
    pub fn new(opener: runtime::Handle) -> Self {
        Self { by_address: Mutex::default(), opener }
    }

    /// A handle for the address, not connected yet. It fails if the address is not valid.
    pub fn open(&self, address: &str) -> Result<Handle, RedisError> {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = match by_address.get(address) {
            Some(shared) => shared.clone(),
            None => {
                let shared = Arc::new(SharedConnection {
                    client: client(address)?,
                    opener: self.opener.clone(),
                    current: RwLock::default(),
                });
                by_address.insert(address.into(), shared.clone());
                shared
            }
        };
        Ok(Handle { shared, dedicated: AsyncMutex::default(), is_dedicated: AtomicBool::new(false) })
    }
}

impl SharedConnection {
    async fn connect(&self, response: Option<Duration>) -> Result<MultiplexedConnection, RedisError> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_TIMEOUT)).set_response_timeout(response);
        let client = self.client.clone();
        let opened =
            self.opener.spawn(async move { client.get_multiplexed_async_connection_with_config(&config).await });
        opened.await.map_err(std::io::Error::other)?
    }

    /// The open connection. If there is none, the first caller opens it and the others wait.
    async fn current(&self) -> Result<Current, RedisError> {
        if let Some(current) = &*self.current.read().await {
            return Ok(current.clone());
        }
        let mut slot = self.current.write().await;
        if let Some(current) = &*slot {
            return Ok(current.clone());
        }
        static GENERATION: AtomicU64 = AtomicU64::new(0);
        let current = Current {
            connection: self.connect(Some(RESPONSE_TIMEOUT)).await?,
            generation: GENERATION.fetch_add(1, Relaxed),
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

/// To a function, this is a connection of its own.
pub struct Handle {
    shared: Arc<SharedConnection>,
    /// Opened for the first command that needs it, and used for all commands from then on.
    dedicated: AsyncMutex<Option<MultiplexedConnection>>,
    is_dedicated: AtomicBool,
}

impl Handle {
    /// Connects to the server, unless the shared connection is open.
    pub async fn connect(&self) -> Result<(), RedisError> {
        self.shared.current().await.map(drop)
    }

    pub async fn send(&self, command: &Cmd) -> Result<Value, RedisError> {
        if self.is_dedicated.load(Relaxed) || needs_dedicated_connection(command) {
            let mut connection = {
                let mut dedicated = self.dedicated.lock().await;
                match &*dedicated {
                    Some(connection) => connection.clone(),
                    None => {
                        self.is_dedicated.store(true, Relaxed);
                        dedicated.insert(self.shared.connect(None).await?).clone()
                    }
                }
            };
            // It is not reopened when it breaks, since its state would be lost.
            return connection.send_packed_command(command).await;
        }
        let mut current = self.shared.current().await?;
        let result = current.connection.send_packed_command(command).await;
        // Errors that the server reports are values: an error means that the connection failed.
        if result.is_err() {
            self.shared.discard(current.generation).await;
        }
        result
    }
}

/// Whether a command blocks its connection or changes its state or protocol.
fn needs_dedicated_connection(command: &Cmd) -> bool {
    const COMMANDS: [&str; 40] = [
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
    let Some(name) = COMMANDS.iter().find(|known| name.eq_ignore_ascii_case(known.as_bytes())) else {
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
    fn commands_that_need_a_dedicated_connection_are_recognised() {
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
            assert!(needs_dedicated_connection(&command(words)), "{words}");
        }
        for words in ["GET a", "SET select multi", "XREADGROUP GROUP g c STREAMS a >", "SCRIPT LOAD x", "EVALSHA a 0"] {
            assert!(!needs_dedicated_connection(&command(words)), "{words}");
        }
    }
}
