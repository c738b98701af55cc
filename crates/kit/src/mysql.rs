//! MySQL through Spin's interface: connections kept by the instance, statements by the prepared protocol, transactions.
//!
//! What the platform demands, and where it is met:
//! - The host has no connection pool: [`pool`] keeps connections for the instance's life.
//! - The prepared protocol refuses `START TRANSACTION`: a transaction is `SET autocommit=0` … `COMMIT`.
//! - There is no affected-row count: lock first (`SELECT … FOR UPDATE`), decide, then write.
//! - `query` hides the server's error: a statement that may violate a unique key goes through [`Connection::execute`], and
//!   a failing `query` in a transaction counts as a conflict, to be retried.

mod error;
mod param;
mod pool;
mod row;
mod transaction;

pub use error::{Error, on_duplicate};
pub use param::{IntoParam, param, placeholders};
pub use pool::{Connection, connection};
pub use row::{Column, FromRow, Row};
pub use spin_sdk::mysql::{DbValue, ParameterValue};
pub use transaction::{Transaction, transaction};
