//! What `cargo mall bench` measures with: the load generator, figures in tables, and the native service that the shop is
//! compared with. What is measured, and on which data, is the command's matter.

pub mod flash_sale;
pub mod generator;
pub mod http;
pub mod native;
pub mod plan;
pub mod table;

use redis::aio::MultiplexedConnection;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};

/// The databases that are measured run on this machine: no TLS.
fn mysql_options(url: &str) -> anyhow::Result<MySqlConnectOptions> {
    Ok(url.parse::<MySqlConnectOptions>()?.ssl_mode(MySqlSslMode::Disabled))
}

async fn connect_redis(url: &str) -> anyhow::Result<MultiplexedConnection> {
    Ok(redis::Client::open(url)?.get_multiplexed_async_connection().await?)
}
