//! Databases and a shop for one run: folder and all, gone when they are dropped.

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
    process::Guarded,
    project::{Project, private_folder, random_hex},
    servers::{self, Databases, Durability},
    shop, variables,
};

/// What a run needs of its shop, and what it does not.
pub struct Wanted {
    /// `test` or `bench`: the folder's name.
    pub what: &'static str,
    pub durability: Durability,
    pub variables: &'static [(&'static str, &'static str)],
}

/// Database servers with nothing in them. Fields are dropped in this order: the folder goes last.
pub struct ScratchDatabases {
    pub databases: Databases,
    /// With its state in the run's folder.
    pub project: Project,
    folder: Folder,
}

impl ScratchDatabases {
    /// Call on the main thread (see `process`).
    pub async fn start(project: &Project, what: &str, durability: Durability) -> anyhow::Result<Self> {
        sweep(&project.state, what);
        let folder = Folder(project.state.join(format!("{what}-{}", random_hex(4)?)));
        private_folder(&folder.0)?;
        let project = project.with_state(folder.0.clone());
        let databases = Databases::find_or_start(&project, None, None, durability).await?;
        Ok(Self { databases, project, folder })
    }
}

// Fields are dropped in this order: the folder goes last.
pub struct Scratch {
    pub databases: Databases,
    pub variables: Variables,
    pub project: Project,
    _folder: Folder,
}

impl Scratch {
    /// Starts the databases, and migrates. Call on the main thread (see `process`).
    pub async fn start(project: &Project, wanted: &Wanted) -> anyhow::Result<Self> {
        let ScratchDatabases { databases, project, folder } =
            ScratchDatabases::start(project, wanted.what, wanted.durability).await?;
        database::migrate(&databases.mysql).await?;
        let mut variables = variables::defaults(&project)?;
        variables.extend(wanted.variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let variables = shop::variables(&project, variables, &databases)?;
        Ok(Self { databases, variables, project, _folder: folder })
    }

    /// The shop as `cargo mall up` runs it, in a process of its own, with other settings if any are given. What it
    /// prints goes to `log`, if anywhere.
    pub async fn serve(&self, other: &[(&str, &str)], log: Option<&Path>) -> anyhow::Result<Served> {
        let mut command = ourselves()?;
        command
            .args(["up", "--listen", "127.0.0.1:0", "--no-demo"])
            .env("MALL_MYSQL_URL", self.databases.mysql.to_url())
            .env("MALL_REDIS_URL", self.databases.redis.to_url())
            .env("MALL_DIR", self.project.state.join(format!("shop-{}", random_hex(4)?)))
            // The functions are built.
            .env("MALL_TEST", "1");
        let settings = self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in settings.chain(other.iter().copied()) {
            command.env(format!("SPIN_VARIABLE_{}", name.to_ascii_uppercase()), value);
        }
        Served::start("the shop", command, log).await
    }
}

/// A process of this same program that says where it serves, and then does.
pub struct Served {
    pub address: SocketAddr,
    /// From the start of the process until it said so.
    pub ready_after: Duration,
    pub process: Guarded,
}

impl Served {
    pub async fn start(name: &str, mut command: Command, log: Option<&Path>) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let mut log = File::create(log.unwrap_or(Path::new("/dev/null"))).context("the shop's log can't be written")?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.try_clone()?);
        let mut process = Guarded::spawn(name, &mut command, Duration::from_secs(15))?;
        let stdout = process.take_stdout().context("no pipe")?;
        let line = tokio::task::spawn_blocking(move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            let found = lines.find(|line| line.contains("http://"));
            // What follows is read too, so that the writer never waits.
            std::thread::spawn(move || lines.for_each(|line| drop(writeln!(log, "{line}"))));
            found
        });
        let line = line.await?.with_context(|| format!("{name} ended instead of serving"))?;
        let ready_after = begun.elapsed();
        let (_, address) = line.rsplit_once("http://").context("no address")?;
        Ok(Self { address: address.trim().parse()?, ready_after, process })
    }
}

pub fn ourselves() -> anyhow::Result<Command> {
    Ok(Command::new(std::env::current_exe().context("the path of this program is not known")?))
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes what runs that were killed have left: a folder with a lock that nobody holds.
fn sweep(state: &Path, what: &str) {
    let Ok(entries) = fs::read_dir(state) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(&format!("{what}-")));
        let abandoned = File::open(entry.path().join("lock")).is_ok_and(|lock| lock.try_lock().is_ok());
        if ours && abandoned {
            servers::end_predecessors(&entry.path());
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
