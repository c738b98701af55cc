//! A database server that this command starts.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};

use crate::{
    process::{self, ChildProcess},
    project::write_private,
};

/// How much of the data must survive a loss of power: all in a shop, nothing in tests.
#[derive(Clone, Copy, PartialEq)]
pub enum Durability {
    Full,
    None,
}

pub struct Server {
    /// Such as `MariaDB 10.11.6`.
    pub product: String,
    pub process: ChildProcess,
    new_command: Box<dyn Fn() -> Command + Send>,
    log: PathBuf,
    pid_file: PathBuf,
    port: u16,
}

const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

impl Server {
    pub fn start(
        product: String,
        folder: &Path,
        name: &str,
        port: u16,
        new_command: impl Fn() -> Command + Send + 'static,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let pid_file = folder.join(format!("{name}.pid"));
        let process = spawn(&product, new_command(), &log)?;
        let server = Self { product, process, new_command: Box::new(new_command), log, pid_file, port };
        server.write_pid()?;
        Ok(server)
    }

    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.process = spawn(&self.product, (self.new_command)(), &self.log)?;
        self.write_pid()
    }

    fn write_pid(&self) -> anyhow::Result<()> {
        write_private(&self.pid_file, format!("{} {}", self.process.pid(), self.port).as_bytes())
    }

    /// Waits until `is_ready` returns true. Fails if the server exits.
    pub async fn ready<F: Future<Output = bool>>(&mut self, is_ready: impl Fn() -> F) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + START_TIMEOUT;
        loop {
            if is_ready().await {
                return Ok(());
            }
            if let Some(status) = self.process.exited() {
                bail!("{} exited ({status}): {}", self.product, last_error(&self.log));
            }
            if tokio::time::Instant::now() > deadline {
                bail!(
                    "{} did not answer within {} s: see {}",
                    self.product,
                    START_TIMEOUT.as_secs(),
                    self.log.display()
                );
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

fn spawn(name: &str, mut command: Command, log: &Path) -> anyhow::Result<ChildProcess> {
    let file = File::create(log).with_context(|| format!("{} can't be written", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    ChildProcess::spawn(name, &mut command, STOP_TIMEOUT)
}

/// Stops the server of an earlier run that was killed.
pub fn stop_leftover(folder: &Path, name: &str) {
    let pid_file = folder.join(format!("{name}.pid"));
    let Ok(text) = fs::read_to_string(&pid_file) else { return };
    if let Some((pid, port)) = text.split_once(' ')
        && let Ok(pid) = pid.parse()
    {
        process::terminate_orphan(pid, port.trim());
    }
    let _ = fs::remove_file(pid_file);
}

/// The last error in a log, else its last line.
pub fn last_error(log: &Path) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(log) {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(20_000)));
        let _ = file.read_to_end(&mut text);
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let error = lines.iter().rfind(|line| line.contains("[ERROR]") && !line.contains("Aborting"));
    error.or(lines.last()).map_or_else(|| format!("see {}", log.display()), |line| line.trim().to_owned())
}

/// A port that is free now. Another process may take it before it is used.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("there is no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// The output of `mariadbd --version` and the like.
pub fn version_line(program: &Path) -> anyhow::Result<String> {
    let output = Command::new(program).arg("--version").output();
    let output = output.with_context(|| format!("{} can't be run", program.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

/// The first version number in a line.
pub fn version_in(line: &str) -> String {
    let numbers = line.split(|c: char| !c.is_ascii_digit() && c != '.').find(|word| word.matches('.').count() >= 2);
    numbers.unwrap_or_default().trim_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn version_numbers_are_found() {
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
