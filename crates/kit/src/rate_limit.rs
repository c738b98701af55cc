//! Rate limits in Redis: token buckets (<https://en.wikipedia.org/wiki/Token_bucket>), lockouts and quotas.

use crate::{
    Code, Problem, Result,
    redis::{Reply, Script, arg, int},
};

/// Takes a token from the bucket KEYS[1], which fills by ARGV[1] a second up to ARGV[2]. Returns 0, or after how many
/// milliseconds there will be one.
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

/// 429 when `key` comes more than `burst` times at once, or more than `rate` times a second for long.
pub async fn limit(key: &str, rate: i64, burst: i64) -> Result<()> {
    let reply = TAKE.run(&[&format!("rate:{key}")], vec![int(rate), int(burst)]).await?;
    match reply.int(0) {
        Some(0) => Ok(()),
        wait => Err(too_fast(wait.unwrap_or_default())),
    }
}

/// 429; `wait_ms` is how long to wait.
pub fn too_fast(wait_ms: i64) -> Problem {
    let seconds = u64::try_from(wait_ms).unwrap_or_default().div_ceil(1000).max(1);
    Problem::new(Code::RateLimited, "Too many requests; wait a moment").with_retry_after(seconds)
}

/// Counts a failure in KEYS[1], for ARGV[2] seconds. Returns 0 up to the ARGV[1]th failure, after that for how many
/// milliseconds the lockout lasts.
static FAILED: Script = Script::new(
    r"
    local count = redis.call('INCR', KEYS[1])
    if count <= tonumber(ARGV[1]) then redis.call('EXPIRE', KEYS[1], ARGV[2]) return 0 end
    return redis.call('PTTL', KEYS[1])",
);

/// Resets the failures in KEYS[1] and returns 0, unless there were ARGV[1]; then as above.
static SUCCEEDED: Script = Script::new(
    r"
    if tonumber(redis.call('GET', KEYS[1]) or 0) >= tonumber(ARGV[1]) then return redis.call('PTTL', KEYS[1]) end
    redis.call('DEL', KEYS[1])
    return 0",
);

/// A lockout after too many failures. [`Lockout::check`] before an attempt saves its work; what counts is the result of
/// [`Lockout::failed`] or [`Lockout::succeeded`] after it, since many attempts may be under way at once.
pub struct Lockout {
    pub failures: i64,
    /// How long a failure counts, and how long the lockout lasts.
    pub seconds: i64,
}

impl Lockout {
    /// 429 while `key` is locked.
    pub async fn check(&self, key: &str) -> Result<()> {
        let key = lock_key(key);
        let reply = crate::redis::command("GET", vec![arg(&key)]).await?;
        if reply.int(0).unwrap_or_default() < self.failures {
            return Ok(());
        }
        let left = crate::redis::command("PTTL", vec![arg(&key)]).await?;
        Err(too_fast(left.int(0).unwrap_or_default()))
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
        crate::redis::command("DEL", vec![arg(lock_key(key))]).await.map(drop)
    }

    async fn record(&self, script: &Script, key: &str, arguments: Vec<crate::redis::RedisParameter>) -> Result<()> {
        let reply = script.run(&[&lock_key(key)], arguments).await?;
        match reply.int(0) {
            Some(0) => Ok(()),
            left => Err(too_fast(left.unwrap_or_default())),
        }
    }
}

/// At most `limit` in `seconds`, counted from the first.
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
    /// Takes one from the quota of `key`; false if it is used up.
    pub async fn take(&self, key: &str) -> Result<bool> {
        let reply = COUNT.run(&[&format!("quota:{key}")], vec![int(self.seconds)]).await?;
        Ok(reply.int(0).unwrap_or_default() <= self.limit)
    }
}

fn lock_key(key: &str) -> String {
    format!("lockout:{key}")
}
