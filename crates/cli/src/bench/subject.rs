//! Processes that are measured: the shop as `cargo mall up` runs it, `spin up`, the native yardstick.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use load::{
    http,
    plan::{Outcome, Plan},
};

use crate::{
    process::ChildProcess,
    servers::free_port,
    spin::{self, Spin},
    temporary_shop::{ServerProcess, TemporaryShop, this_program},
};

pub struct Subject {
    pub address: SocketAddr,
    /// From the start of the process until `GET /health` answered 200.
    pub ready_after: Duration,
    process: Process,
}

enum Process {
    Ours(ChildProcess),
    Spin(Spin),
}

impl Subject {
    pub async fn shop(scratch: &TemporaryShop) -> anyhow::Result<Self> {
        Self::shop_with(scratch, &[]).await
    }

    /// With other settings.
    pub async fn shop_with(scratch: &TemporaryShop, variables: &[(&str, &str)]) -> anyhow::Result<Self> {
        Ok(Self::ours(scratch.serve(variables, None).await?))
    }

    pub async fn native(scratch: &TemporaryShop) -> anyhow::Result<Self> {
        let mut command = this_program()?;
        command
            .arg("native-yardstick")
            .env("MALL_MYSQL_URL", scratch.databases.mysql.to_url())
            .env("MALL_REDIS_URL", scratch.databases.redis.to_url());
        if let Some(secret) = scratch.variables.get("jwt_secret") {
            command.env("SPIN_VARIABLE_JWT_SECRET", secret);
        }
        Ok(Self::ours(ServerProcess::start("the native yardstick", command, None).await?))
    }

    fn ours(ServerProcess { address, ready_after, process }: ServerProcess) -> Self {
        Self { address, ready_after, process: Process::Ours(process) }
    }

    pub async fn spin(scratch: &TemporaryShop) -> anyhow::Result<Option<Self>> {
        Self::spin_with(scratch, &[]).await
    }

    /// With other settings; none where there is no Spin.
    pub async fn spin_with(scratch: &TemporaryShop, other: &[(&str, &str)]) -> anyhow::Result<Option<Self>> {
        if spin::program().is_err() {
            return Ok(None);
        }
        let begun = Instant::now();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut variables = scratch.variables.clone();
        variables.extend(other.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let spin = Spin::start_quietly(&scratch.project, address, variables)?;
        while !http::answers(address, "/health").await {
            if begun.elapsed() > Duration::from_secs(60) {
                bail!("`spin up` does not answer GET /health within a minute");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Some(Self { address, ready_after: begun.elapsed(), process: Process::Spin(spin) }))
    }

    /// Resident memory, in MiB.
    pub fn memory(&self) -> Option<f64> {
        let Process::Ours(process) = &self.process else { return None };
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kib / 1024.0)
    }

    /// Open files and sockets.
    pub fn files(&self) -> Option<usize> {
        let Process::Ours(process) = &self.process else { return None };
        Some(std::fs::read_dir(format!("/proc/{}/fd", process.pid())).ok()?.count())
    }

    pub fn stop(self) {
        match self.process {
            Process::Ours(process) => drop(process),
            Process::Spin(spin) => drop(spin),
        }
    }
}

/// A running load generator, in a process of its own.
pub struct Load {
    process: ChildProcess,
    output: tokio::task::JoinHandle<std::io::Result<String>>,
}

impl Load {
    pub fn start(plan: &Plan) -> anyhow::Result<Self> {
        let mut command = this_program()?;
        command.arg("load").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = ChildProcess::spawn("the load generator", &mut command, Duration::from_secs(1))?;
        process.take_stdin().context("no pipe")?.write_all(&serde_json::to_vec(plan)?)?;
        let mut stdout = process.take_stdout().context("no pipe")?;
        let output = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).map(|_| text)
        });
        Ok(Self { process, output })
    }

    pub async fn finish(mut self) -> anyhow::Result<Outcome> {
        let text = (&mut self.output).await??;
        if !self.process.wait().await.success() {
            bail!("the load generator failed");
        }
        Ok(serde_json::from_str(&text)?)
    }
}
