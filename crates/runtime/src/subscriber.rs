//! The Redis trigger. As in Spin, messages from one address are handled one at a time, each in a new instance. Spin
//! exits when Redis is gone; this reconnects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::join_all;
use redis::{Client, RedisResult};
use tokio::sync::watch;

use crate::bindings::subscriber::{SubscriberPre, spin::redis::redis::Error};
use crate::function::Function;
use crate::guest::Guest;

const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// If no message arrives for this long, a ping tests whether the connection still works.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// A function that handles messages.
pub struct Subscriber {
    function: Arc<Function>,
    pre: SubscriberPre<Guest>,
}

impl Subscriber {
    pub fn new(function: Arc<Function>) -> wasmtime::Result<Self> {
        let pre = SubscriberPre::new(function.pre.clone())?;
        Ok(Self { function, pre })
    }

    async fn handle(&self, channel: &str, message: Vec<u8>) {
        let component = &self.function.config.name;
        let handled = tokio::time::timeout(self.function.limits.message_timeout, self.run(message)).await;
        match handled {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(component, channel, "message failed: {error:?}"),
            Ok(Err(error)) => tracing::error!(component, channel, "message failed: its instance failed: {error:#}"),
            Err(_) => tracing::error!(component, channel, "message failed: timed out"),
        }
    }

    async fn run(&self, message: Vec<u8>) -> wasmtime::Result<Result<(), Error>> {
        let _permit = self.function.instances.acquire().await?;
        let mut store = self.function.store();
        let subscriber = self.pre.instantiate_async(&mut store).await?;
        store
            .run_concurrent(async |accessor| {
                let handler = subscriber.spin_redis_inbound_redis();
                handler.call_handle_message(accessor, message).await
            })
            .await?
    }
}

/// The subscriptions on one address.
pub struct Subscriptions {
    client: Client,
    by_channel: BTreeMap<String, Vec<Subscriber>>,
}

impl Subscriptions {
    pub fn new(client: Client) -> Self {
        Self { client, by_channel: BTreeMap::new() }
    }

    pub fn add(&mut self, channel: String, subscriber: Subscriber) {
        self.by_channel.entry(channel).or_default().push(subscriber);
    }

    /// Subscribes and handles messages until `stop`. `ready` is true while the subscriptions are active.
    pub async fn run(self, mut stop: watch::Receiver<bool>, ready: watch::Sender<bool>) {
        let server = self.client.get_connection_info().addr().to_string();
        let mut backoff = MIN_BACKOFF;
        while !*stop.borrow() {
            let begun = Instant::now();
            if let Err(error) = self.subscribe(&mut stop, &ready).await {
                tracing::warn!(server, %error, "Redis subscription failed, will retry");
            }
            ready.send_replace(false);
            if begun.elapsed() > MAX_BACKOFF {
                backoff = MIN_BACKOFF;
            }
            tokio::select! {
                () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(MAX_BACKOFF),
                () = stopped(&mut stop) => return,
            }
        }
    }

    /// Handles messages on one connection until it breaks.
    async fn subscribe(&self, stop: &mut watch::Receiver<bool>, ready: &watch::Sender<bool>) -> RedisResult<()> {
        let (mut sink, mut messages) = self.client.get_async_pubsub().await?.split();
        for channel in self.by_channel.keys() {
            sink.subscribe(channel).await?;
        }
        ready.send_replace(true);
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                () = tokio::time::sleep(PING_INTERVAL) => {
                    match tokio::time::timeout(PING_TIMEOUT, sink.ping::<redis::Value>()).await {
                        Ok(pong) => drop(pong?),
                        Err(_) => return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
                    }
                    continue;
                }
                () = stopped(stop) => return Ok(()),
            };
            let Some(message) = message else {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            };
            let channel = message.get_channel_name();
            let Some(subscribers) = self.by_channel.get(channel) else {
                continue;
            };
            let payload = message.get_payload_bytes();
            join_all(subscribers.iter().map(|subscriber| subscriber.handle(channel, payload.to_vec()))).await;
        }
    }
}

/// Returns when the application is stopped.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and the application with it.
    let _ = stop.wait_for(|stop| *stop).await;
}
