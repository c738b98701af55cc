//! Starts a Redis or Valkey server for the shop, and configures one whose address is given.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, anyhow};
use redis::aio::MultiplexedConnection;

use super::server::{Durability, Server, free_port, stop_leftover, version_in, version_line};
use crate::{
    address::Redis,
    process::find_program,
    project::{Project, private_folder, write_private},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub fn program() -> Option<PathBuf> {
    find_program(&["redis-server", "valkey-server"])
}

pub async fn start(project: &Project, durability: Durability) -> anyhow::Result<(Server, Redis)> {
    let program = program().context("no Redis or Valkey server on this machine")?;
    let line = version_line(&program)?;
    let name = if line.to_ascii_lowercase().contains("valkey") { "Valkey" } else { "Redis" };
    let product = format!("{name} {}", version_in(&line));
    let folder = project.state.clone();
    stop_leftover(&folder, "redis");

    let step = progress::step(&format!("Starting {product}"));
    let data = folder.join("redis");
    private_folder(&data)?;
    let password = project.secret("redis-password")?;
    let configuration = folder.join("redis.conf");

    // Another process may take the port before the server does.
    let mut last_error = None;
    for _ in 0..3 {
        let port = free_port()?;
        // A file, since every user of the machine can read a process's arguments.
        let text = configuration_text(&data.display().to_string(), port, &password, durability);
        write_private(&configuration, text.as_bytes())?;
        let (program, file) = (program.clone(), configuration.clone());
        let new_command = move || {
            let mut command = Command::new(&program);
            command.arg(&file);
            command
        };
        let mut server = Server::start(product.clone(), &folder, "redis", port, new_command)?;
        let redis =
            Redis { scheme: "redis".into(), host: format!("127.0.0.1:{port}"), auth: format!("default:{password}@") };
        match server.ready(|| async { connect(&redis).await.is_ok() }).await {
            Ok(()) => {
                step.done(&format!("{product} on 127.0.0.1:{port}, data in {}", data.display()));
                return Ok((server, redis));
            }
            Err(error) => last_error = Some(error),
        }
    }
    Err(last_error.context("Redis")?)
}

fn configuration_text(data: &str, port: u16, password: &str, durability: Durability) -> String {
    let append = if durability == Durability::Full { "yes" } else { "no" };
    format!(
        "bind 127.0.0.1\n\
         port {port}\n\
         dir \"{data}\"\n\
         requirepass {password}\n\
         daemonize no\n\
         appendonly {append}\n\
         appendfsync everysec\n\
         save \"\"\n\
         maxmemory-policy noeviction\n\
         notify-keyspace-events Ex\n"
    )
}

/// Connects. The error is one line, without the password.
pub async fn connect(redis: &Redis) -> anyhow::Result<MultiplexedConnection> {
    let client = redis::Client::open(redis.to_url()).map_err(|error| anyhow!("Redis at {redis}: {error}"))?;
    let opened = tokio::time::timeout(CONNECT_TIMEOUT, async {
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("PING").query_async::<()>(&mut connection).await?;
        redis::RedisResult::Ok(connection)
    });
    match opened.await {
        Err(_) => Err(anyhow!("Redis at {redis} did not answer within {} s", CONNECT_TIMEOUT.as_secs())),
        Ok(Err(error)) if error.is_io_error() => Err(anyhow!("Redis at {redis} can't be reached: {error}")),
        Ok(Err(error)) => match error.kind() {
            redis::ErrorKind::AuthenticationFailed => Err(anyhow!("Redis at {redis} rejected the user or password")),
            _ if error.code() == Some("NOAUTH") => {
                Err(anyhow!("Redis at {redis} requires a password: redis://user:password@host:port"))
            }
            _ => Err(anyhow!("Redis at {redis}: {error}")),
        },
        Ok(Ok(connection)) => Ok(connection),
    }
}

/// Enables keyspace notifications for keys that expire: timers depend on them.
pub async fn enable_expiry_notifications(redis: &Redis) -> anyhow::Result<()> {
    const NAME: &str = "notify-keyspace-events";
    let mut connection = connect(redis).await?;
    let flags: redis::RedisResult<Vec<String>> =
        redis::cmd("CONFIG").arg("GET").arg(NAME).query_async(&mut connection).await;
    let result = match flags.map(|pair| pair.into_iter().nth(1).unwrap_or_default()) {
        Ok(flags) => match with_expiry(&flags) {
            Some(flags) => {
                redis::cmd("CONFIG").arg("SET").arg(NAME).arg(flags).query_async::<()>(&mut connection).await
            }
            None => Ok(()),
        },
        Err(error) => Err(error),
    };
    if result.is_err() {
        progress::warn(&format!(
            "Redis at {redis} refuses CONFIG: set {NAME} to Ex (or more) yourself, or timers will be late"
        ));
    }
    Ok(())
}

/// The flags with those for key events (E) and expiry (x) added. Nothing if both are set.
fn with_expiry(flags: &str) -> Option<String> {
    let mut extended = flags.to_owned();
    if !flags.contains('E') {
        extended.push('E');
    }
    if !flags.contains(['x', 'A']) {
        extended.push('x');
    }
    (extended != flags).then_some(extended)
}

#[cfg(test)]
mod tests {
    use super::with_expiry;

    #[test]
    fn missing_flags_are_added() {
        assert_eq!(with_expiry("").as_deref(), Some("Ex"));
        assert_eq!(with_expiry("Kg").as_deref(), Some("KgEx"));
        assert_eq!(with_expiry("KA").as_deref(), Some("KAE"));
        assert_eq!(with_expiry("xE"), None);
        assert_eq!(with_expiry("AKE"), None);
    }
}
