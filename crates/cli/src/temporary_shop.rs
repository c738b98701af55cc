//! Databases and shops for tests and benchmarks. Dropping them deletes everything.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;

use crate::{
    address::Variables,
    database,
    process::ChildProcess,
    project::{Project, private_folder, random_hex},
    servers::{self, Databases, Durability},
    shop, variables,
};

pub struct ShopSettings {
    /// `test` or `bench`: the beginning of its folder's name.
    pub purpose: &'static str,
    pub durability: Durability,
    pub variables: &'static [(&'static str, &'static str)],
}

/// Empty databases. Fields are dropped in this order, so the folder is removed when the servers have stopped.
pub struct TemporaryDatabases {
    pub databases: Databases,
    /// Its state is in a folder of its own.
    pub project: Project,
    folder: Folder,
}

impl TemporaryDatabases {
    /// Starts the servers. `purpose` is the beginning of their folder's name. Call this on the main thread (see
    /// `process`).
    pub async fn start(project: &Project, purpose: &str, durability: Durability) -> anyhow::Result<Self> {
        remove_abandoned(&project.state, purpose);
        let folder = Folder(project.state.join(format!("{purpose}-{}", random_hex(4)?)));
        private_folder(&folder.0)?;
        let project = project.with_state(folder.0.clone());
        let databases = Databases::find_or_start(&project, None, None, durability).await?;
        Ok(Self { databases, project, folder })
    }
}

/// Migrated databases, and the variables of shops that use them. Fields are dropped in this order, as above.
pub struct TemporaryShop {
    pub databases: Databases,
    pub variables: Variables,
    pub project: Project,
    _folder: Folder,
}

impl TemporaryShop {
    /// Starts the databases and migrates. Call this on the main thread (see `process`).
    pub async fn start(project: &Project, settings: &ShopSettings) -> anyhow::Result<Self> {
        let TemporaryDatabases { databases, project, folder } =
            TemporaryDatabases::start(project, settings.purpose, settings.durability).await?;
        database::migrate(&project, &databases.mysql, false).await?;
        let mut variables = variables::defaults(&project)?;
        variables.extend(settings.variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let variables = shop::variables(&project, variables, &databases)?;
        Ok(Self { databases, variables, project, _folder: folder })
    }

    /// Runs `cargo mall up` in a process of its own, with `overrides` of the variables. Its output goes to `log`, if
    /// there is one.
    pub async fn serve(&self, overrides: &[(&str, &str)], log: Option<&Path>) -> anyhow::Result<ServerProcess> {
        let mut command = this_program()?;
        command
            .args(["up", "--listen", "127.0.0.1:0"])
            .env("MALL_MYSQL_URL", self.databases.mysql.to_url())
            .env("MALL_REDIS_URL", self.databases.redis.to_url())
            .env("MALL_DIR", self.project.state.join(format!("shop-{}", random_hex(4)?)))
            // The functions are built already.
            .env("MALL_TEST", "1");
        let variables = self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in variables.chain(overrides.iter().copied()) {
            command.env(format!("SPIN_VARIABLE_{}", name.to_ascii_uppercase()), value);
        }
        ServerProcess::start("the shop", command, log).await
    }
}

/// A process of this program that serves HTTP and prints its address.
pub struct ServerProcess {
    pub address: SocketAddr,
    /// The time from its start until it printed the address.
    pub ready_after: Duration,
    pub process: ChildProcess,
}

impl ServerProcess {
    pub async fn start(name: &str, mut command: Command, log: Option<&Path>) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let mut log = File::create(log.unwrap_or(Path::new("/dev/null"))).context("the shop's log can't be written")?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.try_clone()?);
        let mut process = ChildProcess::spawn(name, &mut command, Duration::from_secs(15))?;
        let stdout = process.take_stdout().context("no pipe")?;
        let line = tokio::task::spawn_blocking(move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            let found = lines.find(|line| line.contains("http://"));
            // The rest is read too, since the process would block when the pipe is full.
            std::thread::spawn(move || lines.for_each(|line| drop(writeln!(log, "{line}"))));
            found
        });
        let line = line.await?.with_context(|| format!("{name} exited before it served"))?;
        let ready_after = begun.elapsed();
        let (_, address) = line.rsplit_once("http://").context("no address")?;
        Ok(Self { address: address.trim().parse()?, ready_after, process })
    }
}

/// A command that runs this program.
pub fn this_program() -> anyhow::Result<Command> {
    Ok(Command::new(std::env::current_exe().context("the path of this program is unknown")?))
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes the folders of earlier runs that were killed: their locks are free.
fn remove_abandoned(state: &Path, purpose: &str) {
    let Ok(entries) = fs::read_dir(state) else { return };
    for entry in entries.flatten() {
        let has_purpose = entry.file_name().to_str().is_some_and(|name| name.starts_with(&format!("{purpose}-")));
        let is_abandoned = File::open(entry.path().join("lock")).is_ok_and(|lock| lock.try_lock().is_ok());
        if has_purpose && is_abandoned {
            servers::stop_leftovers(&entry.path());
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
