//! The first build: the tools and the functions at the same time, with one bar for both.

use std::{
    fs,
    process::{Child, Command},
    sync::Mutex,
    thread,
    time::Duration,
};

use progress::{Step, cargo};

use crate::{BUILD_COMMAND, Project, TARGET};

const STEP: &str = "Building the tools and the functions";
/// How long it takes on one core; the work is shared out evenly.
const USUAL: Duration = Duration::from_secs(1060);

pub fn run(project: &Project) -> Result<(), String> {
    let durations = project.durations();
    let cores = thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
    let step = progress::step_of(STEP, Some(durations.usual(STEP, USUAL / cores)));
    let mut tools = project.cargo();
    tools.args(BUILD_COMMAND);
    let mut functions = project.cargo();
    functions.args(["build", "--release", "--target", TARGET]).args(packages(project)?);
    // To this folder spin.toml refers, wherever the tools are built.
    functions.env("CARGO_TARGET_DIR", project.root.join("target"));

    let mut builds = Vec::new();
    for (name, mut command) in [("tools", tools), ("functions", functions)] {
        cargo::pipe_progress(&mut command, step.on_terminal());
        builds.push((name, spawn(&mut command)?));
    }
    let counts = Mutex::new([(0, 0); 2]);
    let failed: Vec<_> = thread::scope(|scope| {
        let counts = &counts;
        let threads: Vec<_> = (0..)
            .zip(builds)
            .map(|(which, (name, build))| {
                let step = step.clone();
                scope.spawn(move || (name, wait(build, &step, counts, which)))
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|(_, built)| !built).collect()
    });
    let elapsed = step.elapsed();
    drop(step);
    match failed.first() {
        None => {
            durations.record(STEP, elapsed);
            eprintln!("Tools and functions built in {}:{:02}", elapsed.as_secs() / 60, elapsed.as_secs() % 60);
            Ok(())
        }
        Some((name, _)) => Err(format!("the {name} could not be built: the messages above say why")),
    }
}

fn spawn(command: &mut Command) -> Result<Child, String> {
    command.spawn().map_err(|error| format!("cargo can't be run: {error}"))
}

/// Shows the progress of one of two builds as a part of both. Returns whether it succeeded.
fn wait(mut build: Child, step: &Step, counts: &Mutex<[(u64, u64); 2]>, which: usize) -> bool {
    if let Some(stderr) = build.stderr.take() {
        cargo::follow(stderr, step, |done, total, units| {
            let Ok(mut counts) = counts.lock() else { return };
            if let Some(count) = counts.get_mut(which) {
                *count = (done, total);
            }
            let (done, total) = counts.iter().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
            step.set_progress(done, total, units);
        });
    }
    build.wait().is_ok_and(|status| status.success())
}

/// The packages of the functions, as arguments of Cargo.
fn packages(project: &Project) -> Result<Vec<String>, String> {
    let manifest = fs::read_to_string(project.root.join("spin.toml"))
        .map_err(|error| format!("spin.toml can't be read: {error}"))?;
    Ok(packages_in(&manifest).flat_map(|package| ["--package".to_owned(), package]).collect())
}

/// Reads only the lines that name what is built from this checkout: there is no TOML parser here. What this may miss,
/// `mall` builds.
fn packages_in(manifest: &str) -> impl Iterator<Item = String> {
    let sources = manifest.lines().filter_map(|line| line.trim().strip_prefix("source = \"")?.strip_suffix('"'));
    let built =
        sources.filter_map(|source| source.strip_prefix("target/wasm32-wasip2/release/")?.strip_suffix(".wasm"));
    built.map(|name| name.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_functions_are_found_in_the_manifest() {
        let manifest = include_str!("../../../spin.toml");
        let names = manifest.lines().filter_map(|line| line.strip_prefix("[component.")?.strip_suffix(']'));
        let components = names.filter(|name| !name.contains('.')).count();
        assert_eq!(packages_in(manifest).count(), components);
        let of_example = "[component.a]\nsource = \"target/wasm32-wasip2/release/a_b.wasm\"\nsource = \"other.wasm\"\n";
        assert_eq!(packages_in(of_example).collect::<Vec<_>>(), ["a-b"]);
    }
}
