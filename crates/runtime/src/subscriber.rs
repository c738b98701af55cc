//! The Redis trigger: a message at a time for each address, each in a fresh instance. Where Spin would exit because
//! Redis is gone, this connects again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::join_all;
use tokio::sync::watch;

use crate::bindings::subscriber::SubscriberPre;
use crate::function::Function;
use crate::guest::Guest;
use crate::redis::client;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A connection on which nothing comes is asked whether it still stands.
const PING: Duration = Duration::from_secs(15);

/// A function that hears messages.
pub struct Listener {
    function: Arc<Function>,
    pre: SubscriberPre<Guest>,
}

impl Listener {
    pub fn new(function: Arc<Function>) -> wasmtime::Result<Self> {
        let pre = SubscriberPre::new(function.pre.clone())?;
        Ok(Self { function, pre })
    }

    async fn hear(&self, message: Vec<u8>) {
        let component = &self.function.grants.name;
        let handled = tokio::time::timeout(self.function.limits.message, self.run(message)).await;
        match handled {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(component, "a message failed: {error:?}"),
            Ok(Err(error)) => tracing::error!(component, "an instance failed: {error:#}"),
            Err(_) => tracing::error!(component, "a message took too long"),
        }
    }

    async fn run(
        &self,
        message: Vec<u8>,
    ) -> wasmtime::Result<Result<(), crate::bindings::subscriber::spin::redis::redis::Error>> {
        let _permit = self.function.instances.enter().await?;
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

/// What is heard on an address: by channel, the functions that hear it.
#[derive(Default)]
pub struct Channels(BTreeMap<String, Vec<Listener>>);

impl Channels {
    pub fn add(&mut self, channel: String, listener: Listener) {
        self.0.entry(channel).or_default().push(listener);
    }

    /// Subscribes and handles messages until told to stop; `ready` is told each time when the subscriptions stand.
    pub async fn listen(self, client: ::redis::Client, mut stop: watch::Receiver<bool>, ready: watch::Sender<bool>) {
        let server = client.get_connection_info().addr().to_string();
        let mut wait = FIRST_WAIT;
        while !*stop.borrow() {
            let begun = Instant::now();
            if let Err(error) = self.session(&client, &mut stop, &ready).await {
                tracing::warn!(server, %error, "not subscribed, trying again");
            }
            ready.send_replace(false);
            if begun.elapsed() > LONGEST_WAIT {
                wait = FIRST_WAIT;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(LONGEST_WAIT),
                () = told(&mut stop) => return,
            }
        }
    }

    /// One connection's life.
    async fn session(
        &self,
        client: &::redis::Client,
        stop: &mut watch::Receiver<bool>,
        ready: &watch::Sender<bool>,
    ) -> ::redis::RedisResult<()> {
        let (mut sink, mut messages) = client.get_async_pubsub().await?.split();
        for channel in self.0.keys() {
            sink.subscribe(channel).await?;
        }
        ready.send_replace(true);
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                () = tokio::time::sleep(PING) => {
                    match tokio::time::timeout(PING, sink.ping::<::redis::Value>()).await {
                        Ok(pong) => drop(pong?),
                        Err(_) => return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
                    }
                    continue;
                }
                () = told(stop) => return Ok(()),
            };
            let Some(message) = message else {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            };
            let Some(listeners) = self.0.get(message.get_channel_name()) else {
                continue;
            };
            let payload = message.get_payload_bytes();
            join_all(listeners.iter().map(|listener| listener.hear(payload.to_vec()))).await;
        }
    }
}

/// Done when told to stop, or when nobody could tell any more.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The clients of all addresses, each with what is heard there.
pub type Addresses = HashMap<String, Channels>;

/// A client for an address of a trigger.
pub fn connectable(address: &str) -> ::redis::RedisResult<::redis::Client> {
    client(address)
}
