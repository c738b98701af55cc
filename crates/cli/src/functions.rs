//! Builds the functions of `spin.toml` to Wasm.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail, ensure};

use crate::{process::ChildProcess, project::Project};

pub const TARGET: &str = "wasm32-wasip2";

/// How functions are built.
#[derive(Clone, Copy)]
pub enum Profile {
    /// As they are deployed: small and fast. `spin.toml` refers to what this builds.
    Release,
    /// In seconds after a change.
    Development,
}

impl Profile {
    /// The folder of its output under `target/wasm32-wasip2`.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Development => "debug",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Release => &["--release"],
            Self::Development => &[],
        }
    }
}

pub struct Function {
    /// The component's name.
    pub name: String,
    /// The Cargo package. It has the component's name unless the shop has replaced the function by another one.
    pub package: String,
    pub wasm: PathBuf,
}

/// All components that are built from this checkout.
pub fn all(project: &Project) -> anyhow::Result<Vec<Function>> {
    let text = fs::read_to_string(project.manifest()).context("spin.toml can't be read")?;
    all_in(&text, &project.root)
}

fn all_in(manifest: &str, root: &Path) -> anyhow::Result<Vec<Function>> {
    let manifest: toml::Table = manifest.parse().context("spin.toml is not valid TOML")?;
    let components =
        manifest.get("component").and_then(|table| table.as_table()).context("spin.toml has no components")?;
    let functions = components.iter().filter_map(|(name, component)| {
        let source = component.get("source")?.as_str()?;
        component.get("build")?;
        let wasm = root.join(source);
        let package = wasm.file_stem()?.to_str()?.replace('_', "-");
        Some(Function { name: name.clone(), package, wasm })
    });
    Ok(functions.collect())
}

/// The `cargo` that runs this command, with this checkout's target folder, to which `spin.toml` refers.
///
/// The variables that `cargo run` sets are removed: some build scripts depend on them, so dependencies would be
/// recompiled each time one uses `cargo` in a shell and through this command in turn.
pub fn cargo(project: &Project) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let inherited =
            |name: &str| name == "OUT_DIR" || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        if name.to_str().is_some_and(inherited) {
            command.env_remove(name);
        }
    }
    command.current_dir(&project.root).env("CARGO_TARGET_DIR", project.root.join("target")).stdin(Stdio::null());
    command
}

pub fn package_arguments(functions: &[Function]) -> impl Iterator<Item = &str> {
    functions.iter().flat_map(|function| ["--package", function.package.as_str()])
}

/// All components, and the packages under `examples/`: these can replace functions, and tests do that.
pub fn with_examples(project: &Project) -> anyhow::Result<Vec<Function>> {
    let folder = project.root.join("examples");
    let mut functions = all(project)?;
    for entry in fs::read_dir(&folder).with_context(|| format!("{} can't be read", folder.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let file = format!("target/{TARGET}/release/{}.wasm", name.replace('-', "_"));
        functions.push(Function { package: name.clone(), wasm: project.root.join(file), name });
    }
    Ok(functions)
}

/// Builds all functions of the manifest.
pub async fn build(project: &Project, profile: Profile) -> anyhow::Result<Vec<Function>> {
    build_these(project, all(project)?, profile).await
}

pub async fn build_these(
    project: &Project,
    functions: Vec<Function>,
    profile: Profile,
) -> anyhow::Result<Vec<Function>> {
    add_target(project)?;
    let (name, first) = match functions.iter().all(|function| function.wasm.is_file()) {
        true => ("Building the functions again", Duration::from_secs(2)),
        false => ("Building the functions", Duration::from_secs(150)),
    };
    let durations = project.durations();
    let step = progress::step_of("Building the functions", Some(durations.usual(name, first)));
    let mut command = cargo(project);
    command.args(["build", "--target", TARGET]).args(profile.arguments()).args(package_arguments(&functions));
    progress::cargo::pipe_progress(&mut command, step.on_terminal());
    let mut build = ChildProcess::spawn("cargo", &mut command, Duration::from_secs(5))?;
    let reader = build.take_stderr().map(|stderr| {
        let step = step.clone();
        std::thread::spawn(move || {
            progress::cargo::follow(stderr, &step, |done, total, units| step.set_progress(done, total, units));
        })
    });
    let status = build.wait().await;
    if let Some(reader) = reader {
        let _ = reader.join();
    }
    ensure!(status.success(), "the functions could not be built: the messages above say why");
    for function in &functions {
        ensure!(
            function.wasm.is_file(),
            "{} was not built: see `component.{}` in spin.toml",
            function.wasm.display(),
            function.name
        );
    }
    durations.record(name, step.elapsed());
    let seconds = step.elapsed().as_secs_f32();
    step.done(&format!("{} functions built in {seconds:.1} s", functions.len()));
    Ok(functions)
}

/// Installs Rust's target for Wasm if this toolchain doesn't have it.
pub fn add_target(project: &Project) -> anyhow::Result<()> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(&project.root)
        .output()
        .context("rustc can't be run")?;
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let is_installed = fs::read_dir(&folder).is_ok_and(|mut files| files.next().is_some());
    if is_installed {
        return Ok(());
    }
    let step = progress::step(&format!("Installing Rust's target {TARGET}"));
    let added = Command::new("rustup")
        .args(["target", "add", TARGET])
        .current_dir(&project.root)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    drop(step);
    match added {
        Ok(status) if status.success() => Ok(()),
        _ => bail!("Rust's target {TARGET} is missing: run `rustup target add {TARGET}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_the_components_with_a_build() {
        let manifest = "[component.a-b]\nsource = \"target/a_b.wasm\"\nbuild = { command = \"x\", watch = [\"y\"] }\n\
                        [component.c]\nsource = \"c.wasm\"\n[component.d]\nsource = \"d.wasm\"\n\
                        [component.d.build]\ncommand = \"x\"\n";
        let functions = all_in(manifest, Path::new("/project")).unwrap();
        let found: Vec<_> =
            functions.iter().map(|function| (function.name.as_str(), function.package.as_str())).collect();
        assert_eq!(found, [("a-b", "a-b"), ("d", "d")]);
        assert_eq!(functions[0].wasm, Path::new("/project/target/a_b.wasm"));
    }
}
