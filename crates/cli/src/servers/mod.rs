//! Where the databases come from: an address that was given, or servers of our own under `.mall/`.

mod install;
mod mysql;
mod redis;

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::Signal;

pub use self::redis::connect as connect_redis;
use crate::{
    address::{Mysql, Redis, Variables},
    process::{self, Guarded},
    project::{Lock, Project, write_private},
};

/// How much a database of our own may lose when the machine loses power. Nobody's orders are in a test's.
#[derive(Clone, Copy, PartialEq)]
pub enum Durability {
    Full,
    None,
}

pub struct Databases {
    pub mysql: Mysql,
    pub redis: Redis,
    own: Vec<Server>,
    _lock: Option<Lock>,
}

impl Databases {
    /// Those that were given; what was not given is started. Call on the main thread (see `process`).
    pub async fn find_or_start(
        project: &Project,
        mysql: Option<Mysql>,
        redis: Option<Redis>,
        durability: Durability,
    ) -> anyhow::Result<Self> {
        let missing = install::Missing { mysql: mysql.is_none(), redis: redis.is_none() };
        let lock = if missing.mysql || missing.redis { Some(project.lock()?) } else { None };
        install::install(missing)?;
        let mut own = Vec::new();
        let mysql = match mysql {
            Some(mysql) => mysql,
            None => {
                let (server, mysql) = mysql::start(project, durability).await?;
                own.push(server);
                mysql
            }
        };
        let redis = match redis {
            Some(redis) => {
                redis::prepare(&redis).await?;
                redis
            }
            None => {
                let (server, redis) = redis::start(project, durability).await?;
                own.push(server);
                redis
            }
        };
        Ok(Self { mysql, redis, own, _lock: lock })
    }

    pub fn variables(&self) -> Variables {
        let pairs = self.mysql.variables().into_iter().chain(self.redis.variables());
        pairs.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// `MariaDB 10.11.6 and Redis 7.0.15`, as far as they are ours.
    pub fn describe(&self) -> Option<String> {
        let names: Vec<_> = self.own.iter().map(|server| server.product.as_str()).collect();
        (!names.is_empty()).then(|| names.join(" and "))
    }

    /// Of the servers that are ours.
    pub fn pids(&self) -> impl Iterator<Item = i32> {
        self.own.iter().map(|server| server.process.pid())
    }

    /// Starts again what has ended by itself, at the same address; says what it was.
    pub fn revive(&mut self) -> anyhow::Result<Vec<String>> {
        let mut revived = Vec::new();
        for server in &mut self.own {
            if let Some(status) = server.process.exited() {
                server.start()?;
                revived.push(format!("{} ended ({status}) and was started again", server.product));
            }
        }
        Ok(revived)
    }

    pub fn stop(self) {
        for server in &self.own {
            server.process.signal(Signal::TERM);
        }
        // Dropping waits for each.
    }
}

/// A database server that is ours, and how to start it again.
struct Server {
    product: String,
    process: Guarded,
    recipe: Box<dyn Fn() -> Command + Send>,
    log: std::path::PathBuf,
    pid_file: std::path::PathBuf,
    port: u16,
}

const PATIENCE: Duration = Duration::from_secs(30);

impl Server {
    fn launch(
        product: String,
        folder: &Path,
        name: &str,
        port: u16,
        recipe: impl Fn() -> Command + Send + 'static,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let pid_file = folder.join(format!("{name}.pid"));
        let process = spawn(&product, recipe(), &log)?;
        let server = Self { product, process, recipe: Box::new(recipe), log, pid_file, port };
        server.write_pid()?;
        Ok(server)
    }

    fn start(&mut self) -> anyhow::Result<()> {
        self.process = spawn(&self.product, (self.recipe)(), &self.log)?;
        self.write_pid()
    }

    fn write_pid(&self) -> anyhow::Result<()> {
        write_private(&self.pid_file, format!("{} {}", self.process.pid(), self.port).as_bytes())
    }

    /// Waits until `answers` says so, or the server has given up.
    async fn ready<F: Future<Output = bool>>(&mut self, answers: impl Fn() -> F) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            if answers().await {
                return Ok(());
            }
            if let Some(status) = self.process.exited() {
                bail!("{} ended at once ({status}): {}", self.product, last_words(&self.log));
            }
            if tokio::time::Instant::now() > deadline {
                bail!("{} does not answer after 60 s: see {}", self.product, self.log.display());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.stop();
        let _ = fs::remove_file(&self.pid_file);
    }
}

fn spawn(name: &str, mut command: Command, log: &Path) -> anyhow::Result<Guarded> {
    let file = File::create(log).with_context(|| format!("{} can't be written", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    Guarded::spawn(name, &mut command, PATIENCE)
}

/// Ends the servers of an earlier run, before their data is deleted.
pub fn end_predecessors(folder: &Path) {
    end_predecessor(folder, "mysql");
    end_predecessor(folder, "redis");
}

/// Ends the server of an earlier run that was killed before it could do so itself.
fn end_predecessor(folder: &Path, name: &str) {
    let pid_file = folder.join(format!("{name}.pid"));
    let Ok(text) = fs::read_to_string(&pid_file) else { return };
    if let Some((pid, port)) = text.split_once(' ')
        && let Ok(pid) = pid.parse()
    {
        process::end_orphan(pid, port.trim());
    }
    let _ = fs::remove_file(pid_file);
}

/// The last line of a log that speaks of an error, else the last line.
pub fn last_words(log: &Path) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(log) {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(20_000)));
        let _ = file.read_to_end(&mut text);
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let telling = lines.iter().rfind(|line| line.contains("[ERROR]") && !line.contains("Aborting"));
    telling.or(lines.last()).map_or_else(|| format!("see {}", log.display()), |line| line.trim().to_owned())
}

/// A port that nobody has, as of now.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// `mariadbd --version` and the like, as one line.
fn version_line(program: &Path) -> anyhow::Result<String> {
    let output = Command::new(program).arg("--version").output();
    let output = output.with_context(|| format!("{} can't be run", program.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

/// The first thing in a version line that looks like a version.
fn version_in(line: &str) -> String {
    let numbers = line.split(|c: char| !c.is_ascii_digit() && c != '.').find(|word| word.matches('.').count() >= 2);
    numbers.unwrap_or_default().trim_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn versions_in_what_servers_say() {
        for (line, version) in [
            ("mariadbd  Ver 10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)", "10.11.6"),
            ("/usr/sbin/mysqld  Ver 8.4.3 for Linux on x86_64 (MySQL Community Server - GPL)", "8.4.3"),
            ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d", "7.0.15"),
            ("nothing", ""),
        ] {
            assert_eq!(version_in(line), version);
        }
    }
}
