//! Deletes what is no longer needed, and adds up the ledger: once an hour, in small batches.

use std::time::{Duration, Instant};

use accounts::retention;
use kit::{
    Result, Timestamp, idempotency,
    jobs::{self, Job, Queue},
    log,
    mysql::{self, Transaction},
};
use serde::{Deserialize, Serialize};

kit::worker!(work);

/// The most rows that a transaction deletes.
const BATCH: i64 = 500;
/// How long it deletes at a time: less than the lease of its job.
const TIME_BOX: Duration = Duration::from_secs(5);
const INTERVAL_SECONDS: i64 = 60 * 60;

/// The job, of which there is always one. A migration enqueues the first; each enqueues the next.
#[derive(Serialize, Deserialize)]
struct DeleteOld {}

pub async fn work(_: Vec<u8>) -> Result<()> {
    jobs::work(Queue::Retention, async |job: &Job, task: &DeleteOld| {
        let delete_again = delete_old().await.then_some(1);
        let add_up_again = add_up_ledger().await.map(|seconds| seconds.max(1));
        let pause_seconds = delete_again.into_iter().chain(add_up_again).min().unwrap_or(INTERVAL_SECONDS);
        mysql::transaction(async |tx| {
            job.finish(tx).await?;
            tx.enqueue(&[Queue::Retention.job(task, Timestamp::now().plus_seconds(pause_seconds))?]).await
        })
        .await
    })
    .await
}

/// Returns whether there is more to delete.
async fn delete_old() -> bool {
    let deadline = Instant::now().checked_add(TIME_BOX);
    let mut more = false;
    more |= delete("idempotency keys", deadline, async |tx| idempotency::delete_expired(tx, BATCH).await).await;
    more |= delete("sessions", deadline, async |tx| retention::delete_ended_sessions(tx, BATCH).await).await;
    more |= delete("mailed tokens", deadline, async |tx| retention::delete_mailed_tokens(tx, BATCH).await).await;
    more |= delete("messages", deadline, async |tx| retention::delete_messages(tx, BATCH).await).await;
    more |= delete("dead jobs", deadline, async |tx| jobs::delete_old_dead(tx, BATCH).await).await;
    more
}

/// Returns after how many seconds there are more transfers to add up, if there are.
async fn add_up_ledger() -> Option<i64> {
    match mysql::transaction(async |tx| ledger::advance_checkpoint(tx).await).await {
        Ok(again) => again,
        Err(problem) => {
            log::warn("the ledger's transfers could not be added up", &problem);
            None
        }
    }
}

/// Deletes batches until nothing is left, or until the deadline; returns whether there is more. A failure must not keep
/// the rest from being deleted.
async fn delete(what: &str, deadline: Option<Instant>, batch: impl AsyncFn(&mut Transaction) -> Result<bool>) -> bool {
    loop {
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return true;
        }
        match mysql::transaction(&batch).await {
            Ok(true) => {}
            Ok(false) => return false,
            Err(problem) => {
                log::warn(&format!("old {what} could not be deleted"), &problem);
                return false;
            }
        }
    }
}
