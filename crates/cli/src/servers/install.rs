//! Database servers that the machine does not have, from its own package manager, where that needs no question.

use std::{
    fs,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::bail;

use super::{mysql, redis};
use crate::{
    process::{Guarded, find_program},
    ui,
};

#[derive(Clone, Copy)]
pub struct Missing {
    pub mysql: bool,
    pub redis: bool,
}

struct Manager {
    program: &'static str,
    refresh: Option<&'static [&'static str]>,
    install: &'static [&'static str],
    mysql: &'static [&'static str],
    /// The first that can be had.
    redis: &'static [&'static str],
    as_root: bool,
}

const MANAGERS: [Manager; 6] = [
    Manager {
        program: "apt-get",
        refresh: Some(&["update"]),
        install: &["install", "-y", "--no-install-recommends"],
        // The server without the service round it.
        mysql: &["mariadb-server-core", "mariadb-client-core"],
        redis: &["redis-server", "valkey-server"],
        as_root: true,
    },
    Manager {
        program: "dnf",
        refresh: None,
        install: &["install", "-y"],
        mysql: &["mariadb-server"],
        redis: &["valkey", "redis"],
        as_root: true,
    },
    Manager {
        program: "apk",
        refresh: None,
        install: &["add", "--no-cache"],
        mysql: &["mariadb"],
        redis: &["valkey", "redis"],
        as_root: true,
    },
    Manager {
        program: "pacman",
        refresh: None,
        install: &["-S", "--noconfirm", "--needed"],
        mysql: &["mariadb"],
        redis: &["valkey", "redis"],
        as_root: true,
    },
    Manager {
        program: "zypper",
        refresh: None,
        install: &["--non-interactive", "install"],
        mysql: &["mariadb"],
        redis: &["redis", "valkey"],
        as_root: true,
    },
    Manager {
        program: "brew",
        refresh: None,
        install: &["install"],
        mysql: &["mariadb"],
        redis: &["redis", "valkey"],
        as_root: false,
    },
];

/// Sees to it that the servers which are to be started are there.
pub fn install(wanted: Missing) -> anyhow::Result<()> {
    let missing = Missing {
        mysql: wanted.mysql && mysql::program().is_none(),
        redis: wanted.redis && redis::program().is_none(),
    };
    if !missing.mysql && !missing.redis {
        return Ok(());
    }
    let Some(manager) = MANAGERS.iter().find(|manager| find_program(&[manager.program]).is_some()) else {
        bail!("{}", say(missing, "install them, or give their addresses with --mysql and --redis"));
    };
    let root = rustix::process::geteuid().is_root();
    if root != manager.as_root {
        bail!("{}", say(missing, &manager.line(missing)));
    }
    let _quiet = (manager.program == "apt-get").then(|| NoServices::declare(missing));
    for packages in manager.packages(missing) {
        if !manager.bring(packages) {
            bail!(
                "{}",
                say(missing, &format!("{} could not install them; try: {}", manager.program, manager.line(missing)))
            );
        }
    }
    if (missing.mysql && mysql::program().is_none()) || (missing.redis && redis::program().is_none()) {
        bail!("{}", say(missing, "they are still not to be found after the installation"));
    }
    Ok(())
}

fn say(missing: Missing, what_to_do: &str) -> String {
    let names = match missing {
        Missing { mysql: true, redis: true } => "MySQL or MariaDB, and Redis or Valkey",
        Missing { mysql: true, .. } => "MySQL or MariaDB",
        _ => "Redis or Valkey",
    };
    format!("this machine lacks {names}: {what_to_do}")
}

impl Manager {
    /// What is to be installed: for each server, the choices.
    fn packages(&self, missing: Missing) -> Vec<Vec<&'static [&'static str]>> {
        let mut packages = Vec::new();
        if missing.mysql {
            packages.push(vec![self.mysql]);
        }
        if missing.redis {
            packages.push(self.redis.chunks(1).collect());
        }
        packages
    }

    fn line(&self, missing: Missing) -> String {
        let first: Vec<_> = self
            .packages(missing)
            .into_iter()
            .filter_map(|choices| choices.into_iter().next())
            .flatten()
            .copied()
            .collect();
        let sudo = if self.as_root { "sudo " } else { "" };
        format!("type `{sudo}{} {} {}`", self.program, self.install.join(" "), first.join(" "))
    }

    fn bring(&self, choices: Vec<&[&str]>) -> bool {
        for refresh in [false, true] {
            if refresh {
                match self.refresh {
                    Some(refresh) if self.run("Refreshing the package lists", refresh, &[]) => {}
                    _ => return false,
                }
            }
            if choices
                .iter()
                .any(|packages| self.run(&format!("Installing {}", packages.join(", ")), self.install, packages))
            {
                return true;
            }
        }
        false
    }

    fn run(&self, what: &str, arguments: &[&str], packages: &[&str]) -> bool {
        let step = ui::step(what);
        let mut command = Command::new(self.program);
        command
            .args(arguments)
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // Broken off in the middle, an installation leaves more to repair than it saves.
        let Ok(mut child) = Guarded::spawn(self.program, &mut command, Duration::from_secs(600)) else { return false };
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

/// Debian starts what it installs, unless this file says no; and its services come up again at the next boot,
/// unless they are disabled.
struct NoServices {
    ours: bool,
    redis: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn declare(missing: Missing) -> Self {
        use std::io::Write;
        let file = fs::OpenOptions::new().create_new(true).write(true).mode(0o755).open(POLICY);
        let ours = file.and_then(|mut file| file.write_all(b"#!/bin/sh\nexit 101\n")).is_ok();
        Self { ours, redis: missing.redis }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
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
