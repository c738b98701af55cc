//! What happens after the reply: jobs, and the workers that do them.
//!
//! A job is a row, written in the transaction that causes it ([`Transaction::enqueue`]): it exists if and only if its
//! cause does. After the commit a message in Redis wakes the queue's worker; a job that is due later gets a key that
//! expires then, whose expiry wakes `timer` ([`wake`]). Messages may be lost, come twice, and reach every replica: a worker
//! claims whatever is due ([`work`]), and claiming divides the work.
//!
//! A worker leases jobs. The lease ends by itself, so the jobs of a worker that was killed come back. The number of
//! attempts tells one lease from the next, so that of two workers only one finishes the job ([`Job::finish`]).

mod queue;
mod wake;
mod worker;

pub use queue::{Counts, Job, NewJob, Queue, counts};
pub use wake::{heartbeat, wake_due, wake_queue};
pub use worker::{work, work_batched};

/// Turns an `async fn work(message: Vec<u8>) -> kit::Result<()>` into the function that a message wakes.
#[macro_export]
macro_rules! worker {
    ($work:path) => {
        #[cfg(target_family = "wasm")]
        #[spin_sdk::redis_subscriber]
        async fn handle(message: Vec<u8>) -> Result<(), &'static str> {
            $work(message).await.map_err(|problem: $crate::Problem| {
                $crate::log::error("the worker failed", &problem);
                "the worker failed"
            })
        }
    };
}
