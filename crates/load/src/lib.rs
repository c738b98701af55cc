//! The tools of `cargo mall bench`: a load generator, statistics, tables, and a native service to compare the shop
//! with. What is measured, and with which data, is up to the command.

pub mod attack;
pub mod comparison;
pub mod flash_sale;
pub mod generator;
pub mod http;
pub mod native;
pub mod plan;
pub mod statistics;
pub mod table;

use mysql_async::{Opts, OptsBuilder};
use redis::aio::MultiplexedConnection;

/// The databases that are measured run on this machine: no TLS.
fn mysql_options(url: &str) -> anyhow::Result<OptsBuilder> {
    let without_params = url.split('?').next().unwrap_or_default();
    Ok(OptsBuilder::from_opts(Opts::from_url(without_params)?).prefer_socket(false))
}

async fn connect_redis(url: &str) -> anyhow::Result<MultiplexedConnection> {
    Ok(redis::Client::open(url)?.get_multiplexed_async_connection().await?)
}
