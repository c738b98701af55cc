//! `cargo mall migrate`

use std::process::ExitCode;

use crate::{database, database_urls::DatabaseUrls, ledger_entries, project::Project};

pub async fn run(project: &Project, databases: DatabaseUrls) -> anyhow::Result<ExitCode> {
    let mysql = project.mysql(&databases)?;
    let ran = database::migrate(project, &mysql).await?;
    println!("{}", summary(ran));
    // After a rollout, too, when functions of the release before ran beside the new schema.
    let mut connection = database::connect(&mysql).await?;
    ledger_entries::add_missing(&mut connection).await?;
    database::close(connection).await?;
    Ok(ExitCode::SUCCESS)
}

pub fn summary(ran: usize) -> String {
    match ran {
        0 => "The schema is up to date.".to_owned(),
        1 => "1 migration ran.".to_owned(),
        more => format!("{more} migrations ran."),
    }
}
