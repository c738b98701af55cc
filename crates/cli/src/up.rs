//! `cargo mall up`

use std::{fs, net::SocketAddr, process::ExitCode, time::Duration};

use anyhow::{Context, bail};

use crate::{
    Databases as Given,
    address::{Mysql, Redis, Variables},
    database, demo, functions,
    interrupt::{Interrupt, STOPPED},
    migrate,
    project::{Announced, Project, Run},
    servers::{Databases, Durability},
    shop::{self, Runtime, Shop},
    spin, tick, ui, variables,
};

#[derive(clap::Args)]
pub struct Arguments {
    /// Where to serve; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,

    /// What runs the functions
    #[arg(long, value_enum, default_value = "embedded")]
    runtime: Runtime,

    #[command(flatten)]
    databases: Given,

    /// Leave the shop empty
    #[arg(long)]
    no_demo: bool,

    /// Start with new databases: what is under .mall/ is deleted first
    #[arg(long)]
    fresh: bool,
}

pub async fn run(project: &Project, interrupt: Interrupt, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut running = interrupt.unless(start(project, &arguments)).await?;
    let outcome = tokio::select! {
        () = interrupt.wait() => Ok(STOPPED),
        error = tend(&mut running) => Err(error),
    };
    eprintln!("Stopping …");
    running.stop().await;
    outcome
}

struct Running {
    shop: Shop,
    databases: Databases,
    _announced: Announced,
}

impl Running {
    /// The shop first: what it still does needs its databases.
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
    shop::check_listen(arguments.listen)?;
    if arguments.runtime == Runtime::Spin {
        spin::program()?;
    }
    if arguments.fresh {
        start_anew(project, mysql.is_some() || redis.is_some())?;
    }
    // All this before the build, which takes minutes the first time.
    if mysql.is_none() || redis.is_none() {
        drop(project.lock()?);
    }
    if let Some(mysql) = &mysql {
        database::reachable(mysql).await?;
    }
    if let Some(redis) = &redis {
        crate::servers::connect_redis(redis).await?;
    }
    // Whoever runs tests has built them.
    if std::env::var_os("MALL_TEST").is_none() {
        functions::build(project).await?;
    }
    let databases = Databases::find_or_start(project, mysql, redis, Durability::Full).await?;
    serve(project, arguments, environment, databases).await
}

async fn serve(
    project: &Project,
    arguments: &Arguments,
    environment: Variables,
    databases: Databases,
) -> anyhow::Result<Running> {
    let variables = shop::variables(project, environment, &databases)?;
    let variables = variables::as_declared(project, variables)?;
    let ran = database::migrate(&databases.mysql).await?;
    eprintln!("{}", migrate::summary(ran));
    if !arguments.no_demo {
        let loaded = demo::load(project, &databases.mysql).await?;
        eprintln!("{}", loaded.summary());
    }

    let mut shop = Shop::start(project, arguments.runtime, arguments.listen, variables).await?;
    shop.ready(Duration::from_secs(60)).await?;
    tokio::spawn(keep_ticking(project.clone(), databases.redis.clone()));
    let announced = project.announce(Run {
        base_url: shop.base_url(),
        mysql: databases.mysql.to_url(),
        redis: databases.redis.to_url(),
        pid: i32::try_from(std::process::id())?,
    })?;
    let accounts = demo::accounts(project, &databases.mysql).await?;
    greet(&shop, &databases, &accounts);
    Ok(Running { shop, databases, _announced: announced })
}

/// Wakes the workers for what is left from before, as soon as they listen; and now and then, so that a heart which stood
/// still (Redis lost its data, or a key expired while nobody listened) beats again without an order.
async fn keep_ticking(project: Project, redis: Redis) {
    loop {
        let all_heard = tick::ring(&project, &redis).await.is_ok_and(|(queues, heard)| heard == queues);
        tokio::time::sleep(if all_heard { Duration::from_secs(30) } else { Duration::from_millis(500) }).await;
    }
}

fn greet(shop: &Shop, databases: &Databases, accounts: &[demo::Account]) {
    let base = shop.base_url();
    println!("\nwasmall is serving at {base}");
    println!("  docs       {base}/api/docs");
    for account in accounts {
        println!("  {:<10} {}  {}", account.what, account.username, account.password);
    }
    let source =
        databases.describe().unwrap_or_else(|| format!("MySQL at {}, Redis at {}", databases.mysql, databases.redis));
    println!("  databases  {source}");
    println!("Try:  curl '{base}/api/product?limit=3'");
    println!("Ctrl-C stops it.\n");
}

/// Looks after what runs; returns only when something can't be mended.
async fn tend(running: &mut Running) -> anyhow::Error {
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        match running.databases.revive() {
            Ok(revived) => revived.iter().for_each(|what| ui::warn(what)),
            Err(error) => return error,
        }
        if let Shop::Spin(spin) = &mut running.shop
            && let Err(error) = spin.tend()
        {
            return error;
        }
    }
}

/// Deletes our own databases, and nobody else's.
fn start_anew(project: &Project, given: bool) -> anyhow::Result<()> {
    if given {
        bail!(
            "--fresh deletes the databases under .mall/ only, not those at an address that was given: leave out one of the two"
        );
    }
    let _lock = project.lock()?;
    crate::servers::end_predecessors(&project.state);
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
