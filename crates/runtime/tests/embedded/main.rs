//! The runtime, seen from outside: real components, a real Redis and a real MySQL or MariaDB.

mod http;
mod limits;
mod manifest;
mod mysql;
mod redis;
mod support;
