//! The embedded runtime: runs a `spin.toml` where Spin is not installed.
//!
//! It reads the same manifest, offers the same interfaces (`wasi:http`, `spin:mysql`, `spin:redis`, `spin:variables`,
//! Redis triggers) and refuses what Spin refuses. It improves on Spin only in ways that functions don't notice: it
//! pools connections, reconnects its triggers and stops gracefully.

mod allowed_hosts;
mod app;
mod bindings;
mod client_stream;
mod compose;
mod connections;
mod engine;
mod error;
mod file_limit;
mod function;
mod guest;
mod http;
mod manifest;
mod mysql;
mod output;
mod password_queue;
mod problem;
mod redis;
mod request_body;
mod request_ids;
mod routes;
mod subscriber;
mod unsent;
mod variables;

#[doc(hidden)]
pub use app::start_with;
pub use app::{App, Options, start};
pub use connections::MAX_CONNECTIONS_PER_ADDRESS;
pub use error::Error;
#[doc(hidden)]
pub use function::Limits;
