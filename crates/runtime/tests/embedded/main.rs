//! Tests of the whole runtime, with real components, a real Redis and a real MariaDB.

mod http;
mod limits;
mod manifest;
mod mysql;
mod redis;
mod support;
