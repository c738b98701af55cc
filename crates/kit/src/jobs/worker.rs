//! Running jobs.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use serde::de::DeserializeOwned;

use super::{
    job::{Claimed, Job, NEVER, claim},
    queue::Queue,
    wake::{clear_wake, wake, wake_queue},
};
use crate::{
    Result, Timestamp,
    context::{JobContext, scope_jobs},
    log,
    mysql::transaction,
    params, random,
};

/// After this many attempts a failing job is dead.
const MAX_ATTEMPTS: i64 = 8;
/// The backoff after the first failure; it doubles with each further one.
const FIRST_BACKOFF_MS: i64 = 1000;
const LONGEST_BACKOFF_MS: i64 = 600_000;
/// The most jobs that are claimed at once.
const BATCH: usize = 48;
/// How many jobs run concurrently. Each needs a connection, of which an instance has eight.
const CONCURRENCY: usize = 6;
/// After this time a worker wakes itself again and returns: the host delivers messages from one Redis address one after
/// the other, so other workers would wait.
const TIME_BOX: Duration = Duration::from_secs(1);

/// Does the due jobs of a queue for about a second, and wakes the worker again if there are more. `handle` does one job
/// and finishes it ([`Job::finish`]) in the transaction of its effect. It may be called twice for a job, even
/// concurrently by another worker. If it fails, the job is retried later.
pub async fn work<T: DeserializeOwned>(queue: Queue, handle: impl AsyncFn(&Job, T) -> Result<()>) -> Result<()> {
    work_batched(queue, |_| false, async |_| Ok(()), handle).await
}

/// Like [`work`], but jobs for which `can_batch` returns true are done together, which is cheaper: `handle_batch` does
/// them in one transaction and finishes them there ([`Job::finish_all`]). If that fails, `handle` does them one by one,
/// so that a bad job does not block the others.
pub async fn work_batched<T: DeserializeOwned>(
    queue: Queue,
    can_batch: impl Fn(&T) -> bool,
    handle_batch: impl AsyncFn(&[(Job, T)]) -> Result<()>,
    handle: impl AsyncFn(&Job, T) -> Result<()>,
) -> Result<()> {
    let started = Instant::now();
    log::warn_if_failed("the worker's wake-up could not be cleared", clear_wake(queue).await);
    loop {
        let jobs = transaction(async |tx| claim(tx, queue, BATCH).await).await?;
        let is_last = jobs.len() < BATCH;
        let (mut batch, mut contexts, mut single) = (Vec::new(), Vec::new(), Vec::new());
        for Claimed { job, context, payload } in jobs {
            match serde_json::from_str(&payload) {
                Ok(payload) if can_batch(&payload) => {
                    batch.push((job, payload));
                    contexts.push(context);
                }
                payload => single.push((job, context, payload)),
            }
        }
        if !batch.is_empty() {
            let started = Instant::now();
            match scope_jobs(contexts.iter().cloned(), handle_batch(&batch)).await {
                Ok(()) => log::jobs_done(&contexts, started.elapsed()),
                Err(problem) => {
                    log::warn(
                        &format!("a batch of {} failed, its jobs are retried one by one", queue.name()),
                        &problem,
                    );
                    let jobs = batch.into_iter().zip(contexts);
                    single.extend(jobs.map(|((job, payload), context)| (job, context, Ok(payload))));
                }
            }
        }
        let single = stream::iter(single);
        single
            .for_each_concurrent(CONCURRENCY, |(job, context, payload)| attempt(queue, job, context, payload, &handle))
            .await;
        if is_last {
            return Ok(());
        }
        if started.elapsed() >= TIME_BOX {
            return wake_queue(queue).await;
        }
    }
}

async fn attempt<T>(
    queue: Queue,
    job: Job,
    context: JobContext,
    payload: serde_json::Result<T>,
    handle: &impl AsyncFn(&Job, T) -> Result<()>,
) {
    let started = Instant::now();
    let (error, may_retry) = match payload {
        Ok(payload) => match scope_jobs([context.clone()], handle(&job, payload)).await {
            Ok(()) => return log::jobs_done([&context], started.elapsed()),
            Err(problem) => (problem.to_string(), true),
        },
        Err(error) => (format!("the payload is invalid: {error}"), false),
    };
    let will_retry = may_retry && job.attempt < MAX_ATTEMPTS;
    log::job_failed(&context, &error, will_retry, started.elapsed());
    // If this fails, too, the lease expires.
    let rescheduled = scope_jobs([context], reschedule(queue, &job, &error, will_retry));
    log::warn_if_failed("a failed job could not be rescheduled", rescheduled.await);
}

/// Schedules the next attempt, or marks the job as dead.
async fn reschedule(queue: Queue, job: &Job, error: &str, will_retry: bool) -> Result<()> {
    const RESCHEDULE: &str = "UPDATE jobs SET state = ?, due_at = ?, last_error = ? WHERE id = ? AND attempts = ?";
    let jitter = random::bytes::<1>().map_or(0, |[byte]| i64::from(byte));
    let due = Timestamp::now().0.saturating_add(backoff_ms(job.attempt, jitter));
    let (state, due) = if will_retry { ("queued", due) } else { ("dead", NEVER) };
    let error: String = error.chars().take(500).collect();
    transaction(async |tx| {
        tx.execute(RESCHEDULE, params![state, due, error.as_str(), job.id, job.attempt]).await?;
        if will_retry {
            tx.after_commit(wake(vec![(queue, Timestamp(due))]));
        }
        Ok(())
    })
    .await
}

/// The time until the next attempt, in milliseconds: exponential backoff with "equal jitter", half of which is random,
/// so that jobs which failed together are not retried together. `jitter` is 0 to 255.
fn backoff_ms(attempts: i64, jitter: i64) -> i64 {
    let doublings = u32::try_from(attempts.saturating_sub(1).clamp(0, 20)).unwrap_or_default();
    let whole = FIRST_BACKOFF_MS.saturating_mul(2_i64.saturating_pow(doublings)).min(LONGEST_BACKOFF_MS);
    let half = whole / 2;
    half.saturating_add(half.saturating_mul(jitter) / 255)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_up_to_its_limit() {
        assert_eq!((backoff_ms(1, 0), backoff_ms(1, 255)), (500, 1000));
        assert_eq!((backoff_ms(4, 0), backoff_ms(4, 255)), (4000, 8000));
        assert_eq!(backoff_ms(i64::MAX, 255), LONGEST_BACKOFF_MS);
        assert_eq!(backoff_ms(0, 255), FIRST_BACKOFF_MS);
    }
}
