//! `cargo mall bench`
use crate::{interrupt::Interrupt, project::Project};
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Arguments {}

pub async fn run(_project: &Project, _interrupt: Interrupt, _arguments: Arguments) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not yet")
}
