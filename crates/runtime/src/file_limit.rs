//! The limit on open files. Sockets count, so it is a limit on connections, too.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises this process's limit to the highest that it may set, and returns it. What it inherits is often 1,024, for the
/// sake of old programs.
pub fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit on open files can't be raised");
    }
    // None: there is no limit.
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// In a process of its own, since the limit is the process's.
    #[test]
    fn it_is_raised_to_the_hard_limit() {
        if std::env::var_os("LOW_LIMIT").is_some() {
            assert_eq!(getrlimit(Resource::Nofile), Rlimit { current: Some(100), maximum: Some(200) });
            assert_eq!(raise(), 200);
            assert_eq!(getrlimit(Resource::Nofile).current, Some(200));
            return;
        }
        let output = Command::new("sh")
            .args(["-c", "ulimit -Sn 100 && ulimit -Hn 200 && exec \"$0\" --exact \"$1\""])
            .arg(std::env::current_exe().unwrap())
            .arg("file_limit::tests::it_is_raised_to_the_hard_limit")
            .env("LOW_LIMIT", "yes")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
}
