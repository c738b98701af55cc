//! Connections kept for the next function that opens one: a pool for each address.
//!
//! A connection is reset before it is lent again, so that no session ever sees another's transaction, variables or
//! locks; one whose statements may have changed what a reset doesn't restore, or that was let go in the middle of a
//! statement, is closed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Opts, OptsBuilder, SslOpts};
use tokio::time::timeout;

/// A server that doesn't answer is an error after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// For what should take one round trip.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
const KEPT_IDLE: Duration = Duration::from_secs(30);
const MOST_IDLE: usize = 64;

/// A pool for each address.
#[derive(Clone, Default)]
pub struct Pools(Arc<Mutex<HashMap<String, Arc<Pool>>>>);

#[derive(Default)]
struct Pool {
    idle: Mutex<Vec<(Conn, Instant)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pools {
    /// An idle connection that still answers, or a new one.
    pub async fn open(&self, address: &str) -> Result<Lent, Error> {
        let pool = {
            let mut pools = lock(&self.0);
            match pools.get(address) {
                Some(pool) => pool.clone(),
                None => pools.entry(address.into()).or_default().clone(),
            }
        };
        loop {
            // Bound apart: the lock must not be held while the connection is checked.
            let kept = lock(&pool.idle).pop();
            let Some((mut conn, _)) = kept else { break };
            if let Ok(Ok(())) = timeout(CHECK_TIMEOUT, conn.ping()).await {
                return Ok(Lent::new(conn, pool));
            }
        }
        let opts = options(address)?;
        match timeout(CONNECT_TIMEOUT, Conn::new(opts)).await {
            Ok(conn) => Ok(Lent::new(conn?, pool)),
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }

    /// Closes what has been idle for long, for as long as it is polled.
    pub async fn close_idle(self) {
        let mut tick = tokio::time::interval(Duration::from_secs(5));
        loop {
            tick.tick().await;
            let pools: Vec<_> = lock(&self.0).values().cloned().collect();
            for pool in pools {
                // The most recently used are last.
                let mut idle = lock(&pool.idle);
                let old = idle.partition_point(|(_, since)| since.elapsed() >= KEPT_IDLE);
                let closing: Vec<_> = idle.drain(..old).collect();
                drop(idle);
                drop(closing);
            }
        }
    }

    /// Closes all that is idle.
    pub async fn stop(&self) {
        let pools: Vec<_> = lock(&self.0).drain().collect();
        for (_, pool) in pools {
            let idle = std::mem::take(&mut *lock(&pool.idle));
            for (conn, _) in idle {
                // Nothing more is asked of it.
                let _ = timeout(CHECK_TIMEOUT, conn.disconnect()).await;
            }
        }
    }
}

/// `ssl-mode` is no option of the driver's: anything but `disabled` asks for TLS.
fn options(address: &str) -> Result<Opts, Error> {
    let mut url = url::Url::parse(address).map_err(mysql_async::UrlError::from)?;
    let is_ssl = |key: &str| matches!(key.to_ascii_lowercase().as_str(), "ssl-mode" | "sslmode");
    let mut ssl = false;
    let mut rest = Vec::new();
    for (key, value) in url.query_pairs() {
        if is_ssl(&key) {
            ssl |= !value.eq_ignore_ascii_case("disabled");
        } else {
            rest.push((key.into_owned(), value.into_owned()));
        }
    }
    let socket = rest.iter().any(|(key, _)| key == "prefer_socket");
    url.set_query(None);
    if !rest.is_empty() {
        url.query_pairs_mut().extend_pairs(rest);
    }
    let opts =
        OptsBuilder::from_opts(Opts::from_url(url.as_str())?).ssl_opts(ssl.then(SslOpts::default)).tcp_nodelay(true);
    // The socket that a server names may be another server's on this machine, where the port is forwarded.
    let opts = if socket { opts } else { opts.prefer_socket(false) };
    Ok(opts.into())
}

/// A connection in use.
pub struct Lent {
    conn: Option<Conn>,
    pool: Arc<Pool>,
    /// A reset makes it as new.
    resettable: bool,
}

impl Lent {
    fn new(conn: Conn, pool: Arc<Pool>) -> Self {
        Self { conn: Some(conn), pool, resettable: true }
    }

    /// Runs a statement. The connection is put back only if the exchange with the server came to its end.
    pub async fn run<R>(
        &mut self,
        statement: &str,
        work: impl AsyncFnOnce(&mut Conn) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let mut conn = self.conn.take().ok_or_else(super::closed)?;
        self.resettable &= is_resettable(statement);
        let result = work(&mut conn).await;
        if matches!(
            result,
            Ok(_) | Err(Error::Server(_) | Error::Driver(mysql_async::DriverError::StmtParamsMismatch { .. }))
        ) {
            self.conn = Some(conn);
        }
        result
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let (Some(mut conn), true) = (self.conn.take(), self.resettable) else {
            return;
        };
        // Without one, the process is ending, and the connection with it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let pool = self.pool.clone();
        // At once, not at the next use: an open transaction holds its locks until then.
        runtime.spawn(async move {
            let reset = timeout(CONNECT_TIMEOUT, conn.reset()).await;
            if matches!(reset, Ok(Ok(true))) {
                let mut idle = lock(&pool.idle);
                if idle.len() < MOST_IDLE {
                    idle.push((conn, Instant::now()));
                }
            }
        });
    }
}

/// A reset leaves the default database alone, which `USE` changes; these can't change it.
fn is_resettable(statement: &str) -> bool {
    const KNOWN: [&str; 16] = [
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
    word.is_some_and(|word| KNOWN.iter().any(|known| known.eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reset_cannot_undo_is_known() {
        for statement in ["SELECT 1", " insert INTO a VALUES (1)", "set autocommit=0", "COMMIT"] {
            assert!(is_resettable(statement), "{statement}");
        }
        for statement in ["USE other", "/* */ USE other", "", "EXECUTE IMMEDIATE 'USE other'", "LOCK TABLES a READ"] {
            assert!(!is_resettable(statement), "{statement}");
        }
    }

    #[test]
    fn tls_is_asked_for_by_the_address() {
        let tls = |address| options(address).unwrap().ssl_opts().is_some();
        assert!(!tls("mysql://u:p@host/db"));
        assert!(!tls("mysql://u:p@host/db?ssl-mode=DISABLED"));
        assert!(tls("mysql://u:p@host/db?ssl-mode=required&stmt_cache_size=8"));
        assert!(tls("mysql://u:p@host/db?sslMode=VERIFY_CA"));
        assert!(options("mysql://u:p@host/db?nonsense=1").is_err());
    }
}
