//! The checkout: where it is, and what `.mall/` keeps between runs.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::{
    Databases,
    address::{Mysql, Redis},
};

#[derive(Clone)]
pub struct Project {
    pub root: PathBuf,
    /// `.mall/` in the checkout, or what `MALL_DIR` names: tests give each shop they start its own.
    pub state: PathBuf,
    manifest: PathBuf,
}

impl Project {
    pub fn find() -> anyhow::Result<Self> {
        let here = std::env::current_dir().context("the current folder can't be read")?;
        let root = here
            .ancestors()
            .find(|folder| folder.join("spin.toml").is_file() && folder.join("crates/cli").is_dir())
            .map(Path::to_path_buf)
            .or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_path_buf))
            .filter(|root| root.join("spin.toml").is_file())
            .context("no spin.toml here or above: run this in the checkout")?;
        let state = match std::env::var_os("MALL_DIR") {
            Some(folder) => here.join(folder),
            None => root.join(".mall"),
        };
        let manifest = match std::env::var_os("MALL_MANIFEST") {
            Some(file) => here.join(file),
            None => root.join("spin.toml"),
        };
        Ok(Self { root, state, manifest })
    }

    /// `spin.toml` in the checkout, or what `MALL_MANIFEST` names: a copy with something else in it.
    pub fn manifest(&self) -> PathBuf {
        self.manifest.clone()
    }

    /// Compiled components, kept across runs and with the builds they come from.
    pub fn cache(&self) -> PathBuf {
        self.root.join("target/mall-cache")
    }

    /// The same checkout with its state elsewhere.
    pub fn with_state(&self, state: PathBuf) -> Self {
        Self { state, ..self.clone() }
    }

    /// Holds the folder for this process alone; the system lets go of it however the process ends.
    pub fn lock(&self) -> anyhow::Result<Lock> {
        private_folder(&self.state)?;
        let path = self.state.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("{} can't be opened", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => bail!("{}", self.occupied()),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("{} can't be locked", path.display()))
            }
        }
    }

    fn occupied(&self) -> String {
        let by = match self.running() {
            Some(run) => format!(" (process {}, {})", run.pid, run.base_url),
            None => String::new(),
        };
        format!(
            "another `cargo mall up` runs with the databases under {}{by}: stop it first, or give this one --mysql and --redis",
            self.state.display()
        )
    }

    /// A random secret that stays the same from run to run.
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

    /// The shop that runs from this checkout now.
    pub fn running(&self) -> Option<Run> {
        let run: Run = serde_json::from_slice(&fs::read(self.state.join("run.json")).ok()?).ok()?;
        crate::process::alive(run.pid).then_some(run)
    }

    pub fn announce(&self, run: Run) -> anyhow::Result<Announced> {
        let path = self.state.join("run.json");
        private_folder(&self.state)?;
        write_private(&path, &serde_json::to_vec_pretty(&run)?)?;
        Ok(Announced { path, pid: run.pid })
    }

    /// The databases that flags or the environment name, else those of the running shop.
    pub fn databases(&self, given: &Databases) -> anyhow::Result<(Mysql, Redis)> {
        Ok((self.mysql(given)?, self.redis(given)?))
    }

    pub fn redis(&self, given: &Databases) -> anyhow::Result<Redis> {
        match given.redis()? {
            Some(redis) => Ok(redis),
            None => self.found("--redis redis://host:port")?.redis.parse(),
        }
    }

    pub fn mysql(&self, given: &Databases) -> anyhow::Result<Mysql> {
        match given.mysql()? {
            Some(mysql) => Ok(mysql),
            None => self.found("--mysql mysql://user:password@host:port/database")?.mysql.parse(),
        }
    }

    fn found(&self, instead: &str) -> anyhow::Result<Run> {
        let none = || format!("no shop runs from this checkout: start one with `cargo mall up`, or give {instead}");
        self.running().with_context(none)
    }
}

pub struct Lock {
    _file: File,
}

/// `run.json`: how other commands find a running shop.
#[derive(Clone, Serialize, Deserialize)]
pub struct Run {
    pub base_url: String,
    pub mysql: String,
    pub redis: String,
    pub pid: i32,
}

/// `run.json` while it is true.
pub struct Announced {
    path: PathBuf,
    pid: i32,
}

impl Drop for Announced {
    fn drop(&mut self) {
        let ours = fs::read(&self.path)
            .ok()
            .and_then(|text| serde_json::from_slice::<Run>(&text).ok())
            .is_some_and(|run| run.pid == self.pid);
        if ours {
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

/// Readable by its owner only, and whole or not there at all.
pub fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let draft = path.with_extension("new");
    let written = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(content))
        .and_then(|()| fs::rename(&draft, path));
    written.with_context(|| format!("{} can't be written", path.display()))
}

pub fn random_hex(bytes: usize) -> anyhow::Result<String> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no random numbers from the system: {error}"))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
