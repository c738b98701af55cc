//! `cargo mall migrate`

use std::process::ExitCode;

use crate::{database, database_urls::DatabaseUrls, project::Project};

pub async fn run(project: &Project, databases: DatabaseUrls) -> anyhow::Result<ExitCode> {
    let mysql = project.mysql(&databases)?;
    // Functions of the release before may have run beside the new schema.
    let ran = database::migrate(project, &mysql, true).await?;
    println!("{}", summary(ran));
    Ok(ExitCode::SUCCESS)
}

pub fn summary(ran: usize) -> String {
    match ran {
        0 => "The schema is up to date.".to_owned(),
        1 => "1 migration ran.".to_owned(),
        more => format!("{more} migrations ran."),
    }
}
