//! `cargo mall up --watch`: builds what has changed in the checkout, and swaps it into the running shop.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, anyhow};

use crate::{
    address::Mysql,
    database,
    functions::{self, Profile, TARGET},
    migrate,
    project::{Project, private_folder},
};

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_millis(200);
/// What functions are built from, and what the shop reads when it starts.
const WATCHED: [&str; 7] = ["functions", "crates", "examples", "migrations", "wit", "Cargo.toml", "Cargo.lock"];
/// Crates of the tools. They can't be replaced while they run.
const TOOLS: [&str; 4] = ["crates/cli", "crates/launcher", "crates/load", "crates/runtime"];

/// Builds the functions for development. Returns the project with a manifest, under its state folder, that refers to
/// them.
pub async fn build(project: &Project) -> anyhow::Result<Project> {
    let built = write_manifest(project)?;
    functions::build(&built, Profile::Development).await?;
    Ok(built)
}

/// Builds and swaps in each change, in a shop that [`build`] has built. `project` is the one that was built from.
pub async fn follow(project: &Project, app: &mut runtime::App, mysql: &Mysql) -> Infallible {
    let mut before = files(project);
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = files(project);
        let changed = changes(&before, &now);
        before = now;
        let (tools, others): (Vec<_>, Vec<_>) = changed.iter().partition(|path| is_of_tools(project, path));
        if let Some(path) = tools.first() {
            let path = path.strip_prefix(&project.root).unwrap_or(path);
            progress::warn(&format!("{} is part of the tools: restart `cargo mall up` to use it", path.display()));
        }
        if !others.is_empty() {
            let started = Instant::now();
            match swap_in(project, app, mysql).await {
                Ok(()) => eprintln!("The change is live, {:.1} s after it was saved.", started.elapsed().as_secs_f32()),
                Err(error) => progress::warn(&format!("{error:#}: the shop goes on as it was")),
            }
        }
    }
}

async fn swap_in(project: &Project, app: &mut runtime::App, mysql: &Mysql) -> anyhow::Result<()> {
    build(project).await?;
    let ran = database::migrate(project, mysql, false).await?;
    if ran > 0 {
        eprintln!("{}", migrate::summary(ran));
    }
    app.reload().await.map_err(|error| anyhow!("{error}"))
}

fn write_manifest(project: &Project) -> anyhow::Result<Project> {
    let text = fs::read_to_string(project.manifest()).context("spin.toml can't be read")?;
    let built = project.with_manifest(project.state.join("watch.toml"));
    private_folder(&project.state)?;
    let manifest = for_development(&text, &project.root)?;
    fs::write(built.manifest(), manifest).context("the manifest for development can't be written")?;
    Ok(built)
}

/// The manifest with absolute paths, and with the functions as they are built for development.
fn for_development(manifest: &str, root: &Path) -> anyhow::Result<String> {
    let mut manifest: toml::Table = manifest.parse().context("spin.toml is not valid TOML")?;
    let output = |profile: Profile| format!("target/{TARGET}/{}/", profile.folder());
    let (release, development) = (output(Profile::Release), output(Profile::Development));
    let components = manifest.get_mut("component").and_then(|components| components.as_table_mut());
    for (_, component) in components.into_iter().flatten() {
        if let Some(toml::Value::String(source)) = component.get_mut("source") {
            *source = root.join(source.replacen(&release, &development, 1)).display().to_string();
        }
    }
    Ok(toml::to_string(&manifest)?)
}

/// Files, and when each was changed last.
type Files = BTreeMap<PathBuf, SystemTime>;

fn files(project: &Project) -> Files {
    let mut found = Files::new();
    add(&mut found, project.manifest());
    for name in WATCHED {
        add(&mut found, project.root.join(name));
    }
    found
}

/// Adds a file, or what is below a folder. What disappears meanwhile, or can't be read, is left out, as are hidden files:
/// editors write some.
fn add(found: &mut Files, path: PathBuf) {
    let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let Ok(metadata) = fs::metadata(&path) else { return };
    if is_hidden {
        return;
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            add(found, entry.path());
        }
    } else if let Ok(changed) = metadata.modified() {
        found.insert(path, changed);
    }
}

/// What was added, changed or removed.
fn changes(before: &Files, now: &Files) -> Vec<PathBuf> {
    let changed = now.iter().filter(|(path, changed)| before.get(*path) != Some(changed));
    let removed = before.iter().filter(|(path, _)| !now.contains_key(*path));
    changed.chain(removed).map(|(path, _)| path.clone()).collect()
}

fn is_of_tools(project: &Project, path: &Path) -> bool {
    TOOLS.iter().any(|folder| path.starts_with(project.root.join(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_for_development_refers_to_the_development_build() {
        let manifest = "[component.a]\nsource = \"target/wasm32-wasip2/release/a.wasm\"\nkey = 1\n\
                        [component.b]\nsource = \"b.wasm\"\n[component.c.source]\nurl = \"https://x\"\n";
        let manifest: toml::Table = for_development(manifest, Path::new("/project")).unwrap().parse().unwrap();
        let source = |name: &str| manifest["component"][name]["source"].clone();
        assert_eq!(source("a").as_str(), Some("/project/target/wasm32-wasip2/debug/a.wasm"));
        assert_eq!(source("b").as_str(), Some("/project/b.wasm"));
        assert_eq!(source("c")["url"].as_str(), Some("https://x"));
        assert_eq!(manifest["component"]["a"]["key"].as_integer(), Some(1));
    }

    #[test]
    fn added_changed_and_removed_files_are_noticed() {
        let (early, late) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(1));
        let files = |all: &[(&str, SystemTime)]| all.iter().map(|(path, time)| (path.into(), *time)).collect();
        let before: Files = files(&[("kept", early), ("changed", early), ("removed", early)]);
        let now: Files = files(&[("kept", early), ("changed", late), ("added", early)]);
        let mut changed = changes(&before, &now);
        changed.sort();
        assert_eq!(changed, [Path::new("added"), Path::new("changed"), Path::new("removed")]);
        assert!(changes(&now, &now).is_empty());
    }
}
