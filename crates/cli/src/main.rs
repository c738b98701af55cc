//! `cargo mall`: runs, tests and measures the shop, and maintains its databases.

mod address;
mod bench;
mod database;
mod database_urls;
mod demo;
mod flash_sale;
mod functions;
mod grant_admin;
mod interrupt;
mod jobs;
mod ledger;
mod ledger_entries;
mod migrate;
mod migrations;
mod process;
mod project;
mod search_index;
mod seed;
mod servers;
mod shop;
mod spin;
mod temporary_shop;
mod test;
mod tick;
mod time_tests;
mod up;
mod variables;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{database_urls::DatabaseUrls, interrupt::Interrupt, project::Project};

/// With the system's allocator, the runtime spends a tenth of its time on allocating.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An online shop's back end as serverless functions.
#[derive(Parser)]
#[command(name = "cargo mall", bin_name = "cargo mall", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds the functions, starts the databases unless their URLs are given, migrates, and serves the shop.
    Up(up::Arguments),
    /// Checks formatting and lints, and runs the unit and end-to-end tests.
    Test(test::Arguments),
    /// Brings the database's schema up to date.
    Migrate(DatabaseUrls),
    /// Loads the demo data, once.
    Seed(DatabaseUrls),
    /// Makes a registered user an admin.
    GrantAdmin(grant_admin::Arguments),
    /// Lists queued and failed background jobs, and retries dead ones.
    Jobs(jobs::Arguments),
    /// Checks the books.
    Ledger(ledger::Arguments),
    /// Repairs flash sales.
    #[command(name = "seckill")]
    FlashSale(flash_sale::Arguments),
    /// Wakes all workers. Run it from cron if Redis can't send keyspace notifications.
    Tick(tick::Arguments),
    /// Measures throughput and latency of the shop on this machine.
    Bench(bench::Arguments),
    /// The load generator of `bench`, in a process of its own.
    #[command(hide = true)]
    Load,
    /// Runs a program of `test`, and notes how long its tests take.
    #[command(hide = true)]
    TimeTests(time_tests::Arguments),
    /// What `bench` compares with, in a process of its own.
    #[command(hide = true)]
    NativeYardstick,
}

fn main() -> ExitCode {
    // wasmtime creates an error each time a guest's task ends. If RUST_BACKTRACE is set, capturing a backtrace for each
    // would cost a third of the throughput.
    if std::env::var_os("RUST_LIB_BACKTRACE").is_none() {
        // SAFETY: there is no other thread yet that could read the environment.
        unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") };
    }
    let filter = std::env::var("MALL_LOG").unwrap_or_else(|_| "warn".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time()
        .init();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return print_usage(&error),
    };
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        // On the main thread, since child processes are terminated when the thread that spawned them ends (see
        // `process`).
        .and_then(|runtime| runtime.block_on(run(cli.command)));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let project = Project::find()?;
    let interrupt = Interrupt::listen()?;
    match command {
        Command::Up(arguments) => up::run(&project, interrupt, arguments).await,
        Command::Test(arguments) => test::run(&project, interrupt, arguments).await,
        Command::Bench(arguments) => bench::run(&project, interrupt, arguments).await,
        Command::Load => load::generator::run().await,
        Command::TimeTests(arguments) => interrupt.unless(time_tests::run(arguments)).await,
        Command::NativeYardstick => load::native::run().await,
        Command::Migrate(databases) => interrupt.unless(migrate::run(&project, databases)).await,
        Command::Seed(databases) => interrupt.unless(seed::run(&project, databases)).await,
        Command::GrantAdmin(arguments) => interrupt.unless(grant_admin::run(&project, arguments)).await,
        Command::Jobs(arguments) => interrupt.unless(jobs::run(&project, arguments)).await,
        Command::Ledger(arguments) => interrupt.unless(ledger::run(&project, arguments)).await,
        Command::FlashSale(arguments) => interrupt.unless(flash_sale::run(&project, arguments)).await,
        Command::Tick(arguments) => interrupt.unless(tick::run(&project, arguments)).await,
    }
}

/// Prints help to stdout. An error in the command line is one line, like every other error.
fn print_usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    match error.kind() {
        clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => eprint!("{text}"),
        // The first paragraph is the error; the others are usage hints.
        _ => {
            let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
            eprintln!("{}", lines.collect::<Vec<_>>().join(" "));
        }
    }
    ExitCode::FAILURE
}
