//! `cargo mall test`

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use load::http;
use url::Url;

use crate::{
    database_urls::DatabaseUrls,
    functions::{self, Profile},
    interrupt::Interrupt,
    process::ChildProcess,
    project::Project,
    servers::Durability,
    temporary_shop::{ShopSettings, TemporaryShop},
    time_tests,
};

#[derive(clap::Args)]
pub struct Arguments {
    /// Run only the end-to-end tests whose names contain this, and no checks
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// Run the end-to-end tests alone, against a shop that runs elsewhere. It needs higher limits, which
    /// CONTRIBUTING.md names: all tests sign up and sign in from one address
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,

    #[command(flatten)]
    databases: DatabaseUrls,
}

/// The profile of this command itself, so that what both need is compiled once. For the same reason the tools and the
/// shop are two groups: together they would ask for more features of what both stand on, the WebAssembly engine among
/// it, which would then be compiled again.
const TOOLS: [&str; 8] = ["--profile", "tools", "--package", "cli", "--package", "load", "--package", "runtime"];
const SHOP: [&str; 9] =
    ["--profile", "tools", "--workspace", "--exclude", "cli", "--exclude", "load", "--exclude", "runtime"];

const SETTINGS: ShopSettings = ShopSettings {
    purpose: "test",
    durability: Durability::None,
    // All tests sign in from one address, and some write and order a lot. What was paid stays paid until a test ships it.
    variables: &[
        ("login_rate", "10000"),
        ("login_burst", "10000"),
        ("register_rate", "10000"),
        ("register_burst", "10000"),
        ("write_rate", "10000"),
        ("write_burst", "10000"),
        ("max_pending_orders", "10000"),
        ("auto_ship", "false"),
    ],
};

pub async fn run(project: &Project, interrupt: Interrupt, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { name, base_url, databases } = arguments;
    match (base_url, name) {
        (Some(url), name) => interrupt.unless(against(project, &url, databases, name.as_deref())).await,
        (None, Some(name)) => interrupt.unless(some(project, &name)).await,
        (None, None) => interrupt.unless(everything(project)).await,
    }
}

async fn everything(project: &Project) -> anyhow::Result<ExitCode> {
    let program = this_program()?;
    check(project, "Checking the format", &["fmt", "--all", "--check"], &[]).await.context("run `cargo fmt --all`")?;
    check_dependencies(project).await?;
    check_api_description(project).await?;
    functions::add_target(project)?;
    check(project, "Checking the lints of the tools", &[&["clippy", "--all-targets"], &TOOLS[..]].concat(), &[])
        .await?;
    check(project, "Checking the lints of the shop", &[&["clippy", "--all-targets"], &SHOP[..]].concat(), &[]).await?;
    let functions = functions::with_examples(project)?;
    let packages: Vec<_> = functions::package_arguments(&functions).collect();
    let wasm = ["clippy", "--release", "--target", functions::TARGET];
    check(project, "Checking the lints of what compiles to Wasm", &wasm, &packages).await?;
    functions::build_these(project, functions, Profile::Release).await?;
    on_temporary_shop(
        project,
        &program,
        &[&[&TOOLS[..], &["--all-targets"]].concat(), &[&SHOP[..], &["--all-targets"]].concat()],
    )
    .await
}

/// Runs the end-to-end tests whose names contain `name`.
async fn some(project: &Project, name: &str) -> anyhow::Result<ExitCode> {
    let program = this_program()?;
    let functions = functions::with_examples(project)?;
    functions::build_these(project, functions, Profile::Release).await?;
    on_temporary_shop(project, &program, &[&end_to_end(Some(name))]).await
}

/// The arguments of `cargo test` for the end-to-end tests, or for those whose names contain `name`.
fn end_to_end(name: Option<&str>) -> Vec<&str> {
    let mut arguments = [&SHOP[..], &["--test", "e2e"]].concat();
    arguments.extend(name.map(|name| ["--", name]).iter().flatten());
    arguments
}

/// Runs `cargo test` with each of these arguments, on one shop of its own.
async fn on_temporary_shop(project: &Project, program: &Path, runs: &[&[&str]]) -> anyhow::Result<ExitCode> {
    let scratch = TemporaryShop::start(project, &SETTINGS).await?;
    let log = project.state.join("test-shop.log");
    let shop = scratch.serve(&[], Some(&log)).await?;
    let times = scratch.project.state.join("times");
    let mut code = ExitCode::SUCCESS;
    for arguments in runs {
        let mut tests = cargo_test(project, program, arguments, &format!("http://{}", shop.address));
        tests
            .env("MALL_MYSQL_URL", scratch.databases.mysql.to_url())
            .env("MALL_REDIS_URL", scratch.databases.redis.to_url())
            .env("MALL_DIR", &scratch.project.state)
            .env(time_tests::TIMES, &times);
        let outcome = finish(tests).await?;
        if code == ExitCode::SUCCESS {
            code = outcome;
        }
    }
    if let Ok(slowest) = time_tests::slowest(&times) {
        eprintln!("The slowest tests:\n{slowest}");
    }
    if code != ExitCode::SUCCESS {
        eprintln!("error: tests failed; what the shop said is in {}", log.display());
    }
    drop(shop);
    Ok(code)
}

async fn against(
    project: &Project,
    base_url: &str,
    given: DatabaseUrls,
    name: Option<&str>,
) -> anyhow::Result<ExitCode> {
    let program = this_program()?;
    let base_url = base_url.trim_end_matches('/');
    let address = resolve(base_url)?;
    ensure!(http::answers(address, "/health").await, "no shop answers at {base_url}: GET /health is not 200");
    let (mysql, redis) = project.databases(&given)?;
    let mut tests = cargo_test(project, &program, &end_to_end(name), base_url);
    tests.env("MALL_MYSQL_URL", mysql.to_url()).env("MALL_REDIS_URL", redis.to_url());
    finish(tests).await
}

