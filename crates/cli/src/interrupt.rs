//! Signals that end the command: the first one stops it gracefully, the second one at once.

use std::{future::Future, process::ExitCode};

use anyhow::bail;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

#[derive(Clone)]
pub struct Interrupt {
    interrupted: watch::Receiver<bool>,
}

impl Interrupt {
    pub fn listen() -> anyhow::Result<Self> {
        let mut int = signal(SignalKind::interrupt())?;
        let mut term = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let (sender, interrupted) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                    _ = hangup.recv() => {}
                }
                if sender.send_replace(true) {
                    // Child processes are terminated when this one ends (see `process`).
                    std::process::exit(130);
                }
            }
        });
        Ok(Self { interrupted })
    }

    /// Returns when the command is interrupted.
    pub async fn wait(&self) {
        let mut interrupted = self.interrupted.clone();
        if interrupted.wait_for(|interrupted| *interrupted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Runs `work` unless the command is interrupted. Then `work` is dropped, which cleans up after it.
    pub async fn unless<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        tokio::select! {
            result = work => result,
            () = self.wait() => bail!("interrupted"),
        }
    }
}

/// The exit code of a server that was stopped with Ctrl-C.
pub const STOPPED: ExitCode = ExitCode::SUCCESS;
