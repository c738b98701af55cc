//! `cargo mall seed`

use std::process::ExitCode;

use crate::{Databases, demo, project::Project};

pub async fn run(project: &Project, databases: Databases) -> anyhow::Result<ExitCode> {
    let mysql = project.mysql(&databases)?;
    println!("{}", demo::load(project, &mysql).await?.summary());
    for account in demo::accounts(project, &mysql).await? {
        println!("  {:<8} {}  {}", account.what, account.username, account.password);
    }
    Ok(ExitCode::SUCCESS)
}
