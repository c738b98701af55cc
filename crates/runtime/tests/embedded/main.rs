//! Tests of the whole runtime, with real components, a real Redis and a real MariaDB.

mod hostile_clients;
mod http;
mod limits;
mod manifest;
mod mysql;
mod redis;
mod reload;
mod support;
