//! Waking workers: by a message now, or by a key in Redis database 1 that expires later and so wakes `timer`.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use super::queue::{Queue, due};
use crate::{
    Result, Timestamp, log,
    redis::{self, Reply, Script, arg, int},
};

/// Between two heartbeats; see [`heartbeat`].
const HEARTBEAT_MS: i64 = 5000;
/// Jobs that become due within such a time slot share a key.
const SLOT_MS: i64 = 200;
/// What is due later than that has no key of its own: the heartbeat is punctual enough, and keys cost memory.
const LONGEST_KEY_MS: i64 = 3_600_000;
/// Nobody was woken for what has been due for so long.
const OVERDUE_MS: i64 = 3000;

/// Wakes the workers of what is due, and sets keys for what is due later. ARGV: the heartbeat's milliseconds; then of each
/// queue its name, the milliseconds until its job is due, and the slot. A queue has one message pending at a time: the
/// worker that it wakes does everything that is due.
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

/// Wakes the workers of jobs that were committed, and now and then those of overdue jobs. A failure costs time, not the
/// job.
pub(super) async fn wake(jobs: Vec<(Queue, Timestamp)>) {
    if let Err(problem) = wake_all(&jobs).await {
        return log::warn("workers could not be woken", &problem);
    }
    if is_time_to_look() {
        log::warn_if_failed("overdue jobs could not be looked for", wake_overdue().await);
    }
}

async fn wake_overdue() -> Result<()> {
    let overdue = due(OVERDUE_MS).await?;
    if overdue.is_empty() {
        return Ok(());
    }
    warn_about(&overdue).await;
    let now = Timestamp::now();
    wake_all(&overdue.into_iter().map(|queue| (queue, now)).collect::<Vec<_>>()).await
}

/// Wakes a queue's worker for something other than a job.
pub async fn wake_queue(queue: Queue) -> Result<()> {
    wake_all(&[(queue, Timestamp::now())]).await
}

/// Lets the next message wake the worker, who has been woken.
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

/// A time slot, by its number since 1970.
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

/// At most once an hour in the whole shop.
async fn warn_about(overdue: &[Queue]) {
    const KEY: &str = "warned:overdue";
    let first = redis::command("SET", vec![arg(KEY), arg(""), arg("NX"), arg("EX"), int(3600)]).await;
    if first.is_ok_and(|reply| reply.text(0) == Some("OK")) {
        let names: Vec<_> = overdue.iter().map(|queue| queue.name()).collect();
        log::warn(
            "jobs are overdue and timers are coarse: check that the workers run and that Redis has keyspace notifications enabled (Ex)",
            &names.join(", "),
        );
    }
}

/// At most once a second in an instance.
fn is_time_to_look() -> bool {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let Ok(mut last) = LAST.lock() else { return false };
    let is_time = last.is_none_or(|last| last.elapsed() >= Duration::from_secs(1));
    if is_time {
        *last = Some(Instant::now());
    }
    is_time
}

/// The heartbeat: a key that expires every five seconds, whose expiry wakes `timer`, which calls this. It sets the key
/// again, so that a lost message costs seconds. If the chain breaks, the next order or `/ready` starts it again. An error
/// if Redis does not answer.
pub async fn heartbeat() -> Result<()> {
    wake_all(&[]).await
}

/// Wakes the workers of all other queues that have jobs due.
pub async fn wake_due(except: Queue) -> Result<()> {
    let now = Timestamp::now();
    let due: Vec<_> = due(0).await?.into_iter().filter(|queue| *queue != except).map(|queue| (queue, now)).collect();
    if due.is_empty() { Ok(()) } else { wake_all(&due).await }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_ends_after_what_is_in_it() {
        for due in [0, 1, 199, 200, 201, 1_795_235_760_123] {
            let end = slot(Timestamp(due)).end().0;
            assert!(end > due && end <= due + SLOT_MS, "{due}: {end}");
        }
    }
}
