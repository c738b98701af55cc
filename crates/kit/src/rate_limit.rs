//! Rate limits, lockouts and quotas in Redis.

use crate::{
    Code, Problem, Result, config,
    redis::{Reply, Script, arg, int},
};

/// A rate limit: `rate` is in requests per second, `burst` is how many may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    pub rate: i64,
    pub burst: i64,
}

impl RateLimit {
    /// Reads a variable with both numbers, separated by a space; 503 for anything else.
    pub async fn from_variable(name: &'static str) -> Result<Self> {
        let value = config::text(name).await?;
        let number = |text: &str| text.parse().ok().filter(|number| (1..=1_000_000).contains(number));
        let limit = value.split_once(' ').and_then(|(rate, burst)| Some((number(rate)?, number(burst)?)));
        let (rate, burst) =
            limit.ok_or_else(|| config::invalid(name, "must be two whole numbers from 1 to 1000000"))?;
        Ok(RateLimit { rate, burst })
    }
}

/// Lua: `take(key, value, rate, burst)` counts a request, and returns 0 or the milliseconds until one is allowed. It is the
/// generic cell rate algorithm (<https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm>): the key's value is the
/// theoretical arrival time. Also defines `now`, the server's time in milliseconds.
#[macro_export]
macro_rules! rate_limit_lua {
    () => {
        "
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        local function take(key, value, rate, burst)
            local step = 1000 / rate
            local arrival = math.max(tonumber(value or 0), now) + step
            local wait = math.ceil(arrival - now - step * burst)
            if wait > 0 then return wait end
            redis.call('SET', key, arrival, 'PX', math.ceil(arrival - now) + 1)
            return 0
        end
        "
    };
}

static TAKE: Script = Script::new(concat!(
    crate::rate_limit_lua!(),
    "return take(KEYS[1], redis.call('GET', KEYS[1]), ARGV[1], ARGV[2])"
));

/// Counts a request for `key`; 429 if it exceeds the limit.
pub async fn limit(key: &str, limit: RateLimit) -> Result<()> {
    let reply = TAKE.run(&[&format!("rate:{key}")], vec![int(limit.rate), int(limit.burst)]).await?;
    match reply.int(0) {
        Some(0) => Ok(()),
        wait => Err(rate_limited(wait.unwrap_or_default())),
    }
}

/// 429 with `Retry-After`; `wait_ms` is in milliseconds.
pub fn rate_limited(wait_ms: i64) -> Problem {
    let seconds = u64::try_from(wait_ms).unwrap_or_default().div_ceil(1000).max(1);
    Problem::new(Code::RateLimited, "Too many requests; wait a moment").with_retry_after(seconds)
}

/// Counts a failure in KEYS[1], for ARGV[2] seconds. Returns 0 up to the ARGV[1]th failure, after that the milliseconds
/// until the lockout ends.
static FAILED: Script = Script::new(
    r"
    local count = redis.call('INCR', KEYS[1])
    if count <= tonumber(ARGV[1]) then redis.call('EXPIRE', KEYS[1], ARGV[2]) return 0 end
    return redis.call('PTTL', KEYS[1])",
);

/// Resets the failures in KEYS[1] and returns 0. If there are ARGV[1] already, returns the milliseconds until the
/// lockout ends.
static SUCCEEDED: Script = Script::new(
    r"
    if tonumber(redis.call('GET', KEYS[1]) or 0) >= tonumber(ARGV[1]) then return redis.call('PTTL', KEYS[1]) end
    redis.call('DEL', KEYS[1])
    return 0",
);

/// A lockout after too many failures. Calling [`Lockout::check`] before an attempt only saves work. The result of
/// [`Lockout::failed`] or [`Lockout::succeeded`] after it is decisive, since attempts may run concurrently.
pub struct Lockout {
    pub failures: i64,
    /// How long a failure counts, and how long the lockout lasts.
    pub seconds: i64,
}

impl Lockout {
    /// 429 while `key` is locked.
    pub async fn check(&self, key: &str) -> Result<()> {
        let key = lockout_key(key);
        let reply = crate::redis::command("GET", vec![arg(&key)]).await?;
        if reply.int(0).unwrap_or_default() < self.failures {
            return Ok(());
        }
        let remaining = crate::redis::command("PTTL", vec![arg(&key)]).await?;
        Err(rate_limited(remaining.int(0).unwrap_or_default()))
    }

    /// Counts a failure; 429 if there were too many before it.
    pub async fn failed(&self, key: &str) -> Result<()> {
        self.record(&FAILED, key, vec![int(self.failures), int(self.seconds)]).await
    }

    /// Resets the failures; 429 if there were too many.
    pub async fn succeeded(&self, key: &str) -> Result<()> {
        self.record(&SUCCEEDED, key, vec![int(self.failures)]).await
    }

    /// Ends the lockout.
    pub async fn unlock(&self, key: &str) -> Result<()> {
        crate::redis::command("DEL", vec![arg(lockout_key(key))]).await.map(drop)
    }

    async fn record(
        &self,
        script: &'static Script,
        key: &str,
        arguments: Vec<crate::redis::RedisParameter>,
    ) -> Result<()> {
        let reply = script.run(&[&lockout_key(key)], arguments).await?;
        match reply.int(0) {
            Some(0) => Ok(()),
            remaining => Err(rate_limited(remaining.unwrap_or_default())),
        }
    }
}

/// A quota: at most `limit` uses in a period of `seconds`, which starts with the first use.
pub struct Quota {
    pub limit: i64,
    pub seconds: i64,
}

/// Counts in KEYS[1] for ARGV[1] seconds; returns the count.
static COUNT: Script = Script::new(
    r"
    local count = redis.call('INCR', KEYS[1])
    if count == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
    return count",
);

impl Quota {
    /// Takes one use of the quota of `key`; false if it is used up.
    pub async fn take(&self, key: &str) -> Result<bool> {
        let reply = COUNT.run(&[&format!("quota:{key}")], vec![int(self.seconds)]).await?;
        Ok(reply.int(0).unwrap_or_default() <= self.limit)
    }
}

fn lockout_key(key: &str) -> String {
    format!("lockout:{key}")
}
