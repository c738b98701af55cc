//! What happens after the reply: jobs, and the bells that wake who does them.
//!
//! A job is a row, written in the transaction that causes it ([`Transaction::enqueue`]): it is there if and only if its
//! cause is. After the commit a bell is rung in Redis, which wakes the queue's worker; a job that is due later gets a
//! key that expires then, whose expiry wakes `timer`, which rings for it. Bells may be lost, come twice, and be heard by
//! every replica: a worker takes whatever is due ([`work`]), and taking is what divides the work.
//!
//! A worker leases jobs. The lease ends by itself, so that the jobs of a worker that was killed come back; the count of
//! attempts tells a lease from the next one, so that of two workers one finishes ([`Job::finish`]).

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Code, Problem, Result, Timestamp, log,
    mysql::{self, Transaction, marks, param},
    opaque, params,
    redis::{self, Reply, Script, arg, int},
    row,
};

/// Who does a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    Drain,
    Fulfil,
    Notify,
    Timer,
}

impl Queue {
    pub const ALL: [Queue; 4] = [Queue::Drain, Queue::Fulfil, Queue::Notify, Queue::Timer];

    /// The name of its function. Its channel is `mall:<name>`.
    pub fn name(self) -> &'static str {
        match self {
            Queue::Drain => "drain",
            Queue::Fulfil => "fulfil",
            Queue::Notify => "notify",
            Queue::Timer => "timer",
        }
    }
}

/// A job that fails is tried so often in all, then kept as dead.
const MAX_ATTEMPTS: i64 = 8;
/// The wait after the first failure; it doubles with each.
const FIRST_BACKOFF_MS: i64 = 1000;
const LONGEST_BACKOFF_MS: i64 = 600_000;
/// How long a worker has for the jobs that it took at once.
const LEASE_MS: i64 = 15_000;
const BATCH: usize = 48;
/// Jobs of a batch that are worked on at once; each needs a connection, of which an instance has eight.
const AT_ONCE: usize = 6;
/// After that long a worker rings for itself instead of going on: messages of one address wait for each other.
const TIME_BOX: Duration = Duration::from_secs(1);
/// A dead job is never due.
const NEVER: i64 = i64::MAX;

/// Between two heartbeats; see [`beat`].
const HEARTBEAT_MS: i64 = 5000;
/// Jobs that become due within such a span share a key.
const SLOT_MS: i64 = 200;
/// What is due later than that has no key of its own: the heartbeat is punctual enough, and keys cost memory.
const LONGEST_KEY_MS: i64 = 3_600_000;
/// What has been due for so long was not rung for.
const OVERDUE_MS: i64 = 3000;

/// A job to be done.
#[derive(Debug)]
pub struct NewJob {
    queue: Queue,
    payload: String,
    due: Timestamp,
}

impl Queue {
    /// A job for this queue, to be done from `due` on.
    pub fn job(self, payload: &impl Serialize, due: Timestamp) -> Result<NewJob> {
        let payload = serde_json::to_string(payload).map_err(|_| Problem::internal())?;
        Ok(NewJob { queue: self, payload, due })
    }
}

impl Transaction {
    /// Has jobs done, at least one, if this transaction commits.
    pub async fn enqueue(&mut self, jobs: &[NewJob]) -> Result<()> {
        let now = Timestamp::now();
        let rows = vec!["(?, 'queued', ?, ?, ?)"; jobs.len()].join(", ");
        let sql = format!("INSERT INTO jobs (queue, state, due_at, payload, created_at) VALUES {rows}");
        let values = jobs.iter().flat_map(|job| params![job.queue.name(), job.due, &job.payload, now]).collect();
        self.execute(&sql, values).await?;
        for NewJob { queue, due, .. } in jobs {
            if !self.bells.contains(&(*queue, *due)) {
                self.bells.push((*queue, *due));
            }
        }
        Ok(())
    }
}

