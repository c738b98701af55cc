//! A pool of MySQL connections for each address.
//!
//! A connection is reset before it is reused, so that no session sees another's transaction, variables or locks. It is
//! closed instead if its statements may have changed something that a reset doesn't restore, or if it was dropped
//! during a statement.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error, Opts, OptsBuilder, SslOpts};
use tokio::runtime::Handle;
use tokio::time::timeout;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const RESET_TIMEOUT: Duration = Duration::from_secs(3);
const PING_TIMEOUT: Duration = Duration::from_secs(1);
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections that have been idle for longer are closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How many idle connections a pool keeps.
const MAX_IDLE: usize = 64;

/// The pools, by address.
#[derive(Clone)]
pub struct Pools {
    by_address: Arc<Mutex<HashMap<String, Arc<Pool>>>>,
    /// Where connections are opened, whoever asks for them: their sockets stay with the runtime that opened them.
    opener: Handle,
}

#[derive(Default)]
struct Pool {
    /// Idle connections and since when they are idle, the most recently used one last.
    idle: Mutex<Vec<(Conn, Instant)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pools {
    pub fn new(opener: Handle) -> Self {
        Self { by_address: Arc::default(), opener }
    }

    /// Returns an idle connection that still works, or opens one.
    pub async fn open(&self, address: &str) -> Result<PooledConnection, Error> {
        let pool = {
            let mut pools = lock(&self.by_address);
            match pools.get(address) {
                Some(pool) => pool.clone(),
                None => pools.entry(address.into()).or_default().clone(),
            }
        };
        loop {
            // A statement of its own, since the lock must not be held during the ping.
            let idle = lock(&pool.idle).pop();
            let Some((mut conn, _)) = idle else { break };
            if let Ok(Ok(())) = timeout(PING_TIMEOUT, conn.ping()).await {
                return Ok(PooledConnection::new(conn, pool));
            }
        }
        let opts = options(address)?;
        match self.opener.spawn(timeout(CONNECT_TIMEOUT, Conn::new(opts))).await {
            Ok(Ok(conn)) => Ok(PooledConnection::new(conn?, pool)),
            Ok(Err(_)) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
            Err(error) => Err(std::io::Error::other(error).into()),
        }
    }

    /// Closes connections that have been idle for long, every few seconds until it is dropped.
    pub async fn close_idle(self) {
        let mut interval = tokio::time::interval(Duration::from_secs(5));
        loop {
            interval.tick().await;
            let pools: Vec<_> = lock(&self.by_address).values().cloned().collect();
            for pool in pools {
                let mut idle = lock(&pool.idle);
                let expired = idle.partition_point(|(_, since)| since.elapsed() >= IDLE_TIMEOUT);
                let expired: Vec<_> = idle.drain(..expired).collect();
                // The lock is released before the connections are dropped, which disconnects them.
                drop(idle);
                drop(expired);
            }
        }
    }

    /// Closes all idle connections.
    pub async fn stop(&self) {
        let pools: Vec<_> = lock(&self.by_address).drain().collect();
        for (_, pool) in pools {
            let idle = std::mem::take(&mut *lock(&pool.idle));
            for (conn, _) in idle {
                // It is not used again, so it doesn't matter whether this succeeds.
                let _ = timeout(DISCONNECT_TIMEOUT, conn.disconnect()).await;
            }
        }
    }
}

/// The driver has no option `ssl-mode`. Every value but `disabled` turns on TLS.
fn options(address: &str) -> Result<Opts, Error> {
    let mut url = url::Url::parse(address).map_err(mysql_async::UrlError::from)?;
    let is_ssl_mode = |key: &str| matches!(key.to_ascii_lowercase().as_str(), "ssl-mode" | "sslmode");
    let mut tls = false;
    let mut others = Vec::new();
    for (key, value) in url.query_pairs() {
        if is_ssl_mode(&key) {
            tls |= !value.eq_ignore_ascii_case("disabled");
        } else {
            others.push((key.into_owned(), value.into_owned()));
        }
    }
    let sets_prefer_socket = others.iter().any(|(key, _)| key == "prefer_socket");
    url.set_query(None);
    if !others.is_empty() {
        url.query_pairs_mut().extend_pairs(others);
    }
    let opts =
        OptsBuilder::from_opts(Opts::from_url(url.as_str())?).ssl_opts(tls.then(SslOpts::default)).tcp_nodelay(true);
    // If the port is forwarded, the socket path that the server reports may be another server's on this machine.
    let opts = if sets_prefer_socket { opts } else { opts.prefer_socket(false) };
    Ok(opts.into())
}

/// The connection that a guest holds. Dropping it returns it to its pool.
pub struct Connection(pub Arc<tokio::sync::Mutex<PooledConnection>>);

/// A connection in use.
pub struct PooledConnection {
    /// Nothing if it broke.
    conn: Option<Conn>,
    pool: Arc<Pool>,
    /// Whether a reset restores everything that its statements may have changed.
    resettable: bool,
}

impl PooledConnection {
    fn new(conn: Conn, pool: Arc<Pool>) -> Self {
        Self { conn: Some(conn), pool, resettable: true }
    }

