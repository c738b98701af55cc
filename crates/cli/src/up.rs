//! `cargo mall up`

use std::{fs, net::SocketAddr, process::ExitCode, time::Duration};

use anyhow::{Context, bail, ensure};

use crate::{
    address::{Mysql, Redis, Variables},
    database,
    database_urls::DatabaseUrls,
    demo,
    functions::{self, Profile},
    interrupt::{Interrupt, STOPPED},
    migrate,
    project::{Project, RunFile, RunningShop},
    servers::{self, Databases, Durability},
    shop::{self, Connections, Runtime, Shop},
    spin, tick, variables, watch,
};

#[derive(clap::Args)]
pub struct Arguments {
    /// The address to listen on; port 0 picks a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,

    /// The runtime for the functions
    #[arg(long, value_enum, default_value = "embedded")]
    runtime: Runtime,

    #[command(flatten)]
    databases: DatabaseUrls,

    /// Load the demo data, an admin among it, even into databases that are given by URL
    #[arg(long)]
    demo: bool,

    /// Don't load the demo data
    #[arg(long, conflicts_with = "demo")]
    no_demo: bool,

    /// Delete the databases under .mall/ first, and start with new ones
    #[arg(long)]
    fresh: bool,

    /// Build changes of the functions, the migrations and spin.toml as they are saved, and swap them in
    #[arg(long)]
    watch: bool,

    #[command(flatten)]
    connections: Connections,
}

pub async fn run(project: &Project, interrupt: Interrupt, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut running = interrupt.unless(start(project, &arguments)).await?;
    let Running { shop, databases, .. } = &mut running;
    let mysql = databases.mysql.clone();
    let outcome = tokio::select! {
        () = interrupt.wait() => Ok(STOPPED),
        error = restart_exited(databases) => Err(error),
        error = supervise(project, shop, &mysql, arguments.watch) => Err(error),
    };
    eprintln!("Stopping …");
    running.stop().await;
    outcome
}

struct Running {
    shop: Shop,
    databases: Databases,
    _run_file: RunFile,
}

impl Running {
    /// Stops the shop first, since requests in progress need the databases.
    async fn stop(self) {
        self.shop.stop().await;
        self.databases.stop();
    }
}

async fn start(project: &Project, arguments: &Arguments) -> anyhow::Result<Running> {
    let environment = variables::from_environment()?;
    let mysql =
        arguments.databases.mysql()?.map_or_else(|| Mysql::from_variables(&environment), |url| Ok(Some(url)))?;
    let redis =
        arguments.databases.redis()?.map_or_else(|| Redis::from_variables(&environment), |url| Ok(Some(url)))?;
    arguments.connections.check(arguments.runtime)?;
    ensure!(
        arguments.runtime == Runtime::Embedded || !arguments.watch,
        "--watch works with the embedded runtime: leave it out, or leave out --runtime spin and see `spin watch`"
    );
    shop::check_is_free(arguments.listen)?;
    if arguments.runtime == Runtime::Spin {
        spin::program()?;
    }
    let uses_others = mysql.is_some() || redis.is_some();
    if arguments.fresh {
        delete_databases(project, uses_others)?;
    }
    // All checks come before the build, which takes minutes the first time.
    if mysql.is_none() || redis.is_none() {
        drop(project.lock()?);
    }
    if let Some(mysql) = &mysql {
        database::reachable(mysql).await?;
    }
    if let Some(redis) = &redis {
        servers::connect_redis(redis).await?;
    }
    let project = match arguments.watch {
        true => &watch::build(project).await?,
        false => {
            // Tests have built them already.
            if std::env::var_os("MALL_TEST").is_none() {
                functions::build(project, Profile::Release).await?;
            }
            project
        }
    };
    let databases = Databases::find_or_start(project, mysql, redis, Durability::Full).await?;
    serve(project, arguments, environment, databases, arguments.loads_demo(uses_others)).await
}

impl Arguments {
    /// Whether to load the demo data. Other databases than those under `.mall/` may be a real shop's, and its admin has
    /// not asked for a second one.
    fn loads_demo(&self, uses_others: bool) -> bool {
        self.demo || !(self.no_demo || uses_others)
    }
}

