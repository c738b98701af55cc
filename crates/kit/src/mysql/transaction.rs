//! Transactions.

use std::{
    ops::{Deref, DerefMut},
    pin::Pin,
    time::{Duration, Instant},
};

use futures::future::join_all;
use http::Extensions;
use send_wrapper::SendWrapper;
use spin_sdk::{mysql::ParameterValue, wasip3};

use super::{
    error::Error,
    pool::{self, Connection, Mode, TRANSACTION_LIFETIME},
};
use crate::{
    Context, Problem, Result,
    context::{check_time, without_deadline},
    log,
};

/// How often a transaction is attempted if it conflicts with others.
const ATTEMPTS: u32 = 5;
/// For how long the outcome of a COMMIT is looked up.
const LOOK_UP_TIME: Duration = Duration::from_secs(3);
const LOOK_UP_PAUSE_NS: u64 = 100_000_000;

/// An open transaction, READ COMMITTED.
pub struct Transaction {
    connection: Connection,
    /// What parts of the code collect until the commit.
    pub(crate) extensions: Extensions,
    after_commit: Vec<Pin<Box<dyn Future<Output = ()>>>>,
    proof: Option<Query>,
}

/// A SELECT and its parameters.
type Query = (&'static str, Vec<ParameterValue>);

impl Transaction {
    /// Runs `future` after the commit, before [`transaction`] returns; without a commit it is dropped. All such futures
    /// of a transaction run concurrently. They must handle their own failures, which can't undo the commit.
    pub fn after_commit(&mut self, future: impl Future<Output = ()> + 'static) {
        self.after_commit.push(Box::pin(future));
    }

    /// A query for a row that this transaction inserts or changes, to be found exactly if it was committed. With it, the
    /// outcome can be looked up if the connection breaks in the middle of COMMIT. It must be `FOR UPDATE`: so it waits
    /// for a transaction that is still running.
    pub fn proven_by(&mut self, sql: &'static str, params: Vec<ParameterValue>) {
        self.proof = Some((sql, params));
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
    let mut transaction =
        Transaction { connection, extensions: Extensions::new(), after_commit: Vec::new(), proof: None };
    transaction.set_mode(Mode::Transaction).await?;
    // From here to the end of COMMIT or ROLLBACK the connection must not return to the pool: if this future is dropped
    // in between, the connection is closed, and the server rolls back.
    transaction.set_busy(true);
    let mut result = work(&mut transaction).await;
    if result.is_ok() && (started.elapsed() > TRANSACTION_LIFETIME || check_time().is_err()) {
        result = Err(Error::Expired.into());
    }
    match result {
        Ok(value) => {
            commit(transaction).await?;
            Ok(value)
        }
        Err(problem) => {
            let rolled_back = transaction.execute("ROLLBACK", vec![]).await;
            transaction.set_busy(rolled_back.is_err());
            // If `work` failed in a `query`, this error tells that the connection was the reason.
            Err(match rolled_back {
                Ok(()) => problem,
                Err(error) => {
                    let cause = format!("{error}; before that {problem}");
                    Problem::from(error).because(cause)
                }
            })
        }
    }
}

/// Commits, then runs the futures that wait for that.
async fn commit(mut transaction: Transaction) -> Result<()> {
    let context = Context::current();
    let set_may_have_committed = |value| context.as_ref().is_some_and(|context| context.set_may_have_committed(value));
    let had_committed = set_may_have_committed(true);
    let committed = transaction.execute("COMMIT", vec![]).await;
    transaction.set_busy(committed.is_err());
    let Transaction { connection, after_commit, proof, .. } = transaction;
    drop(connection);
    match committed {
        Ok(()) => {}
        Err(Error::Unavailable(cause)) => match look_up(proof).await {
            Some(true) => log::warn("the connection broke in COMMIT, which had succeeded", &cause),
            Some(false) => {
                set_may_have_committed(had_committed);
                return Err(Error::Unavailable(cause).into());
            }
            None => return Err(Error::OutcomeUnknown(cause).into()),
        },
        Err(error) => {
            set_may_have_committed(had_committed);
            return Err(error.into());
        }
    }
    if !after_commit.is_empty() {
        without_deadline(async move { drop(join_all(after_commit).await) }).await;
    }
    Ok(())
}

/// Whether the row that proves a commit exists; none if that can't be learnt in time.
async fn look_up(proof: Option<Query>) -> Option<bool> {
    let (sql, params) = proof?;
    let started = Instant::now();
    while started.elapsed() < LOOK_UP_TIME && check_time().is_ok() {
        match exists(sql, params.clone()).await {
            Ok(exists) => return Some(exists),
            Err(_) => wasip3::clocks::monotonic_clock::wait_for(LOOK_UP_PAUSE_NS).await,
        }
    }
    None
}

async fn exists(sql: &str, params: Vec<ParameterValue>) -> Result<bool> {
    Ok(!pool::connection().await?.query::<(i64,)>(sql, params).await?.is_empty())
}
