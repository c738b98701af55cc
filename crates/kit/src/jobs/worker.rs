//! Running jobs.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use serde::de::DeserializeOwned;

use super::{
    job::{Claimed, Job, NEVER, claim},
    pacer::Pacer,
    queue::Queue,
    wake::{clear_wake, wake, wake_queue},
};
use crate::{
    Problem, Result, Timestamp,
    context::{JobContext, scope_jobs},
    log,
    mysql::transaction,
    params, random,
};

/// A job that still fails this long after its first attempt is dead, in milliseconds: an outage of a mail service or of
/// a payment provider is shorter.
const RETRIED_FOR_MS: i64 = 24 * 60 * 60 * 1000;
/// The backoff after the first failure; it doubles with each further one.
const FIRST_BACKOFF_MS: i64 = 1000;
const LONGEST_BACKOFF_MS: i64 = 2 * 60 * 60 * 1000;
/// The most jobs that are claimed at once. Those that are done one by one must all be done before their lease ends.
const MOST_SINGLE: usize = 48;
/// Larger batches would hardly be faster, and other transactions would wait longer for the rows that a batch locks.
const MOST_BATCHED: usize = 200;
/// How many jobs run concurrently. Each needs a connection, of which an instance has eight.
const CONCURRENCY: usize = 6;
/// After this time a worker wakes itself again and returns: the host delivers messages from one Redis address one after
/// the other, so other workers would wait.
const TIME_BOX: Duration = Duration::from_secs(1);

/// Does the due jobs of a queue for about a second, and wakes the worker again if there are more. `handle` does one job
/// and finishes it ([`Job::finish`]) in the transaction of its effect. It may be called twice for a job, even
/// concurrently by another worker. If it fails, the job is retried later, for a day; if it is refused (4xx), it would
/// be refused again, and the job is dead at once.
pub async fn work<T: DeserializeOwned>(queue: Queue, handle: impl AsyncFn(&Job, &T) -> Result<()>) -> Result<()> {
    let handle_one = async |jobs: &[(Job, T)]| match jobs {
        [(job, payload)] => handle(job, payload).await,
        _ => Err(Problem::internal().because("these jobs are done one by one")),
    };
    run(queue, MOST_SINGLE, |_| None::<()>, handle_one).await
}

/// Like [`work`], but jobs of the same kind are done together, which is much cheaper: `handle` gets several jobs of a
/// kind, does them in one transaction and finishes them there ([`Job::finish_all`]). A job that has no kind is done on
/// its own.
///
/// If a batch fails, it is halved until the job that makes it fail is on its own, so that it holds up no other. A job
/// that was tried before is on its own, too: it may be one that ends the worker.
pub async fn work_batched<T: DeserializeOwned, K: PartialEq>(
    queue: Queue,
    kind: impl Fn(&T) -> Option<K>,
    handle: impl AsyncFn(&[(Job, T)]) -> Result<()>,
) -> Result<()> {
    run(queue, MOST_BATCHED, kind, handle).await
}

async fn run<T: DeserializeOwned, K: PartialEq>(
    queue: Queue,
    most: usize,
    kind: impl Fn(&T) -> Option<K>,
    handle: impl AsyncFn(&[(Job, T)]) -> Result<()>,
) -> Result<()> {
    let started = Instant::now();
    log::warn_if_failed("the worker's wake-up could not be cleared", clear_wake(queue).await);
    let mut pacer = None;
    loop {
        let jobs = transaction(async |tx| claim(tx, queue, most).await).await?;
        let is_last = jobs.len() < most;
        let mut batches: Vec<(K, Batch<T>)> = Vec::new();
        let mut single = Vec::new();
        for Claimed { job, is_retry, context, payload } in jobs {
            match serde_json::from_str(&payload) {
                Ok(payload) => match kind(&payload).filter(|_| !is_retry) {
                    Some(kind) => match batches.iter_mut().find(|(other, _)| *other == kind) {
                        Some((_, batch)) => batch.push(job, payload, context),
                        None => batches.push((kind, Batch::of_one(job, payload, context))),
                    },
                    None => single.push(Batch::of_one(job, payload, context)),
                },
                Err(error) => {
                    fail(queue, &job, &context, &format!("the payload is invalid: {error}"), false, Duration::ZERO)
                        .await
                }
            }
        }
        if !is_last && !batches.is_empty() && pacer.is_none() {
            pacer = Some(Pacer::start().await);
        }
        let batches_began = Instant::now();
        for (_, batch) in batches {
            do_batch(queue, batch, &handle).await;
        }
        let batches_took = batches_began.elapsed();
        stream::iter(single).for_each_concurrent(CONCURRENCY, |batch| do_batch(queue, batch, &handle)).await;
        if is_last {
            return Ok(());
        }
        if let Some(pacer) = &mut pacer {
            pacer.pause(batches_took).await;
        }
        if started.elapsed() >= TIME_BOX {
            return wake_queue(queue).await;
        }
    }
}

