//! MySQL through Spin's interface: a connection pool in the instance, prepared statements, transactions.
//!
//! Limits of the platform, and how they are handled:
//! - The host has no connection pool: [`pool`] keeps connections for as long as the instance lives.
//! - `START TRANSACTION` can't be prepared: a transaction is `SET autocommit=0` … `COMMIT`.
//! - The number of affected rows is not reported: lock first (`SELECT … FOR UPDATE`), decide, then write.
//! - `query` hides the server's error: a statement that may violate a unique key goes through [`Connection::execute`], and
//!   a failing `query` in a transaction counts as a conflict, to be retried.

mod count;
mod error;
mod param;
mod pool;
mod retention;
mod row;
mod transaction;

pub use count::{MAX_COUNT, bounded_count};
pub use error::{Error, on_duplicate};
pub use param::{IntoParam, param, placeholders};
pub use pool::{Connection, connection};
pub use retention::delete_before;
pub use row::{Column, FromRow, Row};
pub use spin_sdk::mysql::{DbValue, ParameterValue};
pub use transaction::{Transaction, transaction};
