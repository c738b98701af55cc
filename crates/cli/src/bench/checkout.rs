//! The shop of a checkout, run by that checkout's own `cargo mall`, with its own databases. Only the command line, the
//! HTTP API and the variables are used, which are the same at every commit.

use std::{
    ffi::OsStr,
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use load::{
    http,
    plan::{Outcome, Plan},
};

use super::subject::Load;
use crate::{
    process::ChildProcess,
    project::Project,
    servers::{Durability, free_port, last_error},
    temporary_shop::TemporaryDatabases,
};

/// No rate limit applies and nothing expires during a run. A checkout ignores the variables that it does not know.
const VARIABLES: [(&str, &str); 10] = [
    ("ACCESS_TTL_SECONDS", "86400"),
    ("ORDER_TTL_SECONDS", "86400"),
    ("LOGIN_RATE", "1000000"),
    ("LOGIN_BURST", "1000000"),
    ("REGISTER_RATE", "1000000"),
    ("REGISTER_BURST", "1000000"),
    ("WRITE_RATE", "1000000"),
    ("WRITE_BURST", "1000000"),
    ("SECKILL_RATE", "1000000"),
    ("SECKILL_BURST", "1000000"),
];

// Fields are dropped in this order: the shop needs its databases until it has stopped.
pub struct Checkout {
    pub address: SocketAddr,
    root: PathBuf,
    shop: ChildProcess,
    scratch: TemporaryDatabases,
}

impl Checkout {
    /// Builds it, starts it, and waits until it is ready. Call on the main thread (see `process`).
    pub async fn start(project: &Project, root: &Path) -> anyhow::Result<Self> {
        let scratch = TemporaryDatabases::start(project, "bench", Durability::Full).await?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let log = scratch.project.state.join("shop.log");
        let file = File::create(&log).context("the shop's log can't be written")?;
        let mut up = command(root, &scratch);
        up.args(["up", "--no-demo", "--listen", &address.to_string()]).stdout(file.try_clone()?).stderr(file);
        let step = progress::step(&format!("Building and starting {} (the first time takes minutes)", root.display()));
        let mut shop = ChildProcess::spawn("the shop", &mut up, Duration::from_secs(15))?;
        while !http::answers(address, "/ready").await {
            if let Some(status) = shop.exited() {
                bail!("`cargo mall up` in {} ended ({status}): {}", root.display(), last_error(&log));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        drop(step);
        Ok(Self { address, root: root.to_owned(), shop, scratch })
    }

    pub async fn grant_admin(&self, username: &str) -> anyhow::Result<()> {
        let log = self.scratch.project.state.join("grant-admin.log");
        let file = File::create(&log).context("a log can't be written")?;
        let mut grant = command(&self.root, &self.scratch);
        grant.args(["grant-admin", username]).stdout(file.try_clone()?).stderr(file);
        let status = ChildProcess::spawn("cargo mall grant-admin", &mut grant, Duration::from_secs(5))?.wait().await;
        ensure!(status.success(), "`cargo mall grant-admin` in {} failed: {}", self.root.display(), last_error(&log));
        Ok(())
    }

    /// Runs a load, and returns when the shop is idle again.
    pub async fn measure(&self, plan: &Plan) -> anyhow::Result<Outcome> {
        let outcome = Load::start(plan)?.finish().await?;
        self.until_idle().await;
        Ok(outcome)
    }

    /// Waits until the workers have done the jobs that the load has caused, such as shipping, so that they don't slow
    /// down the other shop. The processor time of the shop and its databases shows this at every commit; tables of jobs
    /// differ. Without /proc there is no waiting.
    async fn until_idle(&self) {
        const SPAN: Duration = Duration::from_millis(100);
        const PATIENCE: Duration = Duration::from_secs(60);
        let begun = Instant::now();
        let mut quiet = 0;
        while quiet < 2 {
            let Some(before) = self.processor_time() else { return };
            tokio::time::sleep(SPAN).await;
            let Some(after) = self.processor_time() else { return };
            // An idle shop's heartbeat and servers take about a hundredth.
            let busy = after.saturating_sub(before) > SPAN / 10;
            quiet = if busy { 0 } else { quiet + 1 };
            if begun.elapsed() > PATIENCE {
                let root = self.root.display();
                progress::warn(&format!(
                    "{root} is still busy {} s after the load: the figures may be off",
                    PATIENCE.as_secs()
                ));
                return;
            }
        }
    }

    /// Used by the shop and its databases so far.
    fn processor_time(&self) -> Option<Duration> {
        self.scratch.databases.pids().chain([self.shop.pid()]).map(processor_time).sum()
    }
}

fn processor_time(pid: i32) -> Option<Duration> {
    time_in_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields 14 and 15, in hundredths of a second: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
fn time_in_stat(stat: &str) -> Option<Duration> {
    // Field 2 is the program's name in parentheses, which may itself contain spaces and parentheses.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis(10 * (user + system)))
}

/// `cargo mall` in a checkout, with that checkout's toolchain and target folder, and without settings that this process
/// has inherited.
fn command(root: &Path, scratch: &TemporaryDatabases) -> Command {
    let mut command = Command::new("cargo");
    command.arg("mall").current_dir(root).stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_inherited_setting(name)) {
        command.env_remove(name);
    }
    command
        .env("MALL_DIR", scratch.project.state.join("shop"))
        .env("MALL_MYSQL_URL", scratch.databases.mysql.to_url())
        .env("MALL_REDIS_URL", scratch.databases.redis.to_url())
        .envs(VARIABLES.map(|(name, value)| (format!("SPIN_VARIABLE_{name}"), value)));
    command
}

fn is_inherited_setting(name: &OsStr) -> bool {
    // Some build scripts watch OUT_DIR, which `cargo run` sets: their crates would be compiled anew.
    const NAMES: [&str; 4] = ["CARGO", "CARGO_TARGET_DIR", "OUT_DIR", "RUSTUP_TOOLCHAIN"];
    const PREFIXES: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "MALL_", "SPIN_VARIABLE_"];
    let name = name.to_string_lossy();
    NAMES.contains(&&*name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_what_the_kernel_says() {
        let stat = "42 (a (strange) name) S 1 42 42 0 -1 4194560 900 0 0 0 150 25 7 8 20 0 1 0 100 0 0";
        assert_eq!(time_in_stat(stat), Some(Duration::from_millis(1750)));
        assert_eq!(time_in_stat("42 (name) S 1"), None);
    }

    #[test]
    fn settings_of_this_process_are_not_passed_on() {
        for name in ["CARGO", "CARGO_PKG_NAME", "OUT_DIR", "RUSTUP_TOOLCHAIN", "MALL_DIR", "SPIN_VARIABLE_CURRENCY"] {
            assert!(is_inherited_setting(name.as_ref()), "{name}");
        }
        for name in ["PATH", "CARGO_HOME", "CARGO_HTTP_PROXY"] {
            assert!(!is_inherited_setting(name.as_ref()), "{name}");
        }
    }
}