/// Rings for what is due, and sets keys for what is due later. ARGV: the heartbeat's milliseconds, then pairs of queue
/// and milliseconds until the job is due, then the slot. One bell of a queue is pending at a time: what was rung for is
/// taken along by whoever comes.
static RING: Script = Script::new(
    r"
    local later = {}
    for i = 2, #ARGV, 3 do
        local queue, wait, slot = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
        if wait > 0 then
            table.insert(later, {'due:' .. slot, wait})
        elseif redis.call('SET', 'bell:' .. queue, '', 'NX', 'PX', 1000) then
            redis.call('PUBLISH', 'mall:' .. queue, '')
        end
    end
    redis.call('SELECT', 1)
    for _, key in ipairs(later) do redis.call('SET', key[1], '', 'NX', 'PX', key[2]) end
    if redis.call('SET', 'heartbeat', '', 'NX', 'PX', ARGV[1]) then return 1 end
    return 0",
);

/// Rings for jobs that were committed, and now and then for what nobody rang for. A bell that fails costs time, not
/// the job: the log has the reason.
pub(crate) async fn ring(bells: &[(Queue, Timestamp)]) {
    if bells.is_empty() || ring_all(bells).await.is_err() || !is_time_to_look() {
        return;
    }
    if let Ok(overdue) = due(OVERDUE_MS).await
        && !overdue.is_empty()
    {
        warn_of(&overdue).await;
        let now = Timestamp::now();
        let _ = ring_all(&overdue.into_iter().map(|queue| (queue, now)).collect::<Vec<_>>()).await;
    }
}

/// Rings for a queue, for what is no job.
pub async fn ring_now(queue: Queue) -> Result<()> {
    ring_all(&[(queue, Timestamp::now())]).await.map(drop)
}

/// Rings; whether the heart stood still.
async fn ring_all(bells: &[(Queue, Timestamp)]) -> Result<bool> {
    let now = Timestamp::now();
    let mut values = vec![int(HEARTBEAT_MS)];
    for (queue, due) in bells {
        let slot = slot(*due);
        let wait = if due.0 <= now.0 { 0 } else { slot.end().0.saturating_sub(now.0) };
        if wait <= LONGEST_KEY_MS {
            values.extend([arg(queue.name()), int(wait), int(slot.0)]);
        }
    }
    let reply = RING.run(&[], values).await?;
    Ok(reply.int(0) == Some(1))
}

/// A span of time, by its number since 1970.
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

