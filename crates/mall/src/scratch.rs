//! A shop for one run: databases, folder and all, gone when it is dropped.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    address::Variables,
    database,
    project::{Project, private_folder, random_hex},
    servers::{self, Databases, Durability},
    shop::{self, Runtime, Shop},
    variables,
};

/// What a run needs of its shop, and what it does not.
pub struct Wanted {
    /// `test` or `bench`: the folder's name.
    pub what: &'static str,
    pub durability: Durability,
    pub variables: &'static [(&'static str, &'static str)],
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
        sweep(&project.state, wanted.what);
        let folder = Folder(project.state.join(format!("{}-{}", wanted.what, random_hex(4)?)));
        private_folder(&folder.0)?;
        let project = project.with_state(folder.0.clone());
        let databases = Databases::find_or_start(&project, None, None, wanted.durability).await?;
        database::migrate(&databases.mysql).await?;
        let mut variables = variables::defaults(&project)?;
        variables.extend(wanted.variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let variables = shop::variables(&project, variables, &databases)?;
        Ok(Self { databases, variables, project, _folder: folder })
    }

    pub async fn serve(&self, runtime: Runtime) -> anyhow::Result<Shop> {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut shop = Shop::start(&self.project, runtime, anywhere, self.variables.clone()).await?;
        shop.ready(Duration::from_secs(60)).await?;
        Ok(shop)
    }
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
        let abandoned = fs::File::open(entry.path().join("lock")).is_ok_and(|lock| lock.try_lock().is_ok());
        if ours && abandoned {
            servers::end_predecessors(&entry.path());
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
