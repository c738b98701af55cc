//! `cargo mall bench build`: how long a first start and the build after an edit take, and how large the functions are,
//! beside the figures in the repository. All of it in a copy of the checkout, whose target folder is empty at first.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use crate::{
    functions::{self, Function, Profile, TARGET},
    process::ChildProcess,
    project::{Project, random_hex},
};

/// Figures of an earlier run: seconds, and KiB.
const REFERENCE: &str = include_str!("build.toml");

/// A figure: its name, its value, its unit.
type Figure = (String, f64, &'static str);

pub async fn run(project: &Project) -> anyhow::Result<ExitCode> {
    let reference: toml::Table = REFERENCE.parse().context("build.toml is not valid TOML")?;
    let copy = Copy::of(project)?;
    let mut figures = vec![("first start".to_owned(), first_start(&copy.0).await?, "s")];
    let copied = project.at(copy.0.clone());
    let functions = functions::all(&copied)?;
    let packages: Vec<_> = functions::package_arguments(&functions).collect();
    let development = [&["build", "--target", TARGET], &packages[..]].concat();
    let tools = ["build", "--profile", "tools", "--package", "cli"];
    figures.push(("first build for --watch".to_owned(), build(&copied, &development).await?, "s"));
    for (name, file, arguments) in [
        ("edit in functions/cart", "functions/cart/src/lib.rs", &development[..]),
        ("edit in crates/kit", "crates/kit/src/lib.rs", &development),
        ("edit in crates/runtime", "crates/runtime/src/lib.rs", &tools),
    ] {
        let mut file = File::options().append(true).open(copy.0.join(file))?;
        writeln!(file, "// edited")?;
        figures.push((name.to_owned(), build(&copied, arguments).await?, "s"));
    }
    figures.extend(sizes(&copied, &functions)?);
    print(&figures, &reference);
    Ok(ExitCode::SUCCESS)
}

/// Runs `cargo mall up` until it serves. Returns the seconds.
async fn first_start(root: &Path) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut command = Command::new("cargo");
    command.args(["mall", "up", "--no-demo", "--listen", "127.0.0.1:0"]).current_dir(root);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_") && name != "CARGO_HOME" || name.starts_with("MALL_") {
            command.env_remove(name.as_ref());
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut up = ChildProcess::spawn("cargo mall up", &mut command, Duration::from_secs(30))?;
    let stdout = up.take_stdout().context("no pipe")?;
    let serves = tokio::task::spawn_blocking(move || {
        BufReader::new(stdout).lines().map_while(Result::ok).any(|line| line.contains("serving at"))
    });
    match serves.await? {
        true => Ok(begun.elapsed().as_secs_f64()),
        false => bail!("`cargo mall up` ended before it served"),
    }
}

/// Runs Cargo. Returns the seconds.
async fn build(project: &Project, arguments: &[&str]) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut command = functions::cargo(project);
    command.args(arguments).arg("--quiet");
    let status = ChildProcess::spawn("cargo", &mut command, Duration::from_secs(5))?.wait().await;
    ensure!(status.success(), "`cargo {}` failed", arguments.join(" "));
    Ok(begun.elapsed().as_secs_f64())
}

/// The sizes of the components, and of all libraries from which they are linked.
fn sizes(project: &Project, functions: &[Function]) -> anyhow::Result<Vec<Figure>> {
    let mut sizes = Vec::new();
    for function in functions {
        sizes.push((function.name.clone(), kibibytes(&function.wasm)?, "KiB"));
    }
    let folder = project.root.join(format!("target/{TARGET}/{}/deps", Profile::Release.folder()));
    let mut libraries = 0.0;
    for entry in fs::read_dir(&folder).with_context(|| format!("{} can't be read", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rlib") {
            libraries += kibibytes(&path)?;
        }
    }
    sizes.push(("all dependencies".to_owned(), libraries, "KiB"));
    Ok(sizes)
}

fn kibibytes(file: &Path) -> anyhow::Result<f64> {
    let metadata = fs::metadata(file).with_context(|| format!("{} can't be read", file.display()))?;
    Ok(metadata.len() as f64 / 1024.0)
}

fn print(figures: &[Figure], reference: &toml::Table) {
    println!("\n{:<26} {:>10} {:>10} {:>7}", "", "now", "reference", "ratio");
    for (name, value, unit) in figures {
        let number = |value: &toml::Value| value.as_float().or(value.as_integer().map(|number| number as f64));
        let (known, ratio) = match reference.get(name).and_then(number) {
            Some(known) => (format!("{known:.1}"), format!("{:.2}", value / known)),
            None => Default::default(),
        };
        println!("{name:<26} {value:>10.1} {known:>10} {ratio:>7}  {unit}");
    }
}

/// A copy of the files that git knows or would add. It is removed when this is dropped.
struct Copy(std::path::PathBuf);

impl Copy {
    fn of(project: &Project) -> anyhow::Result<Self> {
        let copy = Self(project.state.join(format!("bench-build-{}", random_hex(4)?)));
        let files = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&project.root)
            .output()
            .context("git can't be run")?;
        ensure!(files.status.success(), "git can't list the files of this checkout");
        let files = String::from_utf8(files.stdout).context("a file's name is not UTF-8")?;
        for file in files.split_terminator('\0') {
            let (from, to) = (project.root.join(file), copy.0.join(file));
            // It may be deleted, and git not know that yet.
            if from.is_file() {
                fs::create_dir_all(to.parent().context("a file without a folder")?)?;
                fs::copy(&from, &to).with_context(|| format!("{file} can't be copied"))?;
            }
        }
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
