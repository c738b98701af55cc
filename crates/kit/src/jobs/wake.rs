//! Waking workers: at once by a message, or later by a key in Redis database 1 whose expiry wakes `timer`.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use super::queue::{Queue, due};
use crate::{
    Result, Timestamp, log,
    redis::{self, Reply, Script, arg, int},
};

/// The time between two heartbeats, in milliseconds; see [`heartbeat`].
const HEARTBEAT_MS: i64 = 5000;
/// Jobs that become due within a slot of this many milliseconds share a key.
const SLOT_MS: i64 = 200;
/// A job that is due later than this gets no key: for such jobs the heartbeat is precise enough, and keys cost memory.
const LONGEST_KEY_MS: i64 = 3_600_000;
/// A job that has been due for longer than this is overdue: its wake-up was lost.
const OVERDUE_MS: i64 = 3000;

/// Wakes the workers of jobs that are due, and sets keys for jobs that are due later. ARGV: the heartbeat in
/// milliseconds; then for each job its queue, the milliseconds until it is due, and its slot. A queue has at most one
/// message pending, since the worker that it wakes does everything that is due.
static WAKE: Script = Script::new(
    r"
    local later = {}
    for i = 2, #ARGV, 3 do
        local queue, wait, slot = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
        if wait > 0 then
            table.insert(later, {'due:' .. slot, wait})
        elseif redis.call('SET', 'wake:' .. queue, '', 'NX', 'PX', 1000) then
            redis.call('PUBLISH', 'mall:' .. queue, '')
        end
    end
    redis.call('SELECT', 1)
    for _, key in ipairs(later) do redis.call('SET', key[1], '', 'NX', 'PX', key[2]) end
    if redis.call('SET', 'heartbeat', '', 'NX', 'PX', ARGV[1]) then return 1 end
    return 0",
);

/// Wakes the workers of committed jobs and, at most once a second, of overdue jobs. A failure only delays the jobs.
pub(super) async fn wake(jobs: Vec<(Queue, Timestamp)>) {
    if let Err(problem) = wake_all(&jobs).await {
        return log::warn("workers could not be woken", &problem);
    }
    if may_check_overdue() {
        log::warn_if_failed("overdue jobs could not be checked", wake_overdue().await);
    }
}

async fn wake_overdue() -> Result<()> {
    let overdue = due(OVERDUE_MS).await?;
    if overdue.is_empty() {
        return Ok(());
    }
    warn_of_overdue(&overdue).await;
    let now = Timestamp::now();
    wake_all(&overdue.into_iter().map(|queue| (queue, now)).collect::<Vec<_>>()).await
}

/// Wakes a queue's worker for something other than a job.
pub async fn wake_queue(queue: Queue) -> Result<()> {
    wake_all(&[(queue, Timestamp::now())]).await
}

/// Clears the mark of the pending message: from now on a new job sends another one.
pub(super) async fn clear_wake(queue: Queue) -> Result<()> {
    redis::command("DEL", vec![arg(format!("wake:{}", queue.name()))]).await.map(drop)
}

async fn wake_all(jobs: &[(Queue, Timestamp)]) -> Result<()> {
    let now = Timestamp::now();
    let mut values = vec![int(HEARTBEAT_MS)];
    for (queue, due) in jobs {
        let slot = slot(*due);
        let wait = if due.0 <= now.0 { 0 } else { slot.end().0.saturating_sub(now.0) };
        if wait <= LONGEST_KEY_MS {
            values.extend([arg(queue.name()), int(wait), int(slot.0)]);
        }
    }
    WAKE.run(&[], values).await.map(drop)
}

/// A time slot: the number of slots since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot(i64);

fn slot(due: Timestamp) -> Slot {
    Slot(due.0.div_euclid(SLOT_MS))
}

impl Slot {
    fn end(self) -> Timestamp {
        Timestamp(self.0.saturating_add(1).saturating_mul(SLOT_MS))
    }
}

/// Warns at most once an hour in the whole shop.
async fn warn_of_overdue(overdue: &[Queue]) {
    const KEY: &str = "warned:overdue";
    let first = redis::command("SET", vec![arg(KEY), arg(""), arg("NX"), arg("EX"), int(3600)]).await;
    if first.is_ok_and(|reply| reply.text(0) == Some("OK")) {
        let names: Vec<_> = overdue.iter().map(|queue| queue.name()).collect();
        log::warn(
            "jobs are overdue: check that the workers run and that Redis has keyspace notifications enabled (Ex)",
            &names.join(", "),
        );
    }
}

/// True at most once a second in an instance.
fn may_check_overdue() -> bool {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let Ok(mut last) = LAST.lock() else { return false };
    let may_check = last.is_none_or(|last| last.elapsed() >= Duration::from_secs(1));
    if may_check {
        *last = Some(Instant::now());
    }
    may_check
}

/// Sets the heartbeat key unless it exists. It expires after five seconds, and its expiry wakes `timer`, which calls
/// this function again. So a lost message delays a job only by seconds. If this cycle is interrupted, the next job or
/// request of `/ready` restarts it. An error if Redis does not answer.
pub async fn heartbeat() -> Result<()> {
    wake_all(&[]).await
}

/// Wakes the workers of all queues but `except` that have jobs due.
pub async fn wake_due(except: Queue) -> Result<()> {
    let now = Timestamp::now();
    let due: Vec<_> = due(0).await?.into_iter().filter(|queue| *queue != except).map(|queue| (queue, now)).collect();
    if due.is_empty() { Ok(()) } else { wake_all(&due).await }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_ends_after_the_jobs_in_it() {
        for due in [0, 1, 199, 200, 201, 1_795_235_760_123] {
            let end = slot(Timestamp(due)).end().0;
            assert!(end > due && end <= due + SLOT_MS, "{due}: {end}");
        }
    }
}
