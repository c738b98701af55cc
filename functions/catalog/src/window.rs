//! The shop window: products that were looked at a moment ago, as replies ready to be sent, all in one hash of Redis.
//! An instance takes the whole of it at once, since it does not live long enough to be asked for one of them twice.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use kit::{
    Result,
    redis::{self, Reply, Script, arg, int},
};
use tokio::sync::Mutex;

use crate::fresh::{Fresh, binary};

const KEY: &str = "page:window";
/// What is in the hash was read less than that before the hash is gone: the second that the contract allows, less the
/// time that answering takes.
const LIFE: Duration = Duration::from_millis(900);
/// How long there is one hash. It is shorter, so that many can read at once and all put what they read in it.
const OPEN: Duration = Duration::from_millis(700);
/// These bound what an instance takes at once. Where there are more, or larger ones, it asks for each.
const MAX_PRODUCTS: i64 = 200;
const MAX_BYTES: i64 = 4096;

/// The instance's copy.
struct Window {
    since: Instant,
    until: Instant,
    products: HashMap<i64, Fresh>,
}

static WINDOW: Mutex<Option<Window>> = Mutex::const_new(None);

/// The reply for a product: from the window, or what `read` makes, which is then put there. A Redis that does not
/// answer is no reason not to read.
pub async fn find(product_id: i64, read: impl AsyncFnOnce() -> Result<Fresh>) -> Result<Fresh> {
    let asked = Instant::now();
    if let Some(fresh) = from_copy(product_id, asked).await {
        return Ok(fresh);
    }
    let reply = redis::command("HGET", vec![arg(KEY), int(product_id)]).await;
    let fresh = match reply.ok().and_then(|reply| Fresh::from_bytes(binary(reply, 0)?)) {
        Some(fresh) => fresh,
        None => {
            let started = Instant::now();
            let fresh = read().await?;
            put(product_id, &fresh, started).await;
            fresh
        }
    };
    if let Ok(mut window) = WINDOW.try_lock()
        && let Some(window) = window.as_mut().filter(|window| window.since <= asked)
    {
        // Not older than what was copied: it may stay for as long.
        window.products.insert(product_id, fresh.clone());
    }
    Ok(fresh)
}

/// From the instance's copy, which is made anew when it is too old. Nobody waits for another request to do that.
async fn from_copy(product_id: i64, now: Instant) -> Option<Fresh> {
    let mut window = WINDOW.try_lock().ok()?;
    let window = match &mut *window {
        Some(window) if now < window.until => window,
        old => old.insert(copy(now).await?),
    };
    window.products.get(&product_id).cloned()
}

/// KEYS: the hash. ARGV: how many products, and how many bytes of each. Returns how many milliseconds there will be a
/// hash, then numbers and replies, a zero byte between them.
static COPY: Script = Script::new(
    r"
    local parts = {}
    if redis.call('HLEN', KEYS[1]) <= tonumber(ARGV[1]) then
        local all = redis.call('HGETALL', KEYS[1])
        for i = 1, #all, 2 do
            if #all[i + 1] <= tonumber(ARGV[2]) then
                parts[#parts + 1] = all[i]
                parts[#parts + 1] = all[i + 1]
            end
        end
    end
    return {redis.call('PTTL', KEYS[1]), table.concat(parts, '\0')}",
);

async fn copy(now: Instant) -> Option<Window> {
    let reply = COPY.run(&[KEY], vec![int(MAX_PRODUCTS), int(MAX_BYTES)]).await.ok()?;
    let left = reply.int(0).and_then(|ms| u64::try_from(ms).ok()).map_or(OPEN, Duration::from_millis);
    let all = binary(reply, 1)?;
    let mut parts = all.split(|byte| *byte == 0).map(|part| all.slice_ref(part));
    let mut products = HashMap::new();
    while let (Some(number), Some(text)) = (parts.next(), parts.next()) {
        let number = std::str::from_utf8(&number).ok().and_then(|number| number.parse().ok());
        if let (Some(number), Some(fresh)) = (number, Fresh::from_bytes(text)) {
            products.insert(number, fresh);
        }
    }
    Some(Window { since: now, until: now.checked_add(left)?, products })
}

/// KEYS: the hash. ARGV: product, reply, for how many milliseconds it may be there, how long there is a hash.
static PUT: Script = Script::new(
    r"
    local left = redis.call('PTTL', KEYS[1])
    if tonumber(ARGV[3]) < (left < 0 and tonumber(ARGV[4]) or left) then return 0 end
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
    if left < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
    return 1",
);

async fn put(product_id: i64, fresh: &Fresh, started: Instant) {
    let ms = |time: Duration| int(i64::try_from(time.as_millis()).unwrap_or_default());
    let left = LIFE.saturating_sub(started.elapsed());
    // Where it fails, others read the product themselves.
    let _ = PUT.run(&[KEY], vec![int(product_id), arg(fresh.to_text()), ms(left), ms(OPEN)]).await;
}
