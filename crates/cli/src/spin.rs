//! The shop in the installed Spin CLI.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;

use crate::{
    address::Variables,
    process::{Guarded, find_program},
    project::Project,
    ui,
};

pub fn program() -> anyhow::Result<PathBuf> {
    find_program(&["spin"])
        .context("no `spin` on the PATH: see https://spinframework.dev/install, or leave out --runtime spin")
}

/// `spin up`, started again when it ends: a Redis that goes away takes it along.
pub struct Spin {
    pub listen: SocketAddr,
    process: Option<Guarded>,
    recipe: Box<dyn Fn() -> Command + Send>,
    started: Instant,
    pause: Duration,
}

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

impl Spin {
    pub fn start(project: &Project, listen: SocketAddr, variables: Variables) -> anyhow::Result<Self> {
        Self::start_with(project, listen, variables, false)
    }

    /// Without its log, which costs a terminal more than the requests.
    pub fn start_quietly(project: &Project, listen: SocketAddr, variables: Variables) -> anyhow::Result<Self> {
        Self::start_with(project, listen, variables, true)
    }

    fn start_with(project: &Project, listen: SocketAddr, variables: Variables, quiet: bool) -> anyhow::Result<Self> {
        let program = program()?;
        let (root, manifest) = (project.root.clone(), project.manifest());
        let recipe = move || {
            let mut command = Command::new(&program);
            command.args(["up", "--from"]).arg(&manifest).args(["--listen", &listen.to_string()]);
            command.current_dir(&root).stdin(Stdio::null());
            if quiet {
                command.arg("--quiet").stdout(Stdio::null()).stderr(Stdio::null());
            }
            // In the environment, since arguments can be read by everyone on the machine.
            for (name, value) in &variables {
                command.env(format!("SPIN_VARIABLE_{}", name.to_ascii_uppercase()), value);
            }
            command
        };
        let mut spin =
            Self { listen, process: None, recipe: Box::new(recipe), started: Instant::now(), pause: SHORTEST };
        spin.launch()?;
        Ok(spin)
    }

    fn launch(&mut self) -> anyhow::Result<()> {
        self.started = Instant::now();
        self.process = Some(Guarded::spawn("spin", &mut (self.recipe)(), Duration::from_secs(10))?);
        Ok(())
    }

    /// To be called now and then: starts it again when it has ended and the pause is over.
    pub fn tend(&mut self) -> anyhow::Result<()> {
        match &mut self.process {
            Some(process) => {
                if let Some(status) = process.exited() {
                    if self.started.elapsed() > LONGEST {
                        self.pause = SHORTEST;
                    }
                    ui::warn(&format!("spin ended ({status}), it is started again in {} s", self.pause.as_secs()));
                    self.process = None;
                    self.started = Instant::now();
                }
                Ok(())
            }
            None if self.started.elapsed() < self.pause => Ok(()),
            None => {
                self.pause = (self.pause * 2).min(LONGEST);
                self.launch()
            }
        }
    }
}
