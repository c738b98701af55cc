//! Handles messages of the form `<ms> <text>`: it logs the text to Redis, waits, and logs it again.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use spin_sdk::redis::{Connection, Error, RedisParameter};
use spin_sdk::{redis_subscriber, time, variables};

static SEEN: AtomicU32 = AtomicU32::new(0);

#[redis_subscriber]
async fn handle(message: Vec<u8>) -> Result<(), Error> {
    let seen = SEEN.fetch_add(1, Relaxed) + 1;
    let message = String::from_utf8_lossy(&message).into_owned();
    let (ms, text) = message.split_once(' ').unwrap_or(("0", &message));
    if text == "trap" {
        panic!("as asked");
    }
    let redis = variables::get("redis").await.unwrap();
    let connection = Connection::open(redis).await?;
    for (event, wait) in [("begin", ms.parse().unwrap_or(0)), ("end", 0)] {
        let entry = format!("{event} {text} {seen}").into_bytes();
        connection.execute("RPUSH", [RedisParameter::Binary(b"log".to_vec()), RedisParameter::Binary(entry)]).await?;
        time::sleep(Duration::from_millis(wait)).await;
    }
    Ok(())
}
