//! What `cargo mall` runs: builds the command itself, which takes minutes the first time, and hands over to it. The first
//! time it checks before what would fail after that, and builds the functions at the same time.
//!
//! It has no dependencies, so it is compiled in a second, and before anything is downloaded.

mod checks;
mod first_build;

use std::{
    env,
    ffi::OsString,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use progress::{Durations, Step, cargo};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    match run(&arguments) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Replaces this process by the command.
fn run(arguments: &[OsString]) -> Result<std::convert::Infallible, String> {
    let project = Project::find()?;
    if project.command().is_file() {
        project.build_command()?;
    } else {
        checks::check(&project, arguments)?;
        first_build::run(&project)?;
    }
    let error = Command::new(project.command()).args(arguments).exec();
    Err(format!("{} can't be run: {error}", project.command().display()))
}

/// The checkout and its target folder.
pub struct Project {
    pub root: PathBuf,
    pub target: PathBuf,
}

impl Project {
    fn find() -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).ok_or("the checkout has no folder")?;
        // This program is in `target/debug`.
        let program = env::current_exe().map_err(|error| format!("the path of this program is not known: {error}"))?;
        let target = program.ancestors().nth(2).ok_or("the target folder is not known")?;
        Ok(Self { root: root.to_owned(), target: target.to_owned() })
    }

    /// The command `mall`.
    pub fn command(&self) -> PathBuf {
        self.target.join("tools/mall")
    }

    pub fn durations(&self) -> Durations {
        Durations::at(self.target.join("durations"))
    }

    /// The `cargo` that runs this program.
    ///
    /// The variables that `cargo run` sets are removed: some build scripts depend on them, so dependencies would be
    /// compiled anew each time one uses `cargo` in a shell and through this command in turn.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                command.env_remove(name.as_ref());
            }
        }
        command.current_dir(&self.root).stdin(Stdio::null());
        command
    }

    /// Runs Cargo and shows its progress. Returns whether it succeeded.
    fn run_cargo(&self, arguments: &[&str], step: &Step) -> Result<bool, String> {
        let mut command = self.cargo();
        command.args(arguments);
        cargo::pipe_progress(&mut command, step.on_terminal());
        let mut process = command.spawn().map_err(|error| format!("cargo can't be run: {error}"))?;
        if let Some(stderr) = process.stderr.take() {
            cargo::follow(stderr, step, |done, total, units| step.set_progress(done, total, units));
        }
        process.wait().map(|status| status.success()).map_err(|error| format!("cargo can't be run: {error}"))
    }

    /// Builds the command, if anything in it has changed.
    fn build_command(&self) -> Result<(), String> {
        const STEP: &str = "Building the tools";
        let durations = self.durations();
        let step = progress::step_of(STEP, Some(durations.usual(STEP, Duration::from_secs(60))));
        let succeeded = self.run_cargo(&BUILD_COMMAND, &step)?;
        if step.elapsed() > Duration::from_secs(2) {
            durations.record(STEP, step.elapsed());
        }
        drop(step);
        match succeeded {
            true => Ok(()),
            false => Err("the tools could not be built: the messages above say why".to_owned()),
        }
    }
}

/// Rust's target of the functions.
const TARGET: &str = "wasm32-wasip2";

/// The arguments of Cargo that build the command.
const BUILD_COMMAND: [&str; 5] = ["build", "--profile", "tools", "--package", "cli"];
