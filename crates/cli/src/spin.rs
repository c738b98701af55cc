//! Runs the shop with the installed Spin CLI.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;

use crate::{
    address::Variables,
    process::{ChildProcess, find_program},
    project::Project,
};

pub fn program() -> anyhow::Result<PathBuf> {
    find_program(&["spin"])
        .context("`spin` is not on the PATH: see https://spinframework.dev/install, or leave out --runtime spin")
}

/// `spin up`, which is restarted when it exits: it does so when it loses the connection to Redis.
pub struct Spin {
    pub listen: SocketAddr,
    process: Option<ChildProcess>,
    new_command: Box<dyn Fn() -> Command + Send>,
    /// When it was started or, if it is not running, when it exited.
    since: Instant,
    backoff: Duration,
}

const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(30);

impl Spin {
    pub fn start(project: &Project, listen: SocketAddr, variables: Variables) -> anyhow::Result<Self> {
        Self::start_with(project, listen, variables, false)
    }

    /// Without its log: writing that to a terminal takes longer than the requests do.
    pub fn start_quietly(project: &Project, listen: SocketAddr, variables: Variables) -> anyhow::Result<Self> {
        Self::start_with(project, listen, variables, true)
    }

    fn start_with(project: &Project, listen: SocketAddr, variables: Variables, quiet: bool) -> anyhow::Result<Self> {
        let program = program()?;
        let (root, manifest) = (project.root.clone(), project.manifest());
        let new_command = move || {
            let mut command = Command::new(&program);
            command.args(["up", "--from"]).arg(&manifest).args(["--listen", &listen.to_string()]);
            command.current_dir(&root).stdin(Stdio::null());
            if quiet {
                command.arg("--quiet").stdout(Stdio::null()).stderr(Stdio::null());
            }
            // As environment variables, since every user of the machine can read a process's arguments.
            for (name, value) in &variables {
                command.env(format!("SPIN_VARIABLE_{}", name.to_ascii_uppercase()), value);
            }
            command
        };
        let mut spin = Self {
            listen,
            process: None,
            new_command: Box::new(new_command),
            since: Instant::now(),
            backoff: MIN_BACKOFF,
        };
        spin.launch()?;
        Ok(spin)
    }

    fn launch(&mut self) -> anyhow::Result<()> {
        self.since = Instant::now();
        self.process = Some(ChildProcess::spawn("spin", &mut (self.new_command)(), Duration::from_secs(10))?);
        Ok(())
    }

    /// Restarts it if it has exited and the backoff is over. Call this regularly.
    pub fn restart_if_exited(&mut self) -> anyhow::Result<()> {
        match &mut self.process {
            Some(process) => {
                if let Some(status) = process.exited() {
                    if self.since.elapsed() > MAX_BACKOFF {
                        self.backoff = MIN_BACKOFF;
                    }
                    progress::warn(&format!(
                        "spin exited ({status}) and will be restarted in {} s",
                        self.backoff.as_secs()
                    ));
                    self.process = None;
                    self.since = Instant::now();
                }
                Ok(())
            }
            None if self.since.elapsed() < self.backoff => Ok(()),
            None => {
                self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
                self.launch()
            }
        }
    }
}
