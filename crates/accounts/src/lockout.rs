//! The lockout of a username after failed sign-ins.

use kit::{Result, rate_limit::Lockout};

/// Ten wrong passwords in 15 minutes lock a username for 15 minutes.
const LOCKOUT: Lockout = Lockout { failures: 10, seconds: 15 * 60 };

/// Usernames are the same in any case.
fn key(username: &str) -> String {
    username.to_ascii_lowercase()
}

/// 429 while the username is locked. Checking it before the password saves the hashing.
pub async fn check(username: &str) -> Result<()> {
    LOCKOUT.check(&key(username)).await
}

/// Records the outcome of a sign-in; 429 while the username is locked.
pub(crate) async fn record(username: &str, succeeded: bool) -> Result<()> {
    match succeeded {
        true => LOCKOUT.succeeded(&key(username)).await,
        false => LOCKOUT.failed(&key(username)).await,
    }
}

/// Ends the lockout.
pub async fn end(username: &str) -> Result<()> {
    LOCKOUT.unlock(&key(username)).await
}
