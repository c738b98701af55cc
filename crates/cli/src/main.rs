//! `cargo mall`: runs the shop, tests it, measures it, and looks after its databases.

mod address;
mod bench;
mod database;
mod demo;
mod functions;
mod grant_admin;
mod index;
mod interrupt;
mod jobs;
mod migrate;
mod process;
mod project;
mod scratch;
mod seckill;
mod seed;
mod servers;
mod shop;
mod spin;
mod test;
mod tick;
mod ui;
mod up;
mod variables;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::{
    address::{Mysql, Redis},
    interrupt::Interrupt,
    project::Project,
};

/// The runtime allocates for every request; the system's allocator is a tenth of its time.
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
    /// Builds the functions, starts or finds the databases, migrates, and serves.
    Up(up::Arguments),
    /// Checks format and lints, and runs the unit and end-to-end tests.
    Test(test::Arguments),
    /// Brings the database's schema up to date.
    Migrate(Databases),
    /// Loads the demo data, once.
    Seed(Databases),
    /// Makes a registered user an admin.
    GrantAdmin(grant_admin::Arguments),
    /// Lists what waits to be done, and what could not be; has it tried again.
    Jobs(jobs::Arguments),
    /// Mends flash sales.
    Seckill(seckill::Arguments),
    /// Wakes all workers: for cron, where Redis does not tell of keys that expire.
    Tick(tick::Arguments),
    /// Measures throughput and latency of the shop on this machine.
    Bench(bench::Arguments),
    /// The load generator of `bench`, in a process of its own.
    #[command(hide = true)]
    Load,
    /// What `bench` compares with, in a process of its own.
    #[command(hide = true)]
    NativeYardstick,
}

/// Which databases to use. As text, since clap would show a URL that it can't read, with the password in it.
#[derive(Args, Clone, Default)]
struct Databases {
    /// mysql://user:password@host:port/database[?ssl-mode=…]
    #[arg(long, value_name = "URL", env = "MALL_MYSQL_URL", hide_env_values = true)]
    mysql: Option<String>,

    /// redis://[user:password@]host:port
    #[arg(long, value_name = "URL", env = "MALL_REDIS_URL", hide_env_values = true)]
    redis: Option<String>,
}

impl Databases {
    fn mysql(&self) -> anyhow::Result<Option<Mysql>> {
        self.mysql.as_deref().filter(|url| !url.is_empty()).map(str::parse).transpose()
    }

    fn redis(&self) -> anyhow::Result<Option<Redis>> {
        self.redis.as_deref().filter(|url| !url.is_empty()).map(str::parse).transpose()
    }
}

fn main() -> ExitCode {
    // wasmtime makes and drops an error each time a guest's task ends. Taking a back-trace of each, as RUST_BACKTRACE
    // asks for, would cost a third of the requests per second.
    if std::env::var_os("RUST_LIB_BACKTRACE").is_none() {
        // SAFETY: no other thread runs yet that could read the environment.
        unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") };
    }
    let logged = std::env::var("MALL_LOG").unwrap_or_else(|_| "warn".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(logged)
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time()
        .init();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refused(&error),
    };
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        // On this thread: children are told to end when the thread that started them does (see `process`).
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
        Command::NativeYardstick => load::native::run().await,
        Command::Migrate(databases) => interrupt.unless(migrate::run(&project, databases)).await,
        Command::Seed(databases) => interrupt.unless(seed::run(&project, databases)).await,
        Command::GrantAdmin(arguments) => interrupt.unless(grant_admin::run(&project, arguments)).await,
        Command::Jobs(arguments) => interrupt.unless(jobs::run(&project, arguments)).await,
        Command::Seckill(arguments) => interrupt.unless(seckill::run(&project, arguments)).await,
        Command::Tick(arguments) => interrupt.unless(tick::run(&project, arguments)).await,
    }
}

/// Help goes where it was asked for; what is wrong with the command line is one line, like every other error.
fn refused(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    match error.kind() {
        clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => eprint!("{text}"),
        // Its first paragraph.
        _ => {
            let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
            eprintln!("{}", lines.collect::<Vec<_>>().join(" "));
        }
    }
    ExitCode::FAILURE
}
