//! Child processes that are terminated when this process ends.

use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};

/// A child process in a process group of its own, so that Ctrl-C in the terminal reaches only this process, which then
/// stops its children in order. Dropping it terminates the group.
pub struct ChildProcess {
    child: Child,
    /// How long it may take to exit before it is killed.
    grace_period: Duration,
    status: Option<ExitStatus>,
}

impl ChildProcess {
    /// Call this on the main thread: on Linux, the child is terminated when the thread that spawned it ends.
    pub fn spawn(name: &str, command: &mut Command, grace_period: Duration) -> anyhow::Result<Self> {
        command.process_group(0);
        #[cfg(target_os = "linux")]
        terminate_with_parent(command);
        let child = command
            .spawn()
            .with_context(|| format!("{name} can't be started ({})", command.get_program().display()))?;
        Ok(Self { child, grace_period, status: None })
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

    /// The exit status, if it has exited.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.status.is_none()
            && let Ok(Some(status)) = self.child.try_wait()
        {
            self.status = Some(status);
            // Its own child processes may still be running.
            self.signal(Signal::KILL);
        }
        self.status
    }

    /// Waits until it exits, without blocking the thread.
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

    /// Terminates it, and kills it if it has not exited after the grace period.
    pub fn stop(&mut self) {
        if self.exited().is_some() {
            return;
        }
        self.signal(Signal::TERM);
        let deadline = Instant::now() + self.grace_period;
        while self.exited().is_none() {
            if Instant::now() > deadline {
                self.signal(Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(target_os = "linux")]
fn terminate_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec, this only makes two system calls, with values copied before the fork.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
            match rustix::process::getppid() == Some(parent) {
                true => Ok(()),
                false => Err(std::io::Error::other("the parent process has exited")),
            }
        });
    }
}

pub fn is_running(pid: i32) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| test_kill_process(pid).is_ok())
}

/// Terminates a process that outlived an earlier run, which was killed. Another process may have its id by now:
/// `argument` must be part of its command line.
pub fn terminate_orphan(pid: i32, argument: &str) {
    let Some(process) = Pid::from_raw(pid) else { return };
    let started = Instant::now();
    let mut signalled = false;
    // It received a signal when its parent died, and may be about to exit.
    while is_running(pid) && command_line(pid).contains(argument) {
        let waited = started.elapsed();
        if !signalled && waited > Duration::from_secs(5) {
            let _ = kill_process(process, Signal::TERM);
            signalled = true;
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

/// Finds a program by name: first on the PATH, then in the folders where systems install servers.
pub fn find_program(names: &[&str]) -> Option<std::path::PathBuf> {
    const OTHER_FOLDERS: [&str; 12] = [
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
    let folders: Vec<_> = std::env::split_paths(&path).chain(OTHER_FOLDERS.iter().map(Into::into)).collect();
    names.iter().find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file()))
}
