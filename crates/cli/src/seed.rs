//! `cargo mall seed`

use std::process::ExitCode;

use crate::{database_urls::DatabaseUrls, demo, project::Project, tick};

pub async fn run(project: &Project, databases: DatabaseUrls) -> anyhow::Result<ExitCode> {
    let mysql = project.mysql(&databases)?;
    println!("{}", demo::load(project, &mysql).await?.summary());
    // The worker opens the demo's flash sale. Without Redis or a running shop, it does so later.
    if let Ok(redis) = project.redis(&databases) {
        let _ = tick::wake_workers(project, &redis).await;
    }
    for account in demo::accounts(project, &mysql).await? {
        println!("  {:<8} {}  {}", account.kind, account.username, account.password);
    }
    Ok(ExitCode::SUCCESS)
}
