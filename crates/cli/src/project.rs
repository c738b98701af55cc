//! The checkout, and the state in its `.mall/` that is kept between runs.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use progress::Durations;
use serde::{Deserialize, Serialize};

use crate::{
    address::{Mysql, Redis},
    database_urls::DatabaseUrls,
    process::is_running,
};

#[derive(Clone)]
pub struct Project {
    pub root: PathBuf,
    /// `.mall/` in the checkout, or the folder that `MALL_DIR` names: each shop that tests start has its own.
    pub state: PathBuf,
    manifest: PathBuf,
}

impl Project {
    pub fn find() -> anyhow::Result<Self> {
        let current = std::env::current_dir().context("the current folder can't be read")?;
        let root = current
            .ancestors()
            .find(|folder| folder.join("spin.toml").is_file() && folder.join("crates/cli").is_dir())
            .map(Path::to_path_buf)
            .or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_path_buf))
            .filter(|root| root.join("spin.toml").is_file())
            .context("there is no spin.toml in this folder or one above it: run this in the checkout")?;
        let state = match std::env::var_os("MALL_DIR") {
            Some(folder) => current.join(folder),
            None => root.join(".mall"),
        };
        let manifest = match std::env::var_os("MALL_MANIFEST") {
            Some(file) => current.join(file),
            None => root.join("spin.toml"),
        };
        Ok(Self { root, state, manifest })
    }

    /// `spin.toml` in the checkout, or the file that `MALL_MANIFEST` names, such as a modified copy.
    pub fn manifest(&self) -> PathBuf {
        self.manifest.clone()
    }

    /// The cache of compiled components. It is kept between runs.
    pub fn cache(&self) -> PathBuf {
        self.root.join("target/mall-cache")
    }

    /// How long steps usually take. It is kept between runs.
    pub fn durations(&self) -> Durations {
        Durations::at(self.root.join("target/durations"))
    }

    /// The same checkout with another state folder.
    pub fn with_state(&self, state: PathBuf) -> Self {
        Self { state, ..self.clone() }
    }

    /// Another checkout with the same state folder.
    pub fn at(&self, root: PathBuf) -> Self {
        Self { manifest: root.join("spin.toml"), root, state: self.state.clone() }
    }

    /// The same checkout with another manifest.
    pub fn with_manifest(&self, manifest: PathBuf) -> Self {
        Self { manifest, ..self.clone() }
    }

    /// Locks the state folder for this process. The system releases the lock however the process ends.
    pub fn lock(&self) -> anyhow::Result<Lock> {
        private_folder(&self.state)?;
        let path = self.state.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("{} can't be opened", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => bail!("{}", self.in_use()),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("{} can't be locked", path.display()))
            }
        }
    }

    fn in_use(&self) -> String {
        let process = match self.running() {
            Some(run) => format!(" (process {}, {})", run.pid, run.base_url),
            None => String::new(),
        };
        format!(
            "another `cargo mall up` is using the databases under {}{process}: stop it first, or use other databases with --mysql and --redis",
            self.state.display()
        )
    }

    /// A random secret, which is generated once and then kept in a file.
    pub fn secret(&self, name: &str) -> anyhow::Result<String> {
        let path = self.state.join(name);
        match fs::read_to_string(&path) {
            Ok(text) if text.trim().len() >= 32 => Ok(text.trim().to_owned()),
            _ => {
                let secret = random_hex(32)?;
                private_folder(&self.state)?;
                write_private(&path, secret.as_bytes())?;
                Ok(secret)
            }
        }
    }

    /// The shop that is running in this checkout.
    pub fn running(&self) -> Option<RunningShop> {
        let shop: RunningShop = serde_json::from_slice(&fs::read(self.state.join("run.json")).ok()?).ok()?;
        is_running(shop.pid).then_some(shop)
    }

    /// Writes `run.json`, so that other commands find this shop.
    pub fn write_run_file(&self, shop: &RunningShop) -> anyhow::Result<RunFile> {
        let path = self.state.join("run.json");
        private_folder(&self.state)?;
        write_private(&path, &serde_json::to_vec_pretty(shop)?)?;
        Ok(RunFile { path, pid: shop.pid })
    }

    /// The databases that options or the environment name, else those of the running shop.
    pub fn databases(&self, urls: &DatabaseUrls) -> anyhow::Result<(Mysql, Redis)> {
        Ok((self.mysql(urls)?, self.redis(urls)?))
    }

    pub fn redis(&self, urls: &DatabaseUrls) -> anyhow::Result<Redis> {
        match urls.redis()? {
            Some(redis) => Ok(redis),
            None => self.running_or("--redis redis://host:port")?.redis.parse(),
        }
    }

    pub fn mysql(&self, urls: &DatabaseUrls) -> anyhow::Result<Mysql> {
        match urls.mysql()? {
            Some(mysql) => Ok(mysql),
            None => self.running_or("--mysql mysql://user:password@host:port/database")?.mysql.parse(),
        }
    }

    fn running_or(&self, option: &str) -> anyhow::Result<RunningShop> {
        let not_running =
            || format!("no shop is running in this checkout: start one with `cargo mall up`, or use {option}");
        self.running().with_context(not_running)
    }
}

/// The lock on a state folder.
pub struct Lock {
    _file: File,
}

/// The content of `run.json`, by which other commands find a running shop.
#[derive(Clone, Serialize, Deserialize)]
pub struct RunningShop {
    pub base_url: String,
    pub mysql: String,
    pub redis: String,
    pub pid: i32,
}

/// Removes `run.json` when it is dropped.
pub struct RunFile {
    path: PathBuf,
    pid: i32,
}

impl Drop for RunFile {
    fn drop(&mut self) {
        let is_own = fs::read(&self.path)
            .ok()
            .and_then(|text| serde_json::from_slice::<RunningShop>(&text).ok())
            .is_some_and(|shop| shop.pid == self.pid);
        if is_own {
            let _ = fs::remove_file(&self.path);
        }
    }
}

pub fn private_folder(path: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("{} can't be created", path.display()))
}

/// Writes a file that only its owner can read. It is replaced atomically.
pub fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let temporary = path.with_extension("new");
    let written = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(content))
        .and_then(|()| fs::rename(&temporary, path));
    written.with_context(|| format!("{} can't be written", path.display()))
}

pub fn random_hex(bytes: usize) -> anyhow::Result<String> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("the system provides no random numbers: {error}"))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
