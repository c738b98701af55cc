//! The shop's databases: those whose addresses are given, else servers that this command starts, with their data under
//! `.mall/`.

mod install;
mod mysql;
mod redis;
mod server;

use std::path::Path;

use rustix::process::Signal;

use self::server::{Server, stop_leftover};
pub use self::{
    redis::connect as connect_redis,
    server::{Durability, free_port, last_error},
};
use crate::{
    address::{Mysql, Redis, Variables},
    project::{Lock, Project},
};

pub struct Databases {
    pub mysql: Mysql,
    pub redis: Redis,
    /// The servers that this command has started.
    started: Vec<Server>,
    _lock: Option<Lock>,
}

impl Databases {
    /// Starts a server for each database whose address is not given. Call this on the main thread (see `process`).
    pub async fn find_or_start(
        project: &Project,
        mysql: Option<Mysql>,
        redis: Option<Redis>,
        durability: Durability,
    ) -> anyhow::Result<Self> {
        let required = install::Servers { mysql: mysql.is_none(), redis: redis.is_none() };
        let lock = if required.mysql || required.redis { Some(project.lock()?) } else { None };
        install::install_missing(required)?;
        let mut started = Vec::new();
        let mysql = match mysql {
            Some(mysql) => mysql,
            None => {
                let (server, mysql) = mysql::start(project, durability).await?;
                started.push(server);
                mysql
            }
        };
        let redis = match redis {
            Some(redis) => {
                redis::enable_expiry_notifications(&redis).await?;
                redis
            }
            None => {
                let (server, redis) = redis::start(project, durability).await?;
                started.push(server);
                redis
            }
        };
        Ok(Self { mysql, redis, started, _lock: lock })
    }

    pub fn variables(&self) -> Variables {
        let pairs = self.mysql.variables().into_iter().chain(self.redis.variables());
        pairs.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The servers that this command has started, such as `MariaDB 10.11.6 and Redis 7.0.15`.
    pub fn describe(&self) -> Option<String> {
        let names: Vec<_> = self.started.iter().map(|server| server.product.as_str()).collect();
        (!names.is_empty()).then(|| names.join(" and "))
    }

    /// The process ids of the servers that this command has started.
    pub fn pids(&self) -> impl Iterator<Item = i32> {
        self.started.iter().map(|server| server.process.pid())
    }

    /// Restarts servers that have exited, at the same address. Returns a warning for each.
    pub fn restart_exited(&mut self) -> anyhow::Result<Vec<String>> {
        let mut warnings = Vec::new();
        for server in &mut self.started {
            if let Some(status) = server.process.exited() {
                server.restart()?;
                warnings.push(format!("{} exited ({status}) and was restarted", server.product));
            }
        }
        Ok(warnings)
    }

    pub fn stop(self) {
        // All at once: dropping them then waits for each.
        for server in &self.started {
            server.process.signal(Signal::TERM);
        }
    }
}

/// Stops the servers of an earlier run that was killed, before their data is deleted.
pub fn stop_leftovers(folder: &Path) {
    stop_leftover(folder, "mysql");
    stop_leftover(folder, "redis");
}
