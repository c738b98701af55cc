//! The options `--mysql` and `--redis`.

use clap::Args;

use crate::address::{Mysql, Redis};

/// Which databases to use. The URLs are plain strings because clap's message about one that it can't parse would show
/// the password.
#[derive(Args, Clone, Default)]
pub struct DatabaseUrls {
    /// mysql://user:password@host:port/database[?ssl-mode=…]
    #[arg(long, value_name = "URL", env = "MALL_MYSQL_URL", hide_env_values = true)]
    mysql: Option<String>,

    /// redis://[user:password@]host:port
    #[arg(long, value_name = "URL", env = "MALL_REDIS_URL", hide_env_values = true)]
    redis: Option<String>,
}

impl DatabaseUrls {
    pub fn mysql(&self) -> anyhow::Result<Option<Mysql>> {
        self.mysql.as_deref().filter(|url| !url.is_empty()).map(str::parse).transpose()
    }

    pub fn redis(&self) -> anyhow::Result<Option<Redis>> {
        self.redis.as_deref().filter(|url| !url.is_empty()).map(str::parse).transpose()
    }
}
