//! The shop window: products that were looked at a moment ago, as replies ready to be sent, in a hash of Redis. An
//! instance takes the whole of it at once, since it does not live long enough to be asked for one of them twice.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use axum::body::Bytes;
use kit::{
    Result,
    redis::{self, Reply, Script, arg, int},
};
use tokio::sync::Mutex;

use crate::fresh::Fresh;

/// The hash that instances copy, and the one of replies that are too large for that.
const SMALL: &str = "page:window";
const LARGE: &str = "page:window:large";
/// Below that many bytes a reply is small.
const LARGE_FROM: usize = 4096;
/// Where there are more small ones, instances ask for each.
const MAX_PRODUCTS: i64 = 200;
/// How long there is one hash, in milliseconds.
const OPEN_MS: i64 = 850;
/// A reply is put in a hash if it will be younger than that when the hash ends: the second that the contract allows, less
/// the time that answering takes.
const LIFE_MS: i64 = 900;

/// The instance's copy, and what it found out besides.
struct Window {
    until: Instant,
    /// With the end of each.
    products: HashMap<i64, (Instant, Fresh)>,
}

static WINDOW: Mutex<Option<Window>> = Mutex::const_new(None);

/// The reply for a product: from the window, or what `read` makes, which is then put there. A Redis that is away is no
/// reason not to read.
pub async fn find(product_id: i64, read: impl AsyncFnOnce() -> Result<Fresh>) -> Result<Fresh> {
    if let Some(fresh) = from_copy(product_id).await {
        return Ok(fresh);
    }
    let asked = Instant::now();
    let Ok(reply) = LOOK.run(&[SMALL, LARGE], vec![int(product_id)]).await else { return read().await };
    let (asked_at, left) = (reply.int(0).unwrap_or_default(), reply.int(1).unwrap_or_default());
    let (fresh, left) = match redis::bytes(reply, 2).and_then(|bytes| Fresh::from_bytes(bytes.into())) {
        Some(fresh) => (fresh, left),
        None => {
            let fresh = read().await?;
            put(product_id, &fresh, asked_at).await;
            (fresh, OPEN_MS)
        }
    };
    if let Ok(mut window) = WINDOW.try_lock()
        && let (Some(window), Some(until)) = (&mut *window, after(asked, left))
    {
        window.products.insert(product_id, (until, fresh.clone()));
    }
    Ok(fresh)
}

/// So many milliseconds later.
fn after(time: Instant, ms: i64) -> Option<Instant> {
    time.checked_add(Duration::from_millis(u64::try_from(ms).ok()?))
}

/// From the instance's copy, which is made anew when it is too old. Who comes in the meantime waits for that.
async fn from_copy(product_id: i64) -> Option<Fresh> {
    let mut window = WINDOW.lock().await;
    let now = Instant::now();
    let window = match &mut *window {
        Some(window) if now < window.until => window,
        old => old.insert(copy(now).await?),
    };
    let (until, fresh) = window.products.get(&product_id)?;
    (now < *until).then(|| fresh.clone())
}

/// KEYS: the hash. ARGV: how many products. Returns how many milliseconds there will be a hash, then numbers and replies,
/// a zero byte between them.
static COPY: Script = Script::new(
    r"
    local all = redis.call('HLEN', KEYS[1]) <= tonumber(ARGV[1]) and redis.call('HGETALL', KEYS[1]) or {}
    return {redis.call('PTTL', KEYS[1]), table.concat(all, '\0')}",
);

async fn copy(now: Instant) -> Option<Window> {
    let reply = COPY.run(&[SMALL], vec![int(MAX_PRODUCTS)]).await.ok()?;
    let until = after(now, reply.int(0).filter(|ms| *ms >= 0).unwrap_or(OPEN_MS))?;
    let all = Bytes::from(redis::bytes(reply, 1)?);
    let mut parts = all.split(|byte| *byte == 0).map(|part| all.slice_ref(part));
    let mut products = HashMap::new();
    while let (Some(number), Some(bytes)) = (parts.next(), parts.next()) {
        let number = std::str::from_utf8(&number).ok().and_then(|number| number.parse().ok());
        if let (Some(number), Some(fresh)) = (number, Fresh::from_bytes(bytes)) {
            products.insert(number, (until, fresh));
        }
    }
    Some(Window { until, products })
}

/// KEYS: the hashes. ARGV: product. Returns the time, in milliseconds since 1970; where there is a reply, also for how many
/// milliseconds, and it.
static LOOK: Script = Script::new(
    r"
    local time = redis.call('TIME')
    local found = {time[1] * 1000 + math.floor(time[2] / 1000)}
    for _, key in ipairs(KEYS) do
        local reply = redis.call('HGET', key, ARGV[1])
        if reply then return {found[1], redis.call('PTTL', key), reply} end
    end
    return found",
);

/// KEYS: the hash. ARGV: product, reply, when the product had not been read yet, and the milliseconds of a reply's life
/// and of a hash's. All by the clock of Redis: however long this takes to come, nothing old gets in.
static PUT: Script = Script::new(
    r"
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    local young = tonumber(ARGV[3]) + tonumber(ARGV[4]) - now
    local left = redis.call('PTTL', KEYS[1])
    if young <= math.max(left, 0) then return 0 end
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
    if left < 0 then redis.call('PEXPIRE', KEYS[1], math.min(young, tonumber(ARGV[5]))) end
    return 1",
);

async fn put(product_id: i64, fresh: &Fresh, asked_at: i64) {
    let bytes = fresh.to_bytes();
    let key = if bytes.len() < LARGE_FROM { SMALL } else { LARGE };
    // Where it fails, others read the product themselves.
    let _ = PUT.run(&[key], vec![int(product_id), arg(bytes), int(asked_at), int(LIFE_MS), int(OPEN_MS)]).await;
}
