//! `spin:redis`: functions that open the same address share one multiplexed connection.

pub mod connection;
mod reply;

use std::sync::Arc;

use redis::Cmd;
use wasmtime::component::{Accessor, HasSelf, Resource};

use crate::bindings::spin::redis::redis::{self as wit, Error, Payload, RedisParameter, RedisResult};
use crate::guest::Guest;
use connection::Connection;

impl wit::Host for Guest {}

impl wit::HostConnection for Guest {
    fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

/// Sends a command on one of the guest's connections.
async fn send<T: Send>(
    accessor: &Accessor<T, HasSelf<Guest>>,
    connection: &Resource<Connection>,
    command: Cmd,
) -> Result<redis::Value, Error> {
    let handle = accessor
        .with(|mut access| access.get().table.get(connection).map(|c| c.0.clone()))
        .map_err(|_| Error::Other("could not find connection for resource".into()))?;
    let value = handle.send(&command).await;
    value.and_then(|value| value.extract_error()).map_err(reply::error)
}

fn command(name: &str, arguments: &[&[u8]]) -> Cmd {
    let mut command = redis::cmd(name);
    for argument in arguments {
        command.arg(*argument);
    }
    command
}

fn command_with_key(name: &str, key: &str, values: &[String]) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(key).arg(values);
    command
}

impl<T: Send> wit::HostConnectionWithStore<T> for HasSelf<Guest> {
    async fn open(accessor: &Accessor<T, Self>, address: String) -> Result<Resource<Connection>, Error> {
        let (config, services) = accessor.with(|mut access| {
            let guest = access.get();
            (guest.config.clone(), guest.services.clone())
        });
        if !config.hosts.allow(&address, "redis") {
            return Err(Error::InvalidAddress);
        }
        let handle = services.redis.open(&address).map_err(|_| Error::InvalidAddress)?;
        handle.connect().await.map_err(reply::error)?;
        let connection = Connection(Arc::new(handle));
        accessor.with(|mut access| access.get().table.push(connection)).map_err(|_| Error::TooManyConnections)
    }

    async fn publish(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        channel: String,
        payload: Payload,
    ) -> Result<(), Error> {
        let command = command("PUBLISH", &[channel.as_bytes(), &payload]);
        send(accessor, &connection, command).await?;
        Ok(())
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
    ) -> Result<Option<Payload>, Error> {
        let value = send(accessor, &connection, command("GET", &[key.as_bytes()])).await?;
        reply::to(value)
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        value: Payload,
    ) -> Result<(), Error> {
        send(accessor, &connection, command("SET", &[key.as_bytes(), &value])).await?;
        Ok(())
    }

    async fn incr(accessor: &Accessor<T, Self>, connection: Resource<Connection>, key: String) -> Result<i64, Error> {
        let value = send(accessor, &connection, command("INCRBY", &[key.as_bytes(), b"1"])).await?;
        reply::to(value)
    }

    async fn del(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        keys: Vec<String>,
    ) -> Result<u32, Error> {
        let mut command = redis::cmd("DEL");
        command.arg(keys);
        reply::to(send(accessor, &connection, command).await?)
    }

    async fn sadd(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Result<u32, Error> {
        let value = send(accessor, &connection, command_with_key("SADD", &key, &values)).await?;
        reply::to(value).map_err(|_| Error::TypeError)
    }

    async fn smembers(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
    ) -> Result<Vec<String>, Error> {
        let value = send(accessor, &connection, command("SMEMBERS", &[key.as_bytes()])).await?;
        reply::to(value)
    }

    async fn srem(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Result<u32, Error> {
        let value = send(accessor, &connection, command_with_key("SREM", &key, &values)).await?;
        reply::to(value)
    }

    async fn execute(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        command: String,
        arguments: Vec<RedisParameter>,
    ) -> Result<Vec<RedisResult>, Error> {
        let mut cmd = redis::cmd(&command);
        for argument in arguments {
            match argument {
                RedisParameter::Int64(number) => cmd.arg(number),
                RedisParameter::Binary(bytes) => cmd.arg(bytes),
            };
        }
        let value = send(accessor, &connection, cmd).await?;
        let mut results = Vec::new();
        reply::flatten(value, &mut results)?;
        Ok(results)
    }
}