/// Once in an hour for the whole shop.
async fn warn_of(overdue: &[Queue]) {
    const KEY: &str = "warned:overdue";
    let first = redis::command("SET", vec![arg(KEY), arg(""), arg("NX"), arg("EX"), int(3600)]).await;
    if first.is_ok_and(|reply| reply.text(0) == Some("OK")) {
        let names: Vec<_> = overdue.iter().map(|queue| queue.name()).collect();
        log::warn(
            "jobs have been due for seconds, orders ring for them, timers are coarse: do the workers run, and does Redis tell of keys that expire?",
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

/// The queues with jobs that have been due for so long.
async fn due(for_ms: i64) -> Result<Vec<Queue>> {
    const DUE: &str = "SELECT EXISTS (SELECT 1 FROM jobs WHERE queue = ? AND due_at <= ?) AS due";
    let before = Timestamp(Timestamp::now().0.saturating_sub(for_ms));
    let sql = vec![DUE; Queue::ALL.len()].join(" UNION ALL ");
    let values = Queue::ALL.iter().flat_map(|queue| params![queue.name(), before]).collect();
    let found = mysql::connection().await?.query::<(bool,)>(&sql, values).await?;
    Ok(Queue::ALL.into_iter().zip(found).filter(|(_, (due,))| *due).map(|(queue, _)| queue).collect())
}

/// The heartbeat: a key that expires every five seconds, whose expiry wakes `timer`, which calls this. It sets the key
/// again and rings for what is due, so that a lost bell costs seconds. If the chain breaks, the next order mends it, and
/// so does `/ready`. An error if Redis does not answer.
pub async fn beat() -> Result<()> {
    ring_all(&[]).await.map(drop)
}

/// Rings for whatever is due in other queues.
pub async fn ring_due(but: Queue) -> Result<()> {
    let now = Timestamp::now();
    let due: Vec<_> = due(0).await?.into_iter().filter(|queue| *queue != but).map(|queue| (queue, now)).collect();
    if !due.is_empty() {
        ring_all(&due).await?;
    }
    Ok(())
}

row! {
    #[derive(Debug)]
    struct JobRow { id: i64, payload: String, attempts: i64 }
}

row! {
    struct Lease { id: i64, attempts: i64 }
}

/// A job under lease.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    pub id: i64,
    /// This one included.
    attempts: i64,
}

impl Job {
    /// Ends the job, in the transaction of its effect. An error if its lease has gone to another: then nothing may be
    /// done.
    pub async fn finish(&self, tx: &mut Transaction) -> Result<()> {
        Self::finish_all(std::slice::from_ref(self), tx).await
    }

    /// The same with many, at least one.
    pub async fn finish_all(jobs: &[Job], tx: &mut Transaction) -> Result<()> {
        let attempts: BTreeMap<_, _> = jobs.iter().map(|job| (job.id, job.attempts)).collect();
        let (ids, marks): (Vec<_>, _) = (attempts.keys().map(|id| param(*id)).collect(), marks(attempts.len()));
        let lock = format!("SELECT id, attempts FROM jobs WHERE id IN ({marks}) ORDER BY id FOR UPDATE");
        let found = tx.query::<Lease>(&lock, ids.clone()).await?;
        if !attempts.into_iter().eq(found.into_iter().map(|lease| (lease.id, lease.attempts))) {
            return Err(Problem::new(Code::Unavailable, "The lease of the job has ended"));
        }
        Ok(tx.execute(&format!("DELETE FROM jobs WHERE id IN ({marks})"), ids).await?)
    }
}

/// Does what is due in a queue, for about a second; rings again if there is more. `handle` does one job and finishes it
/// in the transaction of its effect. It may be called twice for a job, also at once with another worker. What it refuses
/// is tried again later.
pub async fn work<T: DeserializeOwned>(queue: Queue, handle: impl AsyncFn(&Job, T) -> Result<()>) -> Result<()> {
    work_together(queue, |_| false, async |_| Ok(()), handle).await
}

/// Like [`work`], for jobs some of which are cheaper to do together: `together` does all those at once in one transaction
/// and finishes them there ([`Job::finish_all`]). If it fails, `handle` does them one by one, so that none holds up
/// others.
pub async fn work_together<T: DeserializeOwned>(
    queue: Queue,
    can_join: impl Fn(&T) -> bool,
    together: impl AsyncFn(&[(Job, T)]) -> Result<()>,
    handle: impl AsyncFn(&Job, T) -> Result<()>,
) -> Result<()> {
    let begun = Instant::now();
    // From here on a bell is heard anew.
    let _ = redis::command("DEL", vec![arg(format!("bell:{}", queue.name()))]).await;
    let (mut count, mut failed) = (0_usize, 0_usize);
    loop {
        let jobs = claim(queue).await?;
        let is_last = jobs.len() < BATCH;
        count = count.saturating_add(jobs.len());
        let (mut joint, mut rest) = (Vec::new(), Vec::new());
        for JobRow { id, payload, attempts } in jobs {
            match serde_json::from_str(&payload) {
                Ok(payload) if can_join(&payload) => joint.push((Job { id, attempts }, payload)),
                read => rest.push((Job { id, attempts }, read)),
            }
        }
        if !joint.is_empty()
            && let Err(problem) = together(&joint).await
        {
            log::warn(&format!("jobs of {} could not be done together", queue.name()), &problem.detail);
            rest.extend(joint.into_iter().map(|(job, payload)| (job, Ok(payload))));
        }
        let rest = stream::iter(rest).map(|(job, payload)| attempt(queue, job, payload, &handle));
        let outcomes = rest.buffer_unordered(AT_ONCE);
        failed = failed.saturating_add(outcomes.filter(|done| std::future::ready(!done)).count().await);
        if is_last {
            break;
        }
        if begun.elapsed() >= TIME_BOX {
            ring_all(&[(queue, Timestamp::now())]).await?;
            break;
        }
    }
    if count > 0 {
        log::worked(queue.name(), count, failed, begun.elapsed());
    }
    Ok(())
}

/// Leases what is due, the oldest first.
async fn claim(queue: Queue) -> Result<Vec<JobRow>> {
    const DUE: &str = "
        SELECT id, payload, attempts FROM jobs WHERE queue = ? AND due_at <= ?
        ORDER BY due_at LIMIT ? FOR UPDATE SKIP LOCKED";
    mysql::transaction(async |tx| {
        let now = Timestamp::now();
        let limit = i64::try_from(BATCH).unwrap_or(i64::MAX);
        let mut rows = tx.query::<JobRow>(DUE, params![queue.name(), now, limit]).await?;
        if !rows.is_empty() {
            let lease = format!(
                "UPDATE jobs SET state = 'leased', due_at = ?, attempts = attempts + 1 WHERE id IN ({})",
                marks(rows.len())
            );
            let mut values = params![now.0.saturating_add(LEASE_MS)];
            values.extend(rows.iter().map(|row| param(row.id)));
            tx.execute(&lease, values).await?;
        }
        rows.iter_mut().for_each(|row| row.attempts = row.attempts.saturating_add(1));
        Ok(rows)
    })
    .await
}

/// Whether the job was done.
async fn attempt<T>(
    queue: Queue,
    job: Job,
    payload: serde_json::Result<T>,
    handle: &impl AsyncFn(&Job, T) -> Result<()>,
) -> bool {
    let (error, may_retry) = match payload {
        Ok(payload) => match handle(&job, payload).await {
            Ok(()) => return true,
            Err(problem) => (format!("{}: {}", problem.code.name(), problem.detail), true),
        },
        Err(error) => (format!("the payload can't be read: {error}"), false),
    };
    log::error(None, &format!("job {} of {} failed, attempt {}", job.id, queue.name(), job.attempts), &error);
    // If that fails too, the lease ends by itself.
    let _ = put_back(queue, &job, &error, may_retry).await;
    false
}

/// Has the job tried again later, or kept as dead.
async fn put_back(queue: Queue, job: &Job, error: &str, may_retry: bool) -> Result<()> {
    const PUT_BACK: &str = "UPDATE jobs SET state = ?, due_at = ?, last_error = ? WHERE id = ? AND attempts = ?";
    let again = may_retry && job.attempts < MAX_ATTEMPTS;
    let jitter = opaque::random::<1>().map_or(0, |[byte]| i64::from(byte));
    let due = Timestamp::now().0.saturating_add(backoff_ms(job.attempts, jitter));
    let (state, due) = if again { ("queued", due) } else { ("dead", NEVER) };
    let error: String = error.chars().take(500).collect();
    mysql::transaction(async |tx| {
        tx.execute(PUT_BACK, params![state, due, error.as_str(), job.id, job.attempts]).await?;
        if again {
            tx.bells.push((queue, Timestamp(due)));
        }
        Ok(())
    })
    .await
}

/// Exponential, with the upper half at random: what failed together is not to come back together. `jitter` is 0 to 255.
/// See <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>, "equal jitter".
fn backoff_ms(attempts: i64, jitter: i64) -> i64 {
    let doublings = u32::try_from(attempts.saturating_sub(1).clamp(0, 20)).unwrap_or_default();
    let whole = FIRST_BACKOFF_MS.saturating_mul(2_i64.saturating_pow(doublings)).min(LONGEST_BACKOFF_MS);
    let half = whole / 2;
    half.saturating_add(half.saturating_mul(jitter) / 255)
}

/// Turns an `async fn work(message: Vec<u8>) -> kit::Result<()>` into the function that a message wakes.
#[macro_export]
macro_rules! worker {
    ($work:path) => {
        #[cfg(target_family = "wasm")]
        #[spin_sdk::redis_subscriber]
        async fn hear(message: Vec<u8>) -> Result<(), &'static str> {
            // The reason is in the log.
            $work(message).await.map_err(|_: $crate::Problem| "the work was not done")
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end() {
        assert_eq!((backoff_ms(1, 0), backoff_ms(1, 255)), (500, 1000));
        assert_eq!((backoff_ms(4, 0), backoff_ms(4, 255)), (4000, 8000));
        assert_eq!(backoff_ms(i64::MAX, 255), LONGEST_BACKOFF_MS);
        assert_eq!(backoff_ms(0, 255), FIRST_BACKOFF_MS);
    }

    #[test]
    fn a_slot_ends_after_what_is_in_it() {
        for due in [0, 1, 199, 200, 201, 1_795_235_760_123] {
            let end = slot(Timestamp(due)).end().0;
            assert!(end > due && end <= due + SLOT_MS, "{due}: {end}");
        }
    }
}
