//! A cache of replies that are ready to be sent and less than a second old: in the instance, and in Redis for all
//! instances, since an instance is short-lived.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    body::Bytes,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use kit::{
    Problem, Result, log,
    redis::{self, arg, int},
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

/// The time to live in the instance and, before that, in Redis. Together it is less than the second that the contract
/// allows, which leaves time for reading and replying.
const TTL: Duration = Duration::from_millis(450);
const MAX_ENTRIES: usize = 512;
/// Twelve bytes in hexadecimal, and the quotes.
const TAG_LENGTH: usize = 26;

/// A JSON reply with its entity tag.
#[derive(Clone)]
pub struct CachedReply {
    body: Bytes,
    etag: HeaderValue,
}

impl CachedReply {
    pub fn new(value: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_vec(value).map_err(|error| Problem::internal().because(error))?;
        let digest: String = Sha256::digest(&body).iter().take(12).map(|b| format!("{b:02x}")).collect();
        let etag = HeaderValue::from_str(&format!("\"{digest}\"")).map_err(|_| Problem::internal())?;
        Ok(CachedReply { body: body.into(), etag })
    }

    /// The reply cached in Redis under `key`, or the result of `read`, which is then cached. If Redis can't be reached,
    /// `read` is called, too.
    pub async fn shared(key: &str, read: impl AsyncFnOnce() -> Result<CachedReply>) -> Result<CachedReply> {
        let key = arg(key);
        if let Ok(found) = redis::command("GET", vec![key.clone()]).await
            && let Some(reply) = redis::bytes(found, 0).and_then(|bytes| CachedReply::from_bytes(bytes.into()))
        {
            return Ok(reply);
        }
        let reply = read().await?;
        let ttl = i64::try_from(TTL.as_millis()).unwrap_or_default();
        let cached = redis::command("SET", vec![key, arg(reply.to_bytes()), arg("PX"), int(ttl)]).await;
        log::warn_if_failed("a reply was not cached", cached);
        Ok(reply)
    }

    /// The entity tag, then the body.
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.etag.as_bytes(), &self.body].concat()
    }

    pub fn from_bytes(mut bytes: Bytes) -> Option<Self> {
        let body = (bytes.len() >= TAG_LENGTH).then(|| bytes.split_off(TAG_LENGTH))?;
        Some(CachedReply { etag: HeaderValue::from_maybe_shared(bytes).ok()?, body })
    }

    /// The body, or 304 if the client has it already.
    pub fn respond(self, request: &HeaderMap) -> Response {
        let known = request.get_all(header::IF_NONE_MATCH).iter().any(|tags| matches(tags, &self.etag));
        if known {
            return (StatusCode::NOT_MODIFIED, [(header::ETAG, self.etag)]).into_response();
        }
        let json = HeaderValue::from_static("application/json");
        ([(header::CONTENT_TYPE, json), (header::ETAG, self.etag)], self.body).into_response()
    }
}

/// Whether `If-None-Match` names the entity tag, by the weak comparison (RFC 9110, section 13.1.2).
fn matches(tags: &HeaderValue, etag: &HeaderValue) -> bool {
    let (Ok(tags), Ok(etag)) = (tags.to_str(), etag.to_str()) else { return false };
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// The instance's cached replies, by request.
pub struct InstanceCache<K>(Mutex<Option<HashMap<K, Entry>>>);

/// A reply and the time before it was read, from which its age counts.
type Entry = (Instant, Arc<OnceCell<CachedReply>>);

impl<K> InstanceCache<K> {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        InstanceCache(Mutex::new(None))
    }
}

impl<K: Eq + std::hash::Hash> InstanceCache<K> {
    /// The reply cached for `key`, or the result of `read`, which is then cached. Concurrent requests share one call of
    /// `read`: a new instance gets many requests at once.
    pub async fn get(&self, key: K, read: impl AsyncFnOnce() -> Result<CachedReply>) -> Result<CachedReply> {
        self.entry(key)?.get_or_try_init(|| read()).await.cloned()
    }

    fn entry(&self, key: K) -> Result<Arc<OnceCell<CachedReply>>> {
        let mut cache = self.0.lock().map_err(|_| Problem::internal())?;
        let (entries, now) = (cache.get_or_insert_default(), Instant::now());
        match entries.get(&key) {
            Some((since, cell)) if now.duration_since(*since) < TTL => Ok(cell.clone()),
            _ => {
                if entries.len() >= MAX_ENTRIES {
                    entries.clear();
                }
                let cell = Arc::default();
                entries.insert(key, (now, Arc::clone(&cell)));
                Ok(cell)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_during_a_read_share_its_result() {
        let (cache, reads) = (InstanceCache::new(), Mutex::new(0));
        let get = |works: bool| {
            let reads = &reads;
            cache.get("key", async move || {
                *reads.lock().unwrap() += 1;
                tokio::task::yield_now().await;
                if works { CachedReply::new(&1) } else { Err(Problem::unavailable()) }
            })
        };
        // A failed read is an error for its own request only; the next one reads again.
        let (first, second, third) = tokio::join!(get(false), get(true), get(true));
        assert!(first.is_err() && second.is_ok() && third.is_ok());
        assert_eq!(*reads.lock().unwrap(), 2);
    }

    #[test]
    fn a_tag_matches_in_lists_weakly_and_by_star() {
        let etag = HeaderValue::from_static("\"abc\"");
        let matches = |tags: &'static str| matches(&HeaderValue::from_static(tags), &etag);
        assert!(matches("\"abc\""));
        assert!(matches("W/\"abc\""));
        assert!(matches("\"x\", \"abc\""));
        assert!(matches("*"));
        assert!(!matches("\"abcd\""));
        assert!(!matches("abc"));
    }
}
