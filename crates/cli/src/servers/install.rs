//! Installs missing database servers with the system's package manager, if it can do so without asking.

use std::{
    fs,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::bail;

use super::{mysql, redis};
use crate::process::{ChildProcess, find_program};

/// Which of the two servers.
#[derive(Clone, Copy)]
pub struct Servers {
    pub mysql: bool,
    pub redis: bool,
}

struct PackageManager {
    program: &'static str,
    refresh: Option<&'static [&'static str]>,
    install: &'static [&'static str],
    mysql: &'static [&'static str],
    /// Alternatives: the first that is available is installed.
    redis: &'static [&'static str],
    needs_root: bool,
}

const PACKAGE_MANAGERS: [PackageManager; 6] = [
    PackageManager {
        program: "apt-get",
        refresh: Some(&["update"]),
        install: &["install", "-y", "--no-install-recommends"],
        // The server without its system service.
        mysql: &["mariadb-server-core", "mariadb-client-core"],
        redis: &["redis-server", "valkey-server"],
        needs_root: true,
    },
    PackageManager {
        program: "dnf",
        refresh: None,
        install: &["install", "-y"],
        mysql: &["mariadb-server"],
        redis: &["valkey", "redis"],
        needs_root: true,
    },
    PackageManager {
        program: "apk",
        refresh: None,
        install: &["add", "--no-cache"],
        mysql: &["mariadb"],
        redis: &["valkey", "redis"],
        needs_root: true,
    },
    PackageManager {
        program: "pacman",
        refresh: None,
        install: &["-S", "--noconfirm", "--needed"],
        mysql: &["mariadb"],
        redis: &["valkey", "redis"],
        needs_root: true,
    },
    PackageManager {
        program: "zypper",
        refresh: None,
        install: &["--non-interactive", "install"],
        mysql: &["mariadb"],
        redis: &["redis", "valkey"],
        needs_root: true,
    },
    PackageManager {
        program: "brew",
        refresh: None,
        install: &["install"],
        mysql: &["mariadb"],
        redis: &["redis", "valkey"],
        needs_root: false,
    },
];

/// Installs the required servers that this machine doesn't have.
pub fn install_missing(required: Servers) -> anyhow::Result<()> {
    let missing = Servers {
        mysql: required.mysql && mysql::program().is_none(),
        redis: required.redis && redis::program().is_none(),
    };
    if !missing.mysql && !missing.redis {
        return Ok(());
    }
    let Some(manager) = PACKAGE_MANAGERS.iter().find(|manager| find_program(&[manager.program]).is_some()) else {
        bail!("{}", message(missing, "install what is missing, or use other databases with --mysql and --redis"));
    };
    let root = rustix::process::geteuid().is_root();
    let instruction = format!("run `{}`", manager.install_command(missing));
    if root != manager.needs_root {
        bail!("{}", message(missing, &instruction));
    }
    let _guard = (manager.program == "apt-get").then(|| NoServices::begin(missing));
    for packages in manager.packages(missing) {
        if !manager.install_one_of(packages) {
            bail!(
                "{}",
                message(missing, &format!("{} could not install the packages: {instruction}", manager.program))
            );
        }
    }
    if (missing.mysql && mysql::program().is_none()) || (missing.redis && redis::program().is_none()) {
        bail!("{}", message(missing, "the packages were installed, but the server programs can't be found"));
    }
    Ok(())
}

fn message(missing: Servers, instruction: &str) -> String {
    let names = match missing {
        Servers { mysql: true, redis: true } => "MySQL or MariaDB, and Redis or Valkey",
        Servers { mysql: true, .. } => "MySQL or MariaDB",
        _ => "Redis or Valkey",
    };
    format!("this machine lacks {names}: {instruction}")
}

impl PackageManager {
    /// The packages to install: for each server, the alternatives.
    fn packages(&self, missing: Servers) -> Vec<Vec<&'static [&'static str]>> {
        let mut packages = Vec::new();
        if missing.mysql {
            packages.push(vec![self.mysql]);
        }
        if missing.redis {
            packages.push(self.redis.chunks(1).collect());
        }
        packages
    }

    fn install_command(&self, missing: Servers) -> String {
        let first: Vec<_> = self
            .packages(missing)
            .into_iter()
            .filter_map(|alternatives| alternatives.into_iter().next())
            .flatten()
            .copied()
            .collect();
        let sudo = if self.needs_root { "sudo " } else { "" };
        format!("{sudo}{} {} {}", self.program, self.install.join(" "), first.join(" "))
    }

    /// Installs the first alternative that is available. If there is none, refreshes the package lists and tries again.
    fn install_one_of(&self, alternatives: Vec<&[&str]>) -> bool {
        for refresh in [false, true] {
            if refresh {
                match self.refresh {
                    Some(refresh) if self.run("Refreshing the package lists", refresh, &[]) => {}
                    _ => return false,
                }
            }
            if alternatives
                .iter()
                .any(|packages| self.run(&format!("Installing {}", packages.join(", ")), self.install, packages))
            {
                return true;
            }
        }
        false
    }

    fn run(&self, description: &str, arguments: &[&str], packages: &[&str]) -> bool {
        let step = progress::step_of(description, Some(Duration::from_secs(45)));
        let mut command = Command::new(self.program);
        command
            .args(arguments)
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // An installation that is interrupted may leave the system's packages broken.
        let Ok(mut child) = ChildProcess::spawn(self.program, &mut command, Duration::from_secs(600)) else {
            return false;
        };
        let status = loop {
            match child.exited() {
                Some(status) => break status,
                None => std::thread::sleep(Duration::from_millis(100)),
            }
        };
        drop(step);
        status.success()
    }
}

/// Debian starts a service when it is installed, unless this policy forbids it, and at every boot, unless it is
/// disabled. This prevents both.
struct NoServices {
    has_created_policy: bool,
    redis: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn begin(missing: Servers) -> Self {
        use std::io::Write;
        let file = fs::OpenOptions::new().create_new(true).write(true).mode(0o755).open(POLICY);
        let has_created_policy = file.and_then(|mut file| file.write_all(b"#!/bin/sh\nexit 101\n")).is_ok();
        Self { has_created_policy, redis: missing.redis }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.has_created_policy {
            let _ = fs::remove_file(POLICY);
        }
        if self.redis && Path::new("/run/systemd/system").exists() {
            for service in ["redis-server", "valkey-server"] {
                let mut command = Command::new("systemctl");
                command
                    .args(["disable", "--quiet", service])
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                let _ = command.status();
            }
        }
    }
}