/// Jobs that are done together, with their contexts.
struct Batch<T> {
    jobs: Vec<(Job, T)>,
    contexts: Vec<JobContext>,
}

impl<T> Batch<T> {
    fn of_one(job: Job, payload: T, context: JobContext) -> Self {
        Batch { jobs: vec![(job, payload)], contexts: vec![context] }
    }

    fn push(&mut self, job: Job, payload: T, context: JobContext) {
        self.jobs.push((job, payload));
        self.contexts.push(context);
    }

    /// Removes the second half.
    fn split_half(&mut self) -> Self {
        let half = self.jobs.len() / 2;
        Batch { jobs: self.jobs.split_off(half), contexts: self.contexts.split_off(half) }
    }
}

async fn do_batch<T>(queue: Queue, batch: Batch<T>, handle: &impl AsyncFn(&[(Job, T)]) -> Result<()>) {
    let mut parts = vec![batch];
    while let Some(mut part) = parts.pop() {
        let started = Instant::now();
        let Err(problem) = scope_jobs(part.contexts.iter().cloned(), handle(&part.jobs)).await else {
            log::jobs_done(&part.contexts, started.elapsed());
            continue;
        };
        match (part.jobs.as_slice(), part.contexts.as_slice()) {
            ([(job, _)], [context]) => {
                let may_retry = !problem.code.status_and_title().0.is_client_error();
                fail(queue, job, context, &problem.to_string(), may_retry, started.elapsed()).await;
            }
            // The database failed, not a job. When their leases end, the jobs are due again.
            _ if problem.is_outage() => {
                log::warn(&format!("a batch of {} failed and will be retried", queue.name()), &problem);
            }
            _ => {
                let second = part.split_half();
                parts.extend([second, part]);
            }
        }
    }
}

async fn fail(queue: Queue, job: &Job, context: &JobContext, error: &str, may_retry: bool, took: Duration) {
    let will_retry = may_retry && Timestamp::now().0.saturating_sub(job.first_tried_at.0) < RETRIED_FOR_MS;
    log::job_failed(context, error, will_retry, took);
    // If this fails, too, the lease expires.
    let rescheduled = scope_jobs([context.clone()], reschedule(queue, job, error, will_retry));
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
    fn a_failing_job_is_tried_some_thirty_times_in_a_day() {
        for (jitter, expected) in [(0, 30..=40), (127, 26..=32), (255, 20..=26)] {
            let attempts = (1..).scan(0, |at, attempt| {
                let tried = *at;
                *at += backoff_ms(attempt, jitter);
                Some(tried)
            });
            let attempts = attempts.take_while(|at| *at < RETRIED_FOR_MS).count() + 1;
            assert!(expected.contains(&attempts), "{attempts}");
        }
    }

    #[test]
    fn backoff_grows_up_to_its_limit() {
        assert_eq!((backoff_ms(1, 0), backoff_ms(1, 255)), (500, 1000));
        assert_eq!((backoff_ms(4, 0), backoff_ms(4, 255)), (4000, 8000));
        assert_eq!(backoff_ms(i64::MAX, 255), LONGEST_BACKOFF_MS);
        assert_eq!(backoff_ms(0, 255), FIRST_BACKOFF_MS);
    }
}
