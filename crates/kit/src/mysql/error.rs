//! Errors of statements.

use crate::Problem;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server could not be reached, or the connection broke.
    #[error("MySQL is not available: {0}")]
    Unavailable(String),
    /// The transaction, or its request, ran too long. It was rolled back.
    #[error("the transaction took too long")]
    Expired,
    /// The connection broke in the middle of COMMIT, and the outcome could not be looked up.
    #[error("the outcome of COMMIT is unknown: {0}")]
    OutcomeUnknown(String),
    /// A deadlock or a lock wait timeout. The transaction is rolled back; it may be run again.
    #[error("conflict with another MySQL transaction: {0}")]
    Conflict(String),
    /// A row with the same unique key exists. Names the key.
    #[error("duplicate entry for key {key}")]
    Duplicate { key: String },
    /// The statement is wrong, or violates another constraint.
    #[error("the MySQL statement failed: {0}")]
    Statement(String),
    /// A column is missing, or its value does not have the requested type.
    #[error("column {column}: {reason}")]
    Column { column: String, reason: String },
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let problem = match error {
            Error::Unavailable(_) => Problem::unavailable(),
            Error::OutcomeUnknown(_) => Problem::outcome_unknown(),
            // A smaller transaction may succeed.
            Error::Conflict(_) | Error::Expired => Problem::conflict(),
            Error::Duplicate { .. } | Error::Statement(_) | Error::Column { .. } => Problem::internal(),
        };
        problem.because(error)
    }
}

/// For `map_err`: turns a violation of this unique key into `problem`.
pub fn on_duplicate(key: &str, problem: impl FnOnce() -> Problem) -> impl FnOnce(Error) -> Problem {
    move |error| match error {
        Error::Duplicate { key: violated } if violated == key => problem(),
        other => other.into(),
    }
}
