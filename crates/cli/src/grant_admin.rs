//! `cargo mall grant-admin USERNAME`

use std::process::ExitCode;

use anyhow::bail;
use mysql_async::prelude::Queryable;

use crate::{database, database_urls::DatabaseUrls, project::Project};

#[derive(clap::Args)]
pub struct Arguments {
    /// The user, who has to sign in again to act as an admin
    username: String,

    #[command(flatten)]
    databases: DatabaseUrls,
}

pub async fn run(project: &Project, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let username = &arguments.username;
    let mysql = project.mysql(&arguments.databases)?;
    let mut connection = database::connect(&mysql).await?;
    database::expect_tables(&mut connection).await?;
    let user: Option<(i64, String)> =
        connection.exec_first("SELECT id, role FROM users WHERE username = ?", (username,)).await?;
    match user {
        None => bail!("there is no user `{username}`: register first, with POST /api/user/register"),
        Some((_, role)) if role == "admin" => println!("{username} is already an admin."),
        Some((id, _)) => {
            connection.exec_drop("UPDATE users SET role = 'admin' WHERE id = ?", (id,)).await?;
            println!("{username} will be an admin from the next sign-in on.");
        }
    }
    database::close(connection).await?;
    Ok(ExitCode::SUCCESS)
}
