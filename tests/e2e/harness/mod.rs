//! The test harness: shops, users, requests and replies, servers for single tests, and tools to break connections.

mod call;
mod dedicated_shop;
mod endpoints;
mod inserted_users;
mod proxy;
pub mod rules;
mod servers;
mod service;
mod shop;
pub mod token;
mod transcript;
mod users;
pub mod wire;

pub use call::{Call, Reply};
pub use dedicated_shop::{DedicatedShop, ShopBuilder};
pub use endpoints::{Access, Endpoints};
pub use proxy::{AtCommit, Proxy};
pub use servers::{Servers, ledger_check};
pub use service::{FakeService, ReceivedRequest};
pub use shop::{Shop, Stock};
pub use transcript::Transcript;
pub use users::User;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Twelve hexadecimal digits, different at each call.
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

/// Calls `check` until it returns a value; panics after `within`.
pub async fn eventually<T>(what: &str, within: Duration, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(start.elapsed() < within, "{what}: not within {within:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Text percent-encoded for a path segment or a query.
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

/// Strings that break careless string handling: SQL, scripts, control characters, odd Unicode.
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
