//! Transactions.

use std::{
    ops::{Deref, DerefMut},
    pin::Pin,
    time::Instant,
};

use futures::future::join_all;
use http::Extensions;
use send_wrapper::SendWrapper;

use super::{
    error::Error,
    pool::{self, Connection, Mode, TRANSACTION_LIFETIME},
};
use crate::{Problem, Result};

/// How often a transaction is attempted if it conflicts with others.
const ATTEMPTS: u32 = 5;

/// An open transaction, READ COMMITTED.
pub struct Transaction {
    connection: Connection,
    /// What parts of the code collect until the commit.
    pub(crate) extensions: Extensions,
    after_commit: Vec<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Transaction {
    /// Runs `future` after the commit, before [`transaction`] returns; without a commit it is dropped. All such futures
    /// of a transaction run concurrently. They must handle their own failures, which can't undo the commit.
    pub fn after_commit(&mut self, future: impl Future<Output = ()> + 'static) {
        self.after_commit.push(Box::pin(future));
    }
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

/// Runs `work` in a transaction, which is committed if `work` returns `Ok` and rolled back otherwise. After a conflict
/// with another transaction `work` runs again from the start, a limited number of times and up to the transaction's
/// lifetime.
///
/// axum requires the future to be `Send`, which the compiler can't infer through the closure; an instance has one
/// thread.
pub fn transaction<T>(work: impl AsyncFn(&mut Transaction) -> Result<T>) -> impl Future<Output = Result<T>> + Send {
    SendWrapper::new(async move {
        let (started, mut attempt) = (Instant::now(), 1);
        loop {
            match attempt_once(&work, started).await {
                Err(problem) if problem.transient && attempt < ATTEMPTS && started.elapsed() < TRANSACTION_LIFETIME => {
                    attempt += 1;
                }
                result => return result,
            }
        }
    })
}

async fn attempt_once<T>(work: &impl AsyncFn(&mut Transaction) -> Result<T>, started: Instant) -> Result<T> {
    let connection = pool::acquire(Mode::Transaction).await?;
    let mut transaction = Transaction { connection, extensions: Extensions::new(), after_commit: Vec::new() };
    transaction.set_mode(Mode::Transaction).await?;
    // From here to the end of COMMIT or ROLLBACK the connection must not return to the pool: if this future is dropped
    // in between, the connection is closed, and the server rolls back.
    transaction.set_busy(true);
    let mut result = work(&mut transaction).await;
    if result.is_ok() && started.elapsed() > TRANSACTION_LIFETIME {
        result = Err(Error::Expired.into());
    }
    let end = if result.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = transaction.execute(end, vec![]).await;
    transaction.set_busy(ended.is_err());
    match ended {
        Ok(()) => {
            let Transaction { connection, after_commit, .. } = transaction;
            drop(connection);
            if result.is_ok() {
                join_all(after_commit).await;
            }
            result
        }
        // If `work` failed in a `query`, this error tells that the connection was the reason.
        Err(error) => Err(match result {
            Ok(_) => error.into(),
            Err(first) => {
                let cause = format!("{error}; before that {first}");
                Problem::from(error).because(cause)
            }
        }),
    }
}
