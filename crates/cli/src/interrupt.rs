//! Ctrl-C and its kin: the first asks for an orderly end, the second does not ask.

use std::{future::Future, process::ExitCode};

use anyhow::bail;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

#[derive(Clone)]
pub struct Interrupt {
    heard: watch::Receiver<bool>,
}

impl Interrupt {
    pub fn listen() -> anyhow::Result<Self> {
        let mut int = signal(SignalKind::interrupt())?;
        let mut term = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let (tell, heard) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                    _ = hangup.recv() => {}
                }
                if tell.send_replace(true) {
                    // Children end with this process (see `process`).
                    std::process::exit(130);
                }
            }
        });
        Ok(Self { heard })
    }

    /// Returns once it has been asked for.
    pub async fn wait(&self) {
        let mut heard = self.heard.clone();
        if heard.wait_for(|heard| *heard).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Runs `work` to its end, or gives it up when interrupted; what it holds is cleaned up by dropping it.
    pub async fn unless<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        tokio::select! {
            result = work => result,
            () = self.wait() => bail!("interrupted"),
        }
    }
}

/// What a shell expects of a program that Ctrl-C ended as it should.
pub const STOPPED: ExitCode = ExitCode::SUCCESS;
