//! Background jobs, and the workers that do them.
//!
//! A job is a row, written in the transaction that causes it ([`Transaction::enqueue`]): it exists if and only if that
//! transaction commits. After the commit a message in Redis wakes the queue's worker. A job that is due later gets a
//! key that expires when it is due, and the expiry wakes `timer` ([`wake`]). Messages may be lost, be delivered twice,
//! or reach every replica, which does no harm: a woken worker claims whatever is due ([`work`]), and a job is claimed
//! by one worker.
//!
//! A claimed job is leased. The lease expires, so the jobs of a killed worker become due again. The number of attempts
//! identifies a lease: only the worker that has the current one can finish the job ([`Job::finish`]).

mod counts;
mod dead;
mod job;
mod pacer;
mod queue;
mod wake;
mod worker;

pub use counts::{Counts, counts};
pub use dead::delete_old as delete_old_dead;
pub use job::{Job, NewJob};
pub use queue::Queue;
pub use wake::{heartbeat, wake_due, wake_queue};
pub use worker::{work, work_batched};

/// Makes an `async fn work(message: Vec<u8>) -> kit::Result<()>` the component's handler of Redis messages.
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
