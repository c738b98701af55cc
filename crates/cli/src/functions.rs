//! Builds the functions of `spin.toml` to Wasm.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use crate::{process::ChildProcess, project::Project, ui};

pub const TARGET: &str = "wasm32-wasip2";

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

/// The packages under `examples/`. They can replace functions, and tests do that.
pub fn examples(project: &Project) -> anyhow::Result<Vec<Function>> {
    let folder = project.root.join("examples");
    let mut examples = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("{} can't be read", folder.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let file = format!("target/{TARGET}/release/{}.wasm", name.replace('-', "_"));
        examples.push(Function { package: name.clone(), wasm: project.root.join(file), name });
    }
    Ok(examples)
}

/// Builds all functions of `spin.toml`.
pub async fn build(project: &Project) -> anyhow::Result<Vec<Function>> {
    build_these(project, all(project)?).await
}

pub async fn build_these(project: &Project, functions: Vec<Function>) -> anyhow::Result<Vec<Function>> {
    add_target(project)?;
    let started = Instant::now();
    let step = ui::step("Building the functions");
    let mut command = cargo(project);
    command.args(["build", "--release", "--target", TARGET]).args(package_arguments(&functions));
    if step.on_terminal() {
        command
            .env("CARGO_TERM_PROGRESS_WHEN", "always")
            .env("CARGO_TERM_PROGRESS_WIDTH", "120")
            .env("CARGO_TERM_COLOR", "always")
            .stderr(Stdio::piped());
    }
    let mut build = ChildProcess::spawn("cargo", &mut command, Duration::from_secs(5))?;
    let reader = build.take_stderr().map(|stderr| {
        let step = step.clone();
        std::thread::spawn(move || show_progress(stderr, &step))
    });
    let status = build.wait().await;
    if let Some(reader) = reader {
        let _ = reader.join();
    }
    ensure!(status.success(), "the functions could not be built");
    for function in &functions {
        ensure!(
            function.wasm.is_file(),
            "{} was not built: see `component.{}` in spin.toml",
            function.wasm.display(),
            function.name
        );
    }
    step.done(&format!("{} functions built in {:.1} s", functions.len(), started.elapsed().as_secs_f32()));
    Ok(functions)
}

/// Shows Cargo's progress in `step`, and passes on its warnings and errors.
fn show_progress(stderr: impl std::io::Read, step: &ui::Step) {
    let mut reader = BufReader::new(stderr);
    let mut chunk = Vec::new();
    loop {
        chunk.clear();
        // Progress lines end with \r, all others with \n.
        match read_line(&mut reader, &mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&chunk);
        for part in line.trim_end_matches(['\n', '\r']).split('\r') {
            let plain = without_colour(part);
            if let Some((done, total, units)) = progress(&plain) {
                step.set_progress(done, total, units);
            } else if !is_status(&plain) {
                step.line(part);
            }
        }
    }
}

fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<usize> {
    loop {
        let available = reader.fill_buf()?;
        if available.is_empty() {
            return Ok(line.len());
        }
        match available.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            Some(end) => {
                line.extend(available.iter().take(end + 1));
                reader.consume(end + 1);
                return Ok(line.len());
            }
            None => {
                let length = available.len();
                line.extend_from_slice(available);
                reader.consume(length);
            }
        }
    }
}

/// Parses `Building [====>   ] 12/345: serde, tokio`.
fn progress(line: &str) -> Option<(u64, u64, &str)> {
    let rest = line.trim_start().strip_prefix("Building")?;
    let (_, rest) = rest.split_once("] ")?;
    let (numbers, units) = rest.split_once(": ").unwrap_or((rest, ""));
    let (done, total) = numbers.trim().split_once('/')?;
    Some((done.parse().ok()?, total.parse().ok()?, units))
}

/// Whether a line only says what Cargo is doing.
fn is_status(line: &str) -> bool {
    const WORDS: [&str; 9] =
        ["Compiling", "Downloading", "Downloaded", "Updating", "Locking", "Finished", "Fresh", "Adding", "Building"];
    let line = line.trim_start();
    line.is_empty() || WORDS.iter().any(|word| line.starts_with(word))
}

fn without_colour(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        // An escape sequence ends with its first letter.
        rest = after.find(|c: char| c.is_ascii_alphabetic()).and_then(|end| after.get(end + 1..)).unwrap_or_default();
    }
    plain + rest
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
    let step = ui::step(&format!("Installing Rust's target {TARGET}"));
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
    fn cargos_progress_is_parsed() {
        let line =
            without_colour("\u{1b}[K\u{1b}[1m\u{1b}[36m    Building\u{1b}[0m [====>    ] 12/345: serde, tokio(bin)");
        assert_eq!(progress(&line), Some((12, 345, "serde, tokio(bin)")));
        assert_eq!(progress("warning: unused variable"), None);
    }

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

    #[test]
    fn warnings_are_not_status_lines() {
        assert!(is_status("   Compiling serde v1.0.0"));
        assert!(!is_status("warning: unused variable: `x`"));
        assert!(!is_status("  --> src/lib.rs:1:1"));
    }
}
