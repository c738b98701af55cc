//! A Redis or Valkey server of our own, and what the shop needs of anyone's.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, anyhow};
use redis::aio::MultiplexedConnection;

use super::{Durability, Server, end_predecessor, free_port, version_in, version_line};
use crate::{
    address::Redis,
    process::find_program,
    project::{Project, private_folder, write_private},
    ui,
};

const PATIENCE: Duration = Duration::from_secs(5);

pub fn program() -> Option<PathBuf> {
    find_program(&["redis-server", "valkey-server"])
}

pub async fn start(project: &Project, durability: Durability) -> anyhow::Result<(Server, Redis)> {
    let program = program().context("no Redis or Valkey server on this machine")?;
    let line = version_line(&program)?;
    let name = if line.to_ascii_lowercase().contains("valkey") { "Valkey" } else { "Redis" };
    let product = format!("{name} {}", version_in(&line));
    let folder = project.state.clone();
    end_predecessor(&folder, "redis");

    let step = ui::step(&format!("Starting {product}"));
    let data = folder.join("redis");
    private_folder(&data)?;
    let password = project.secret("redis-password")?;
    let configuration = folder.join("redis.conf");

    // Between choosing a port and taking it, another may take it.
    let mut refused = None;
    for _ in 0..3 {
        let port = free_port()?;
        // In a file, since arguments can be read by everyone on the machine.
        let text = configured(&data.display().to_string(), port, &password, durability);
        write_private(&configuration, text.as_bytes())?;
        let (program, file) = (program.clone(), configuration.clone());
        let recipe = move || {
            let mut command = Command::new(&program);
            command.arg(&file);
            command
        };
        let mut server = Server::launch(product.clone(), &folder, "redis", port, recipe)?;
        let redis = Redis { host: format!("127.0.0.1:{port}"), auth: format!("default:{password}@") };
        match server.ready(|| async { connect(&redis).await.is_ok() }).await {
            Ok(()) => {
                step.done(&format!("{product} on 127.0.0.1:{port}, data in {}", data.display()));
                return Ok((server, redis));
            }
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.context("Redis")?)
}

fn configured(data: &str, port: u16, password: &str, durability: Durability) -> String {
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

/// A connection that answers; the error is one line without the password.
pub async fn connect(redis: &Redis) -> anyhow::Result<MultiplexedConnection> {
    let client = redis::Client::open(redis.to_url()).map_err(|error| anyhow!("Redis at {redis}: {error}"))?;
    let opened = tokio::time::timeout(PATIENCE, async {
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("PING").query_async::<()>(&mut connection).await?;
        redis::RedisResult::Ok(connection)
    });
    match opened.await {
        Err(_) => Err(anyhow!("Redis at {redis} does not answer within {} s", PATIENCE.as_secs())),
        Ok(Err(error)) if error.is_io_error() => Err(anyhow!("Redis at {redis} can't be reached: {error}")),
        Ok(Err(error)) => match error.kind() {
            redis::ErrorKind::AuthenticationFailed => Err(anyhow!("Redis at {redis} refuses the user or password")),
            _ if error.code() == Some("NOAUTH") => {
                Err(anyhow!("Redis at {redis} wants a password: redis://user:password@host:port"))
            }
            _ => Err(anyhow!("Redis at {redis}: {error}")),
        },
        Ok(Ok(connection)) => Ok(connection),
    }
}

/// Timers wait for keys to expire, which a Redis tells of only if it was asked to.
pub async fn prepare(redis: &Redis) -> anyhow::Result<()> {
    const NAME: &str = "notify-keyspace-events";
    let mut connection = connect(redis).await?;
    let flags: redis::RedisResult<Vec<String>> =
        redis::cmd("CONFIG").arg("GET").arg(NAME).query_async(&mut connection).await;
    let outcome = match flags.map(|pair| pair.into_iter().nth(1).unwrap_or_default()) {
        Ok(flags) => match with_expiry(&flags) {
            Some(more) => redis::cmd("CONFIG").arg("SET").arg(NAME).arg(more).query_async::<()>(&mut connection).await,
            None => Ok(()),
        },
        Err(error) => Err(error),
    };
    if outcome.is_err() {
        ui::warn(&format!(
            "Redis at {redis} does not let its settings be changed: see that {NAME} includes Ex, or timers come late"
        ));
    }
    Ok(())
}

/// The flags with key events (E) of expiry (x) added; nothing if both are there.
fn with_expiry(flags: &str) -> Option<String> {
    let mut more = flags.to_owned();
    if !flags.contains('E') {
        more.push('E');
    }
    if !flags.contains(['x', 'A']) {
        more.push('x');
    }
    (more != flags).then_some(more)
}

#[cfg(test)]
mod tests {
    use super::with_expiry;

    #[test]
    fn flags_are_added_to_those_that_stand() {
        assert_eq!(with_expiry("").as_deref(), Some("Ex"));
        assert_eq!(with_expiry("Kg").as_deref(), Some("KgEx"));
        assert_eq!(with_expiry("KA").as_deref(), Some("KAE"));
        assert_eq!(with_expiry("xE"), None);
        assert_eq!(with_expiry("AKE"), None);
    }
}