fn resolve(base_url: &str) -> anyhow::Result<SocketAddr> {
    let form = || "a base URL has the form http://host:port";
    let has_no_user = |url: &Url| url.username().is_empty() && url.password().is_none();
    let url = Url::parse(base_url).ok().filter(|url| url.scheme() == "http" && has_no_user(url)).with_context(form)?;
    let host = url.host_str().with_context(form)?.trim_matches(['[', ']']).to_owned();
    let mut addresses = (host.as_str(), url.port().unwrap_or(80))
        .to_socket_addrs()
        .with_context(|| format!("`{host}` is not known"))?;
    addresses.next().with_context(form)
}

/// Runs a check of cargo's.
async fn check(project: &Project, what: &str, arguments: &[&str], packages: &[&str]) -> anyhow::Result<()> {
    let mut command = functions::cargo(project);
    command.args(arguments).args(packages);
    if arguments.first() == Some(&"clippy") {
        command.args(["--", "-D", "warnings"]);
    }
    run_check(what, &mut command, &format!("cargo {}", arguments.join(" "))).await
}

async fn run_check(what: &str, command: &mut Command, name: &str) -> anyhow::Result<()> {
    eprintln!("{what} …");
    let status = ChildProcess::spawn(name, command, Duration::from_secs(5))?.wait().await;
    ensure!(status.success(), "`{name}` failed");
    Ok(())
}

/// Checks the dependencies against `deny.toml`, as far as this machine can: cargo-deny is not part of Rust, and the
/// database of advisories is a git repository elsewhere.
async fn check_dependencies(project: &Project) -> anyhow::Result<()> {
    const FETCH_LIMIT: Duration = Duration::from_secs(60);
    let deny = |arguments: &[&str]| {
        let mut command = functions::cargo(project);
        command.arg("deny").args(arguments);
        command
    };
    if !is_installed("the dependencies", deny(&["--version"]), "cargo install --locked cargo-deny").await {
        return Ok(());
    }
    let fetch = tokio::time::timeout(FETCH_LIMIT, succeeds(deny(&["fetch", "db"])));
    // Not fetched in time counts as not reachable.
    let checks: &[&str] = if fetch.await.unwrap_or(false) {
        &["advisories", "bans", "licenses", "sources"]
    } else {
        eprintln!("Skipping the check for security advisories: their database can't be fetched");
        &["bans", "licenses", "sources"]
    };
    check(project, "Checking the dependencies", &["deny", "--locked", "check"], checks).await
}

/// Checks the API's description with two common linters, as far as this machine has them: they run on Node. What they
/// recommend is an error here; `redocly.yaml` and `.spectral.yaml` say what is not.
async fn check_api_description(project: &Project) -> anyhow::Result<()> {
    const DESCRIPTION: &str = "functions/ops/openapi.json";
    const LINTERS: [(&str, &str, &[&str]); 2] = [
        ("redocly", "npm install --global @redocly/cli", &[]),
        ("spectral", "npm install --global @stoplight/spectral-cli", &["--fail-severity", "warn"]),
    ];
    for (linter, install, options) in LINTERS {
        let run = |arguments: &[&str]| {
            let mut command = Command::new(linter);
            command.args(arguments).current_dir(&project.root).stdin(Stdio::null());
            command.env("REDOCLY_TELEMETRY", "off").env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true");
            command
        };
        let what = format!("the API's description with {linter}");
        if is_installed(&what, run(&["--version"]), install).await {
            let mut lint = run(&["lint", DESCRIPTION]);
            run_check(&format!("Checking {what}"), lint.args(options), &format!("{linter} lint")).await?;
        }
    }
    Ok(())
}

/// Whether this machine has a tool that a check needs and not every machine has: whether `probe` succeeds. If not, says
/// how to get it.
async fn is_installed(what: &str, probe: Command, install: &str) -> bool {
    let installed = succeeds(probe).await;
    if !installed {
        eprintln!("Skipping the check of {what}: `{install}` adds what it needs");
    }
    installed
}

/// Whether the command can be started and succeeds. What it prints is not shown.
async fn succeeds(mut command: Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    match ChildProcess::spawn("the tool", &mut command, Duration::from_secs(5)) {
        Ok(mut process) => process.wait().await.success(),
        Err(_) => false,
    }
}

/// The path of this program. Asked for at the start: cargo may build the program anew while it runs.
fn this_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("the path of this program is not known")
}

fn cargo_test(project: &Project, program: &Path, which: &[&str], base_url: &str) -> Command {
    let mut command = functions::cargo(project);
    let runner = toml::Value::from(vec![program.display().to_string(), "time-tests".to_owned()]);
    command
        .arg("--config")
        .arg(format!("target.'cfg(all())'.runner = {runner}"))
        .args(["test", "--no-fail-fast"])
        .args(which)
        .env("MALL_TEST", "1")
        .env("MALL_BASE_URL", base_url)
        .env("MALL_BIN", program);
    // The shop under test has no settings but its own.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("SPIN_VARIABLE_")) {
            command.env_remove(name);
        }
    }
    command
}

/// The runner's output goes straight to the terminal, its exit code becomes ours.
async fn finish(mut tests: Command) -> anyhow::Result<ExitCode> {
    let status = ChildProcess::spawn("cargo test", &mut tests, Duration::from_secs(5))?.wait().await;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
