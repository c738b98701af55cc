//! What was read less than a second ago, as replies ready to be sent: kept by the instance, and by Redis for all of
//! them, since an instance does not live long.

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
    Problem, Result,
    redis::{self, arg, int},
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

/// A reply may have been in Redis for as long before it came to an instance: together less than the second that the
/// contract allows, for the time that reading and answering take.
const LIFE: Duration = Duration::from_millis(450);
const MAX_ENTRIES: usize = 512;
/// Twelve bytes in hexadecimal, and the quotes.
const TAG_LENGTH: usize = 26;

/// A reply with the tag by which a client recognises it.
#[derive(Clone)]
pub struct Fresh {
    body: Bytes,
    etag: HeaderValue,
}

impl Fresh {
    pub fn new(value: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_vec(value).map_err(|_| Problem::internal())?;
        let digest: String = Sha256::digest(&body).iter().take(12).map(|b| format!("{b:02x}")).collect();
        let etag = HeaderValue::from_str(&format!("\"{digest}\"")).map_err(|_| Problem::internal())?;
        Ok(Fresh { body: body.into(), etag })
    }

    /// The reply that Redis has under `key`, or what `read` makes, which it then has. A Redis that does not answer is
    /// no reason not to read.
    pub async fn shared(key: &str, read: impl AsyncFnOnce() -> Result<Fresh>) -> Result<Fresh> {
        let key = arg(key);
        if let Ok(reply) = redis::command("GET", vec![key.clone()]).await
            && let Some(fresh) = redis::bytes(reply, 0).and_then(|bytes| Fresh::from_bytes(bytes.into()))
        {
            return Ok(fresh);
        }
        let fresh = read().await?;
        let life = i64::try_from(LIFE.as_millis()).unwrap_or_default();
        let _ = redis::command("SET", vec![key, arg(fresh.to_bytes()), arg("PX"), int(life)]).await;
        Ok(fresh)
    }

    /// The tag, then the body.
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.etag.as_bytes(), &self.body].concat()
    }

    pub fn from_bytes(mut bytes: Bytes) -> Option<Self> {
        let body = (bytes.len() >= TAG_LENGTH).then(|| bytes.split_off(TAG_LENGTH))?;
        Some(Fresh { etag: HeaderValue::from_maybe_shared(bytes).ok()?, body })
    }

    /// The body, or 304 to who has it already.
    pub fn respond(self, request: &HeaderMap) -> Response {
        let known = request.get_all(header::IF_NONE_MATCH).iter().any(|tags| matches(tags, &self.etag));
        if known {
            return (StatusCode::NOT_MODIFIED, [(header::ETAG, self.etag)]).into_response();
        }
        let json = HeaderValue::from_static("application/json");
        ([(header::CONTENT_TYPE, json), (header::ETAG, self.etag)], self.body).into_response()
    }
}

/// Whether `If-None-Match` names the tag, by the weak comparison (RFC 9110, section 13.1.2).
fn matches(tags: &HeaderValue, etag: &HeaderValue) -> bool {
    let (Ok(tags), Ok(etag)) = (tags.to_str(), etag.to_str()) else { return false };
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// The instance's replies, by what was asked.
pub struct Shelf<K>(Mutex<Option<HashMap<K, Entry>>>);

/// The age counts from before it was read.
type Entry = (Instant, Arc<OnceCell<Fresh>>);

impl<K: Eq + std::hash::Hash> Shelf<K> {
    pub const fn new() -> Self {
        Shelf(Mutex::new(None))
    }

    /// The reply kept for `key`, or what `read` makes, which is then kept. Who comes in the meantime waits for that: an
    /// instance begins with many requests at once.
    pub async fn get(&self, key: K, read: impl AsyncFnOnce() -> Result<Fresh>) -> Result<Fresh> {
        self.place(key)?.get_or_try_init(|| read()).await.cloned()
    }

    fn place(&self, key: K) -> Result<Arc<OnceCell<Fresh>>> {
        let mut shelf = self.0.lock().map_err(|_| Problem::internal())?;
        let (entries, now) = (shelf.get_or_insert_default(), Instant::now());
        match entries.get(&key) {
            Some((since, place)) if now.duration_since(*since) < LIFE => Ok(place.clone()),
            _ => {
                if entries.len() >= MAX_ENTRIES {
                    entries.clear();
                }
                let place = Arc::default();
                entries.insert(key, (now, Arc::clone(&place)));
                Ok(place)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_while_it_is_read_gets_what_is_read() {
        let (shelf, reads) = (Shelf::new(), Mutex::new(0));
        let ask = |works: bool| {
            let reads = &reads;
            shelf.get("key", async move || {
                *reads.lock().unwrap() += 1;
                tokio::task::yield_now().await;
                if works { Fresh::new(&1) } else { Err(Problem::unavailable()) }
            })
        };
        // Who fails has its own error; the next one reads.
        let (first, second, third) = tokio::join!(ask(false), ask(true), ask(true));
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
