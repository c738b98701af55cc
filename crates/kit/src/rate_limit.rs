//! Rate limits in Redis: token buckets (<https://en.wikipedia.org/wiki/Token_bucket>), lockouts and quotas.

use crate::{
    Code, Problem, Result,
    redis::{Reply, Script, arg, int},
};

/// Takes a token from the bucket KEYS[1], which is refilled with ARGV[1] tokens a second and holds ARGV[2]. Returns 0,
/// or the milliseconds until there is a token.
static TAKE: Script = Script::new(
    r"
    local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
    local tokens, at = tonumber(bucket[1]) or burst, tonumber(bucket[2]) or now
    tokens = math.min(burst, tokens + math.max(0, now - at) * rate / 1000)
    local wait = 0
    if tokens >= 1 then tokens = tokens - 1 else wait = math.ceil((1 - tokens) * 1000 / rate) end
    redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', now)
    redis.call('PEXPIRE', KEYS[1], math.ceil(burst * 1000 / rate) + 1000)
    return wait",
);

/// Takes a token from the bucket of `key`; 429 if it is empty. `rate` is in tokens per second, `burst` is the size of
/// the bucket.
pub async fn limit(key: &str, rate: i64, burst: i64) -> Result<()> {
    let reply = TAKE.run(&[&format!("rate:{key}")], vec![int(rate), int(burst)]).await?;
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

    async fn record(&self, script: &Script, key: &str, arguments: Vec<crate::redis::RedisParameter>) -> Result<()> {
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
