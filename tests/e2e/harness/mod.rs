//! What the tests stand on: a shop, the people in it, calls and replies, shops of one's own, and tools to break things.

mod call;
mod crowd;
mod endpoints;
mod own;
mod people;
mod proxy;
pub mod rules;
mod servers;
mod service;
mod shop;
mod story;
pub mod token;
pub mod wire;

pub use call::{Call, Reply};
pub use endpoints::{Endpoints, Needs};
pub use own::{OwnShop, Settings};
pub use people::User;
pub use proxy::Proxy;
pub use servers::Servers;
pub use service::Service;
pub use shop::{Shop, Stock};
pub use story::Story;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Twelve letters and digits that no other test has.
pub fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(COUNT.fetch_add(1, Ordering::Relaxed));
    format!("{:012x}", hasher.finish() >> 16)
}

/// The environment that `cargo mall test` sets up.
pub fn environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo mall test`"))
}

/// Looks again and again until there is something to see; panics when `within` is over.
pub async fn eventually<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(start.elapsed() < within, "{what}: not within {within:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Text as it may stand in a path segment or a query.
pub fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Strings that break what was put together carelessly.
pub fn hostile() -> Vec<String> {
    [
        "'",
        "\"",
        "`",
        "\\",
        "%",
        "_",
        "%%%",
        "a' OR '1'='1",
        "'; DROP TABLE users; -- ",
        "\" OR 1=1 #",
        "1) UNION SELECT 1,2,3 -- ",
        "${jndi:ldap://x}",
        "{{ jwt_secret }}",
        "<script>alert(1)</script>",
        "../../etc/passwd",
        "line\r\nbreak: yes",
        "tab\tand\u{7f}",
        "\u{202e}drawkcab\u{202c}",
        "🧨🛒👩‍👩‍👧‍👦",
        "无线蓝牙耳机",
        "e\u{301}\u{327}",
        "\u{feff}bom",
        "null",
        "-1",
        "1e309",
        "*",
        "FLUSHALL\r\n",
    ]
    .map(str::to_owned)
    .to_vec()
}
