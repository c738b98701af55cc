//! Values that are expensive to compute: computed once for the whole shop, however many requests and instances want them.

use std::time::{Duration, Instant};

use serde::{Serialize, de::DeserializeOwned};
use spin_sdk::wasip3::clocks::monotonic_clock;

use crate::{
    Problem, Result,
    context::without_deadline,
    log,
    redis::{self, Reply, Script, arg, int},
};

/// A value is fresh for this many times as long as computing it took, so that computing takes a tenth of the time at
/// most.
const FRESH_FACTOR: u32 = 10;
const MIN_FRESH: Duration = Duration::from_millis(450);
const MAX_FRESH: Duration = Duration::from_secs(60);
/// How long an old value is kept for those who come while a new one is computed.
const OLD_MS: i64 = 60_000;
/// If no value comes in this time, another request computes it.
const COMPUTING_MS: i64 = 5000;
/// How often, and how many times, a request looks for a value that another one computes.
const POLL: Duration = Duration::from_millis(100);
const POLLS: u32 = 30;

/// KEYS: the value. ARGV: for how long it is the caller who computes it, in milliseconds. Returns what to do, and the
/// value.
static GET: Script = Script::new(
    r"
    local value = redis.call('GET', KEYS[1])
    if value and redis.call('EXISTS', KEYS[1] .. ':fresh') == 1 then return {'use', value} end
    if redis.call('SET', KEYS[1] .. ':computing', '', 'NX', 'PX', ARGV[1]) then return {'compute'} end
    if value then return {'use', value} end
    return {'wait'}",
);

/// KEYS: the value. ARGV: the value, and for how long it is fresh and kept, in milliseconds.
static PUT: Script = Script::new(
    r"
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
    redis.call('SET', KEYS[1] .. ':fresh', '', 'PX', ARGV[2])
    redis.call('DEL', KEYS[1] .. ':computing')
    return 1",
);

/// The value that is kept in Redis under `key` or, if that is not fresh, the result of `compute`. While one request
/// computes it, the others get the old value, or wait for the first one; 503 if it does not come in time. Without Redis
/// every request computes it.
pub async fn get<T>(key: &str, compute: impl AsyncFnOnce() -> Result<T>) -> Result<T>
where
    T: Serialize + DeserializeOwned,
{
    for _ in 0..POLLS {
        let Ok(reply) = GET.run(&[key], vec![int(COMPUTING_MS)]).await else { return compute().await };
        let value = reply.text(1).and_then(|json| serde_json::from_str(json).ok());
        match (reply.text(0), value) {
            (Some("wait"), _) => {}
            (Some("use"), Some(value)) => return Ok(value),
            // Also a value that another version of this function has put there.
            _ => return compute_and_put(key, compute).await,
        }
        monotonic_clock::wait_for(u64::try_from(POLL.as_nanos()).unwrap_or_default()).await;
    }
    Err(Problem::unavailable().because(format!("{key} was not computed in time")))
}

async fn compute_and_put<T: Serialize>(key: &str, compute: impl AsyncFnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let computed = compute().await;
    let json = match &computed {
        Ok(value) => Some(serde_json::to_vec(value).map_err(|error| Problem::internal().because(error))?),
        Err(_) => None,
    };
    let (key, fresh) = (key.to_owned(), fresh_ms(started.elapsed()));
    // A value that took longer than a request may is kept for the next one.
    without_deadline(async move {
        let done = match json {
            Some(json) => PUT.run(&[&key], vec![arg(json), int(fresh), int(fresh.saturating_add(OLD_MS))]).await,
            // Lets the next request try.
            None => redis::command("DEL", vec![arg(format!("{key}:computing"))]).await,
        };
        log::warn_if_failed("a computed value was not kept", done);
    })
    .await;
    computed
}

fn fresh_ms(took: Duration) -> i64 {
    let fresh = took.saturating_mul(FRESH_FACTOR).clamp(MIN_FRESH, MAX_FRESH);
    i64::try_from(fresh.as_millis()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_is_fresh_for_long() {
        assert_eq!(fresh_ms(Duration::ZERO), 450);
        assert_eq!(fresh_ms(Duration::from_millis(300)), 3000);
        assert_eq!(fresh_ms(Duration::MAX), 60_000);
    }
}
