//! Child processes that never outlive this one.

use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};

/// A child with a process group of its own: Ctrl-C in the terminal reaches us alone, and we decide who ends when.
/// Dropping it ends the whole group.
pub struct Guarded {
    child: Child,
    patience: Duration,
    ended: Option<ExitStatus>,
}

impl Guarded {
    /// To be called on the main thread: on Linux the child is told to end when the thread that started it does.
    pub fn spawn(name: &str, command: &mut Command, patience: Duration) -> anyhow::Result<Self> {
        command.process_group(0);
        #[cfg(target_os = "linux")]
        tell_of_our_death(command);
        let child = command
            .spawn()
            .with_context(|| format!("{name} can't be started ({})", command.get_program().display()))?;
        Ok(Self { child, patience, ended: None })
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(0)
    }

    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none()
            && let Ok(Some(status)) = self.child.try_wait()
        {
            self.ended = Some(status);
            // Whoever of its group is still there goes too.
            self.signal(Signal::KILL);
        }
        self.ended
    }

    /// Waits for the end without holding up the thread.
    pub async fn wait(&mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.exited() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid()) {
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Asks, waits, and then no longer asks.
    pub fn stop(&mut self) {
        if self.exited().is_some() {
            return;
        }
        self.signal(Signal::TERM);
        let deadline = Instant::now() + self.patience;
        while self.exited().is_none() {
            if Instant::now() > deadline {
                self.signal(Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(target_os = "linux")]
fn tell_of_our_death(command: &mut Command) {
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec only two system calls are made, on values copied before the fork.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
            match rustix::process::getppid() == Some(parent) {
                true => Ok(()),
                false => Err(std::io::Error::other("the parent has gone")),
            }
        });
    }
}

pub fn alive(pid: i32) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| test_kill_process(pid).is_ok())
}

/// Ends what an earlier run that was killed has left: process `pid`, if its command line still has `mark` in it.
pub fn end_orphan(pid: i32, mark: &str) {
    let Some(process) = Pid::from_raw(pid) else { return };
    let started = Instant::now();
    let mut asked = false;
    // It was asked to end when its parent died, and may be about to.
    while alive(pid) && command_line(pid).contains(mark) {
        let waited = started.elapsed();
        if !asked && waited > Duration::from_secs(5) {
            let _ = kill_process(process, Signal::TERM);
            asked = true;
        } else if waited > Duration::from_secs(25) {
            let _ = kill_process(process, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn command_line(pid: i32) -> String {
    if let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) {
        return String::from_utf8_lossy(&line).replace('\0', " ");
    }
    let ps = Command::new("ps").args(["-o", "command=", "-p", &pid.to_string()]).output();
    ps.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

/// A program by name: first on the PATH, then where systems put servers.
pub fn find_program(names: &[&str]) -> Option<std::path::PathBuf> {
    const ELSEWHERE: [&str; 12] = [
        "/usr/sbin",
        "/usr/libexec",
        "/usr/libexec/mysqld",
        "/usr/local/bin",
        "/usr/local/sbin",
        "/usr/local/mysql/bin",
        "/usr/local/opt/mariadb/bin",
        "/usr/local/opt/mysql/bin",
        "/opt/homebrew/bin",
        "/opt/homebrew/opt/mariadb/bin",
        "/opt/homebrew/opt/mysql/bin",
        "/opt/homebrew/opt/redis/bin",
    ];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).chain(ELSEWHERE.iter().map(Into::into)).collect();
    names.iter().find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file()))
}
