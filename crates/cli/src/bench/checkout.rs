//! A checkout's shop, run by the `cargo mall` of that same checkout, with databases of its own. Nothing but the command
//! line, the HTTP API and the variables is used, which stay the same from commit to commit.

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
    process::Guarded,
    project::Project,
    scratch::ScratchDatabases,
    servers::{Durability, free_port, last_words},
    ui,
};

/// Limits are out of the way, and nothing expires during a run. Some commits don't know some of these: to them they make
/// no difference.
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

// Fields are dropped in this order: what the shop still does needs its databases.
pub struct Checkout {
    pub address: SocketAddr,
    root: PathBuf,
    shop: Guarded,
    scratch: ScratchDatabases,
}

impl Checkout {
    /// Builds it, starts it, and waits until it is ready. Call on the main thread (see `process`).
    pub async fn start(project: &Project, root: &Path) -> anyhow::Result<Self> {
        let scratch = ScratchDatabases::start(project, "bench", Durability::Full).await?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let log = scratch.project.state.join("shop.log");
        let file = File::create(&log).context("the shop's log can't be written")?;
        let mut up = command(root, &scratch);
        up.args(["up", "--no-demo", "--listen", &address.to_string()]).stdout(file.try_clone()?).stderr(file);
        let step = ui::step(&format!("Building and starting {} (the first time takes minutes)", root.display()));
        let mut shop = Guarded::spawn("the shop", &mut up, Duration::from_secs(15))?;
        while !http::answers(address, "/ready").await {
            if let Some(status) = shop.exited() {
                bail!("`cargo mall up` in {} ended ({status}): {}", root.display(), last_words(&log));
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
        let status = Guarded::spawn("cargo mall grant-admin", &mut grant, Duration::from_secs(5))?.wait().await;
        ensure!(status.success(), "`cargo mall grant-admin` in {} failed: {}", self.root.display(), last_words(&log));
        Ok(())
    }

    /// Puts load on it, and returns once it has come to rest again.
    pub async fn measure(&self, plan: &Plan) -> anyhow::Result<Outcome> {
        let outcome = Load::start(plan)?.finish().await?;
        self.rest().await;
        Ok(outcome)
    }

    /// Waits until the workers have done what the load has left to do, such as shipping what was paid, so that it does
    /// not slow down the other checkout's shop. Their jobs' tables and keys differ from commit to commit; that they need
    /// no processor time any more does not. Where the system does not say how much that is, there is no waiting.
    async fn rest(&self) {
        const SPAN: Duration = Duration::from_millis(200);
        const PATIENCE: Duration = Duration::from_secs(60);
        let begun = Instant::now();
        let mut quiet = 0;
        while quiet < 2 {
            let Some(before) = self.processor_time() else { return };
            tokio::time::sleep(SPAN).await;
            let Some(after) = self.processor_time() else { return };
            let busy = after.saturating_sub(before) > SPAN / 10;
            quiet = if busy { 0 } else { quiet + 1 };
            if begun.elapsed() > PATIENCE {
                let root = self.root.display();
                ui::warn(&format!(
                    "{root} is still at work {} s after the load: figures may be off",
                    PATIENCE.as_secs()
                ));
                return;
            }
        }
    }

    /// What the shop and its databases have used so far.
    fn processor_time(&self) -> Option<Duration> {
        self.scratch.databases.pids().chain([self.shop.pid()]).map(processor_time).sum()
    }
}

fn processor_time(pid: i32) -> Option<Duration> {
    time_in_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields 14 and 15, in hundredths of a second: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
fn time_in_stat(stat: &str) -> Option<Duration> {
    // The second field is the program's name, which may have anything in it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis(10 * (user + system)))
}

/// `cargo mall` in a checkout, with that checkout's own toolchain and target folder, and no settings but its own: what
/// this process was started with says nothing about the other one.
fn command(root: &Path, scratch: &ScratchDatabases) -> Command {
    let mut command = Command::new("cargo");
    command.arg("mall").current_dir(root).stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_ours(name)) {
        command.env_remove(name);
    }
    command
        .env("MALL_DIR", scratch.project.state.join("shop"))
        .env("MALL_MYSQL_URL", scratch.databases.mysql.to_url())
        .env("MALL_REDIS_URL", scratch.databases.redis.to_url())
        .envs(VARIABLES.map(|(name, value)| (format!("SPIN_VARIABLE_{name}"), value)));
    command
}

fn is_ours(name: &OsStr) -> bool {
    const NAMES: [&str; 3] = ["CARGO", "CARGO_TARGET_DIR", "RUSTUP_TOOLCHAIN"];
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
    fn a_checkout_gets_its_own_settings() {
        for name in ["CARGO", "CARGO_PKG_NAME", "RUSTUP_TOOLCHAIN", "MALL_DIR", "SPIN_VARIABLE_CURRENCY"] {
            assert!(is_ours(name.as_ref()), "{name}");
        }
        for name in ["PATH", "CARGO_HOME", "CARGO_HTTP_PROXY"] {
            assert!(!is_ours(name.as_ref()), "{name}");
        }
    }
}
