//! MySQL as Spin lends it: connections kept by the instance, statements through the prepared protocol, transactions.
//!
//! What the platform asks for, and where it is answered:
//! - no pool in the host: [`pool`] keeps connections for the instance's life;
//! - `START TRANSACTION` is refused by the prepared protocol: a transaction is `SET autocommit=0` … `COMMIT`;
//! - no affected-row count: lock first (`SELECT … FOR UPDATE`), decide, then write;
//! - `query` hides the server's error: what may meet a duplicate key goes through [`Connection::execute`], and a
//!   failing `query` in a transaction counts as a conflict, to be tried again.

mod pool;
mod row;

use std::{
    ops::{Deref, DerefMut},
    time::{Duration, Instant},
};

pub use pool::Connection;
pub use row::{Column, FromRow, Row};
use send_wrapper::SendWrapper;
pub use spin_sdk::mysql::ParameterValue;

use crate::{Problem, Result, Timestamp, jobs, log};

/// How often a transaction runs at most when others get in its way.
const ATTEMPTS: u32 = 5;
/// A transaction that takes longer is not committed any more: its client has been told that the shop is unavailable,
/// or soon will be.
const LIFETIME: Duration = Duration::from_secs(3);

/// What a statement met.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server could not be reached, or the connection broke.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// A deadlock or a lock wait that took too long. The transaction is undone; it may be run again.
    #[error("another transaction was in the way: {0}")]
    Conflict(String),
    /// A unique key holds already; by name.
    #[error("duplicate entry for key {key}")]
    Duplicate { key: String },
    /// The statement is wrong, or broke another constraint.
    #[error("the statement failed: {0}")]
    Statement(String),
    /// A column is missing, or not of the type that was asked for.
    #[error("column {column}: {reason}")]
    Column { column: String, reason: String },
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        log::error(None, "MySQL", &error);
        match error {
            Error::Unavailable(_) => Problem::unavailable(),
            Error::Conflict(_) => Problem::conflict(),
            Error::Duplicate { .. } | Error::Statement(_) | Error::Column { .. } => Problem::internal(),
        }
    }
}

/// Parameters of a statement, in the order of its question marks.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { vec![$($crate::mysql::param($value)),*] };
}

/// A value as a parameter; `None` is NULL.
pub fn param<T: IntoParam>(value: T) -> ParameterValue {
    value.into_param()
}

/// What can stand for a question mark.
pub trait IntoParam {
    fn into_param(self) -> ParameterValue;
}

impl IntoParam for i64 {
    fn into_param(self) -> ParameterValue {
        ParameterValue::Int64(self)
    }
}

impl IntoParam for bool {
    fn into_param(self) -> ParameterValue {
        ParameterValue::Int8(self.into())
    }
}

impl IntoParam for &str {
    fn into_param(self) -> ParameterValue {
        ParameterValue::Str(self.to_owned())
    }
}

impl IntoParam for String {
    fn into_param(self) -> ParameterValue {
        ParameterValue::Str(self)
    }
}

impl IntoParam for &String {
    fn into_param(self) -> ParameterValue {
        ParameterValue::Str(self.clone())
    }
}

impl IntoParam for &[u8] {
    fn into_param(self) -> ParameterValue {
        ParameterValue::Binary(self.to_vec())
    }
}

impl IntoParam for crate::Timestamp {
    fn into_param(self) -> ParameterValue {
        ParameterValue::Int64(self.0)
    }
}

impl<T: IntoParam> IntoParam for Option<T> {
    fn into_param(self) -> ParameterValue {
        self.map_or(ParameterValue::DbNull, IntoParam::into_param)
    }
}

/// `?,?,?` for an `IN (…)` of so many values.
pub fn marks(count: usize) -> String {
    let mut marks = "?,".repeat(count);
    marks.pop();
    marks
}

/// A connection for statements that stand alone: each is its own transaction.
pub async fn connection() -> Result<Connection> {
    let mut connection = pool::acquire(pool::Mode::Autocommit).await?;
    connection.set_mode(pool::Mode::Autocommit).await?;
    Ok(connection)
}

/// An open transaction, READ COMMITTED.
pub struct Transaction {
    connection: Connection,
    /// To be rung after the commit.
    pub(crate) bells: Vec<(jobs::Queue, Timestamp)>,
}

impl Deref for Transaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

/// Runs `work` in a transaction, which is committed if it answers `Ok` and undone otherwise. When other transactions
/// get in the way, it is undone and `work` runs again from the start, a bounded number of times.
///
/// The future says that it is `Send`, which axum asks for and the compiler can't see through the closure; an instance
/// has one thread.
pub fn transaction<T>(work: impl AsyncFn(&mut Transaction) -> Result<T>) -> impl Future<Output = Result<T>> + Send {
    SendWrapper::new(async move {
        let (started, mut attempt) = (Instant::now(), 1);
        loop {
            match attempt_once(&work, started).await {
                Err(problem) if problem.transient && attempt < ATTEMPTS && started.elapsed() < LIFETIME => attempt += 1,
                result => return result,
            }
        }
    })
}

async fn attempt_once<T>(work: &impl AsyncFn(&mut Transaction) -> Result<T>, started: Instant) -> Result<T> {
    let connection = pool::acquire(pool::Mode::Transaction).await?;
    let mut transaction = Transaction { connection, bells: Vec::new() };
    transaction.set_mode(pool::Mode::Transaction).await?;
    // From here to the end of COMMIT or ROLLBACK the connection is nobody else's: if this future is dropped between,
    // the connection is closed, and the server undoes what was done.
    transaction.set_busy(true);
    let mut result = work(&mut transaction).await;
    if result.is_ok() && started.elapsed() > LIFETIME {
        result = Err(Error::Unavailable("the transaction took too long".to_owned()).into());
    }
    let end = if result.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = transaction.execute(end, vec![]).await;
    transaction.set_busy(ended.is_err());
    match ended {
        Ok(()) => {
            let Transaction { connection, bells } = transaction;
            drop(connection);
            if result.is_ok() {
                jobs::ring(&bells).await;
            }
            result
        }
        // If what failed before was a `query`, this tells whether the connection is the reason.
        Err(error) => Err(error.into()),
    }
}
