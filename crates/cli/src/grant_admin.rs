//! `cargo mall grant-admin USERNAME`

use std::process::ExitCode;

use anyhow::bail;

use crate::{Databases, database, project::Project};

#[derive(clap::Args)]
pub struct Arguments {
    /// Who becomes an admin; they sign in again to be one
    username: String,

    #[command(flatten)]
    databases: Databases,
}

pub async fn run(project: &Project, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let username = &arguments.username;
    let mysql = project.mysql(&arguments.databases)?;
    let mut connection = database::connect(&mysql).await?;
    database::expect_tables(&mut connection).await?;
    let user: Option<(i64, String)> = sqlx::query_as("SELECT id, role FROM users WHERE username = ?")
        .bind(username)
        .fetch_optional(&mut connection)
        .await?;
    match user {
        None => bail!("there is no user `{username}`: register first, with POST /api/user/register"),
        Some((_, role)) if role == "admin" => println!("{username} is an admin already."),
        Some((id, _)) => {
            sqlx::query("UPDATE users SET role = 'admin' WHERE id = ?").bind(id).execute(&mut connection).await?;
            println!("{username} is an admin from the next sign-in on.");
        }
    }
    Ok(ExitCode::SUCCESS)
}