    /// Runs a statement. The connection is not used again if an error leaves it in the middle of a reply.
    pub async fn run<R>(
        &mut self,
        statement: &str,
        work: impl AsyncFnOnce(&mut Conn) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let mut conn = self.conn.take().ok_or(Error::Driver(DriverError::ConnectionClosed))?;
        self.resettable &= is_resettable(statement);
        let result = work(&mut conn).await;
        if matches!(result, Ok(_) | Err(Error::Server(_) | Error::Driver(DriverError::StmtParamsMismatch { .. }))) {
            self.conn = Some(conn);
        }
        result
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        let (Some(mut conn), true) = (self.conn.take(), self.resettable) else {
            return;
        };
        // Without a runtime, the process is about to exit.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let pool = self.pool.clone();
        // Reset it now rather than before its next use, since an open transaction holds its locks until then.
        runtime.spawn(async move {
            let reset = timeout(RESET_TIMEOUT, conn.reset()).await;
            if matches!(reset, Ok(Ok(true))) {
                let mut idle = lock(&pool.idle);
                if idle.len() < MAX_IDLE {
                    idle.push((conn, Instant::now()));
                }
            }
        });
    }
}

/// A reset does not restore the default database, which `USE` changes. The statements listed here can't change it.
fn is_resettable(statement: &str) -> bool {
    const RESETTABLE: [&str; 16] = [
        "SELECT",
        "INSERT",
        "UPDATE",
        "DELETE",
        "REPLACE",
        "WITH",
        "SET",
        "COMMIT",
        "ROLLBACK",
        "START",
        "BEGIN",
        "CALL",
        "CREATE",
        "ALTER",
        "SHOW",
        "SAVEPOINT",
    ];
    let word = statement.trim_start().split(|c: char| !c.is_ascii_alphabetic()).next();
    word.is_some_and(|word| RESETTABLE.iter().any(|resettable| resettable.eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_statements_that_a_reset_undoes_are_resettable() {
        for statement in ["SELECT 1", " insert INTO a VALUES (1)", "set autocommit=0", "COMMIT"] {
            assert!(is_resettable(statement), "{statement}");
        }
        for statement in ["USE other", "/* */ USE other", "", "EXECUTE IMMEDIATE 'USE other'", "LOCK TABLES a READ"] {
            assert!(!is_resettable(statement), "{statement}");
        }
    }

    #[test]
    fn ssl_mode_turns_on_tls() {
        let tls = |address| options(address).unwrap().ssl_opts().is_some();
        assert!(!tls("mysql://u:p@host/db"));
        assert!(!tls("mysql://u:p@host/db?ssl-mode=DISABLED"));
        assert!(tls("mysql://u:p@host/db?ssl-mode=required&stmt_cache_size=8"));
        assert!(tls("mysql://u:p@host/db?sslMode=VERIFY_CA"));
        assert!(options("mysql://u:p@host/db?nonsense=1").is_err());
    }
}