async fn serve(
    project: &Project,
    arguments: &Arguments,
    environment: Variables,
    databases: Databases,
    loads_demo: bool,
) -> anyhow::Result<Running> {
    let variables = shop::variables(project, environment, &databases)?;
    let variables = variables::retain_declared(project, variables)?;
    let ran = database::migrate(project, &databases.mysql, false).await?;
    eprintln!("{}", migrate::summary(ran));
    let mut shop = Shop::start(project, arguments.runtime, arguments.listen, &arguments.connections, variables).await?;
    shop.ready(Duration::from_secs(60)).await?;
    if loads_demo {
        // Not before the start, which compiles the functions the first time: the demo's jobs would be overdue by then.
        let outcome = demo::load(project, &databases.mysql).await?;
        eprintln!("{}", outcome.summary());
    }
    tokio::spawn(wake_workers_regularly(project.clone(), databases.redis.clone()));
    let run_file = project.write_run_file(&RunningShop {
        base_url: shop.base_url(),
        mysql: databases.mysql.to_url(),
        redis: databases.redis.to_url(),
        pid: i32::try_from(std::process::id())?,
    })?;
    let accounts = demo::accounts(project, &databases.mysql).await?;
    print_addresses(&shop, &databases, &accounts);
    Ok(Running { shop, databases, _run_file: run_file })
}

/// Wakes the workers as soon as they listen, since there may be jobs from before. Then wakes them regularly: their own
/// heartbeat stops if Redis loses its data, or if a key expires while no worker listens.
async fn wake_workers_regularly(project: Project, redis: Redis) {
    loop {
        let woken = tick::wake_workers(&project, &redis).await;
        let all_listen = woken.is_ok_and(|(queues, woken)| woken == queues);
        tokio::time::sleep(if all_listen { Duration::from_secs(30) } else { Duration::from_millis(500) }).await;
    }
}

fn print_addresses(shop: &Shop, databases: &Databases, accounts: &[demo::Account]) {
    let base = shop.base_url();
    println!("\nwasmall is serving at {base}");
    println!("  docs       {base}/api/docs");
    for account in accounts {
        println!("  {:<10} {}  {}", account.kind, account.username, account.password);
    }
    let description =
        databases.describe().unwrap_or_else(|| format!("MySQL at {}, Redis at {}", databases.mysql, databases.redis));
    println!("  databases  {description}");
    println!("Try:  curl '{base}/api/product?limit=3'");
    println!("Stop it with Ctrl-C.\n");
}

/// How often the servers and Spin are looked at.
const SUPERVISION_INTERVAL: Duration = Duration::from_millis(500);

/// Restarts databases when they exit. Returns only when that fails.
async fn restart_exited(databases: &mut Databases) -> anyhow::Error {
    loop {
        tokio::time::sleep(SUPERVISION_INTERVAL).await;
        match databases.restart_exited() {
            Ok(warnings) => warnings.iter().for_each(|warning| progress::warn(warning)),
            Err(error) => return error,
        }
    }
}

/// Restarts Spin when it exits, and with `watches` swaps in what changes. Returns only when that fails.
async fn supervise(project: &Project, shop: &mut Shop, mysql: &Mysql, watches: bool) -> anyhow::Error {
    match shop {
        Shop::Embedded(app) if watches => match watch::follow(project, app, mysql).await {},
        Shop::Embedded(_) => std::future::pending().await,
        Shop::Spin(spin) => loop {
            tokio::time::sleep(SUPERVISION_INTERVAL).await;
            if let Err(error) = spin.restart_if_exited() {
                return error;
            }
        },
    }
}

/// Deletes the databases under `.mall/`.
fn delete_databases(project: &Project, uses_others: bool) -> anyhow::Result<()> {
    if uses_others {
        bail!(
            "--fresh deletes the databases under .mall/ and can't be used together with other databases: leave out --fresh or their addresses"
        );
    }
    let _lock = project.lock()?;
    servers::stop_leftovers(&project.state);
    for name in ["mysql", "mysql.new", "redis"] {
        let folder = project.state.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("{} can't be removed", folder.display()))?;
        }
    }
    for name in ["demo.json", "mysql-password", "redis-password"] {
        let _ = fs::remove_file(project.state.join(name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::Arguments;

    #[derive(Parser)]
    struct Up {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn only_demo_loads_the_demo_data_into_other_databases() {
        let loads = |options: &[&str], uses_others| {
            let up = Up::try_parse_from(["up"].iter().chain(options)).unwrap();
            up.arguments.loads_demo(uses_others)
        };
        assert!(loads(&[], false) && loads(&["--demo"], false) && !loads(&["--no-demo"], false));
        assert!(!loads(&[], true) && loads(&["--demo"], true) && !loads(&["--no-demo"], true));
        assert!(Up::try_parse_from(["up", "--demo", "--no-demo"]).is_err());
    }
}
