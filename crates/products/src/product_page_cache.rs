//! The page cache: recent replies with product pages, in a Redis hash. An instance copies the whole hash at once, since
//! it rarely lives long enough to get a second request for the same product.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use axum::body::Bytes;
use kit::{
    ProductId, Result, log,
    redis::{self, Reply, Script, arg, int},
};
use tokio::sync::Mutex;

use crate::cached_reply::CachedReply;

/// The hash that instances copy, and the one for replies that are too large to copy.
const SMALL: &str = "page:small";
const LARGE: &str = "page:large";
/// The size in bytes from which a reply is large.
const LARGE_FROM: usize = 4096;
/// If the hash has more replies than this, instances don't copy it but read single replies.
const MAX_PRODUCTS: i64 = 200;
/// The time to live of a hash, in milliseconds.
const HASH_TTL_MS: i64 = 850;
/// The maximum age of a reply when its hash expires, in milliseconds: the second that the contract allows, less the
/// time that replying takes.
const MAX_AGE_MS: i64 = 900;

/// The instance's copy of the hash, and the single replies that it has read since.
struct Copy {
    expires: Instant,
    /// Each reply with the time when it expires.
    products: HashMap<ProductId, (Instant, CachedReply)>,
}

static COPY: Mutex<Option<Copy>> = Mutex::const_new(None);

/// The cached reply for a product, or the result of `read`, which is then cached. If Redis can't be reached, `read` is
/// called, too.
pub async fn find(product_id: ProductId, read: impl AsyncFnOnce() -> Result<CachedReply>) -> Result<CachedReply> {
    if let Some(reply) = from_copy(product_id).await {
        return Ok(reply);
    }
    let started = Instant::now();
    let found = match GET.run(&[SMALL, LARGE], vec![int(product_id.get())]).await {
        Ok(found) => found,
        Err(problem) => {
            log::warn("a product page was read without its cache", &problem);
            return read().await;
        }
    };
    let (read_at, ttl) = (found.int(0).unwrap_or_default(), found.int(1).unwrap_or_default());
    let (reply, ttl) = match redis::bytes(found, 2).and_then(|bytes| CachedReply::from_bytes(bytes.into())) {
        Some(reply) => (reply, ttl),
        None => {
            let reply = read().await?;
            put(product_id, &reply, read_at).await;
            (reply, HASH_TTL_MS)
        }
    };
    if let Ok(mut copy) = COPY.try_lock()
        && let (Some(copy), Some(expires)) = (&mut *copy, after(started, ttl))
    {
        copy.products.insert(product_id, (expires, reply.clone()));
    }
    Ok(reply)
}

/// The time `ms` milliseconds after another one.
fn after(time: Instant, ms: i64) -> Option<Instant> {
    time.checked_add(Duration::from_millis(u64::try_from(ms).ok()?))
}

/// Looks up the instance's copy, which is refreshed if it has expired. Concurrent requests wait for that.
async fn from_copy(product_id: ProductId) -> Option<CachedReply> {
    let mut copy = COPY.lock().await;
    let now = Instant::now();
    let copy = match &mut *copy {
        Some(copy) if now < copy.expires => copy,
        old => old.insert(copy_hash(now).await?),
    };
    let (expires, reply) = copy.products.get(&product_id)?;
    (now < *expires).then(|| reply.clone())
}

/// KEYS: the hash. ARGV: the maximum number of products. Returns the milliseconds until the hash expires, and ids and
/// replies separated by zero bytes.
static COPY_HASH: Script = Script::new(
    r"
    local all = redis.call('HLEN', KEYS[1]) <= tonumber(ARGV[1]) and redis.call('HGETALL', KEYS[1]) or {}
    return {redis.call('PTTL', KEYS[1]), table.concat(all, '\0')}",
);

async fn copy_hash(now: Instant) -> Option<Copy> {
    let reply = COPY_HASH.run(&[SMALL], vec![int(MAX_PRODUCTS)]).await.ok()?;
    let expires = after(now, reply.int(0).filter(|ms| *ms >= 0).unwrap_or(HASH_TTL_MS))?;
    let all = Bytes::from(redis::bytes(reply, 1)?);
    let mut parts = all.split(|byte| *byte == 0).map(|part| all.slice_ref(part));
    let mut products = HashMap::new();
    while let (Some(number), Some(bytes)) = (parts.next(), parts.next()) {
        let number = std::str::from_utf8(&number).ok().and_then(|number| number.parse::<ProductId>().ok());
        if let (Some(number), Some(reply)) = (number, CachedReply::from_bytes(bytes)) {
            products.insert(number, (expires, reply));
        }
    }
    Some(Copy { expires, products })
}

/// KEYS: the hashes. ARGV: product. Returns the time in milliseconds since 1970 and, if there is a reply, the
/// milliseconds until its hash expires, and the reply.
static GET: Script = Script::new(
    r"
    local time = redis.call('TIME')
    local found = {time[1] * 1000 + math.floor(time[2] / 1000)}
    for _, key in ipairs(KEYS) do
        local reply = redis.call('HGET', key, ARGV[1])
        if reply then return {found[1], redis.call('PTTL', key), reply} end
    end
    return found",
);

/// KEYS: the hash. ARGV: product, reply, a time before the product was read, the maximum age and the hash's time to
/// live, in milliseconds. All times are those of the Redis server: however long the caller took, an old reply is not
/// cached.
static PUT: Script = Script::new(
    r"
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    local fresh_for = tonumber(ARGV[3]) + tonumber(ARGV[4]) - now
    local ttl = redis.call('PTTL', KEYS[1])
    if fresh_for <= math.max(ttl, 0) then return 0 end
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
    if ttl < 0 then redis.call('PEXPIRE', KEYS[1], math.min(fresh_for, tonumber(ARGV[5]))) end
    return 1",
);

async fn put(product_id: ProductId, reply: &CachedReply, read_at: i64) {
    let bytes = reply.to_bytes();
    let key = if bytes.len() < LARGE_FROM { SMALL } else { LARGE };
    let values = vec![int(product_id.get()), arg(bytes), int(read_at), int(MAX_AGE_MS), int(HASH_TTL_MS)];
    log::warn_if_failed("a page was not cached", PUT.run(&[key], values).await);
}
