//! Jobs, as rows of `jobs`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde::{Deserialize, Serialize};

use super::{queue::Queue, wake::wake};
use crate::{
    Problem, Result, Timestamp,
    context::{JobContext, Origin, origin_for},
    mysql::{Transaction, param, placeholders},
    params, row,
};

impl Queue {
    /// A job for this queue, due at `due`.
    pub fn job(self, payload: &impl Serialize, due: Timestamp) -> Result<NewJob> {
        let payload = serde_json::to_string(payload).map_err(|error| Problem::internal().because(error))?;
        Ok(NewJob { queue: self, payload, due })
    }
}

/// The due time of a dead job.
pub(super) const NEVER: i64 = i64::MAX;
/// The lease of the jobs that are claimed together, in milliseconds.
const LEASE_MS: i64 = 15_000;

/// A job to be enqueued.
#[derive(Debug)]
pub struct NewJob {
    queue: Queue,
    payload: String,
    due: Timestamp,
}

impl Transaction {
    /// Enqueues jobs, at least one, which are done if this transaction commits. They carry the ids of the request that
    /// caused them.
    pub async fn enqueue(&mut self, jobs: &[NewJob]) -> Result<()> {
        let now = Timestamp::now();
        let rows = vec!["(?, 'queued', ?, ?, ?, ?, ?)"; jobs.len()].join(", ");
        let sql = format!(
            "INSERT INTO jobs (queue, state, due_at, payload, created_at, request_id, traceparent) VALUES {rows}"
        );
        let values = jobs.iter().flat_map(|job| {
            let origin = origin_for(order_no(&job.payload).as_deref());
            let (request_id, traceparent) =
                origin.map_or((None, None), |origin| (Some(origin.request_id), Some(origin.traceparent)));
            params![job.queue, job.due, &job.payload, now, request_id, traceparent]
        });
        self.execute(&sql, values.collect()).await?;
        wake_after_commit(self, jobs);
        Ok(())
    }
}

/// The due jobs of a transaction.
#[derive(Clone, Default)]
struct DueJobs(Arc<Mutex<Vec<(Queue, Timestamp)>>>);

/// Wakes the workers of all jobs of a transaction together.
fn wake_after_commit(tx: &mut Transaction, jobs: &[NewJob]) {
    let due_jobs = match tx.extensions.get::<DueJobs>() {
        Some(due_jobs) => due_jobs.clone(),
        None => {
            let due_jobs = DueJobs::default();
            tx.extensions.insert(due_jobs.clone());
            let all = due_jobs.clone();
            tx.after_commit(async move {
                let all = all.0.lock().map(|mut all| std::mem::take(&mut *all)).unwrap_or_default();
                wake(all).await;
            });
            due_jobs
        }
    };
    if let Ok(mut due_jobs) = due_jobs.0.lock() {
        for job in jobs {
            if !due_jobs.contains(&(job.queue, job.due)) {
                due_jobs.push((job.queue, job.due));
            }
        }
    };
}

/// The order that a job is about, if its payload names one.
fn order_no(payload: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Payload {
        order_no: Option<String>,
    }
    serde_json::from_str::<Payload>(payload).ok()?.order_no
}

/// A leased job.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    pub id: i64,
    /// The number of this attempt, from 1.
    pub(super) attempt: i64,
    pub(super) first_tried_at: Timestamp,
}

row! {
    struct Lease { id: i64, attempts: i64 }
}

impl Job {
    /// Deletes the job, in the transaction of its effect. An error if the lease has passed to another worker: then this
    /// transaction must be rolled back.
    pub async fn finish(&self, tx: &mut Transaction) -> Result<()> {
        Self::finish_all(std::slice::from_ref(self), tx).await
    }

    /// The same for several jobs, at least one.
    pub async fn finish_all(jobs: &[Job], tx: &mut Transaction) -> Result<()> {
        let attempts: BTreeMap<_, _> = jobs.iter().map(|job| (job.id, job.attempt)).collect();
        let (ids, list): (Vec<_>, _) = (attempts.keys().map(|id| param(*id)).collect(), placeholders(attempts.len()));
        let lock = format!("SELECT id, attempts FROM jobs WHERE id IN ({list}) ORDER BY id FOR UPDATE");
        let found = tx.query::<Lease>(&lock, ids.clone()).await?;
        if !attempts.into_iter().eq(found.into_iter().map(|lease| (lease.id, lease.attempts))) {
            return Err(Problem::internal().because("the lease of the job has ended"));
        }
        Ok(tx.execute(&format!("DELETE FROM jobs WHERE id IN ({list})"), ids).await?)
    }
}

row! {
    struct JobRow {
        id: i64, payload: String, attempts: i64, first_tried_at: Option<Timestamp>,
        request_id: Option<String>, traceparent: Option<String>,
    }
}

/// A claimed job, with its payload.
pub(super) struct Claimed {
    pub job: Job,
    /// Whether it has been claimed before.
    pub is_retry: bool,
    pub context: JobContext,
    pub payload: String,
}

/// Leases up to `limit` jobs that are due, the oldest first.
pub(super) async fn claim(tx: &mut Transaction, queue: Queue, limit: usize) -> Result<Vec<Claimed>> {
    let due = format!(
        "SELECT {} FROM jobs WHERE queue = ? AND due_at <= ? ORDER BY due_at LIMIT ? FOR UPDATE SKIP LOCKED",
        JobRow::COLUMNS
    );
    let now = Timestamp::now();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = tx.query::<JobRow>(&due, params![queue, now, limit]).await?;
    if !rows.is_empty() {
        let lease = format!(
            "UPDATE jobs SET state = 'leased', due_at = ?, attempts = attempts + 1,
                             first_tried_at = COALESCE(first_tried_at, ?)
             WHERE id IN ({})",
            placeholders(rows.len())
        );
        let mut values = params![now.0.saturating_add(LEASE_MS), now];
        values.extend(rows.iter().map(|row| param(row.id)));
        tx.execute(&lease, values).await?;
    }
    Ok(rows.into_iter().map(|row| claimed(queue, row, now)).collect())
}

fn claimed(queue: Queue, row: JobRow, now: Timestamp) -> Claimed {
    let attempt = row.attempts.saturating_add(1);
    let origin = row.request_id.zip(row.traceparent);
    let context = JobContext {
        job_id: row.id,
        queue: queue.name(),
        attempt,
        order_no: order_no(&row.payload),
        origin: origin.map(|(request_id, traceparent)| Origin { request_id, traceparent }),
    };
    let job = Job { id: row.id, attempt, first_tried_at: row.first_tried_at.unwrap_or(now) };
    Claimed { job, is_retry: row.first_tried_at.is_some(), context, payload: row.payload }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_may_name_an_order() {
        assert_eq!(order_no(r#"{"do":"ship","order_no":"01X"}"#).as_deref(), Some("01X"));
        assert_eq!(order_no(r#"{"activity_id":1}"#), None);
        assert_eq!(order_no("no JSON"), None);
    }
}
