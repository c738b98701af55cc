//! `cargo mall seed`

use std::process::ExitCode;

use crate::{database_urls::DatabaseUrls, demo, project::Project};

pub async fn run(project: &Project, databases: DatabaseUrls) -> anyhow::Result<ExitCode> {
    let mysql = project.mysql(&databases)?;
    println!("{}", demo::load(project, &mysql).await?.summary());
    for account in demo::accounts(project, &mysql).await? {
        println!("  {:<8} {}  {}", account.kind, account.username, account.password);
    }
    Ok(ExitCode::SUCCESS)
}
