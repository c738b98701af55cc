//! Passwords: which are good enough, verifying with a lockout, setting a new one.

use kit::{Result, SessionId, UserId, mysql::Transaction, params, password, rate_limit::Lockout, validate::Validator};

use crate::{Account, password_reset, session};

/// Ten wrong passwords in 15 minutes lock a username for 15 minutes.
const LOCKOUT: Lockout = Lockout { failures: 10, seconds: 15 * 60 };

/// The lockout's key: a username is the same in any case.
fn lockout_key(username: &str) -> String {
    username.to_ascii_lowercase()
}

/// 429 while the username is locked. Before [`verify`], it saves the work.
pub async fn check_lockout(username: &str) -> Result<()> {
    LOCKOUT.check(&lockout_key(username)).await
}

/// Whether this is the account's password. Without an account it is not, after the same time. Failures count against the
/// username; 429 if there were too many.
pub async fn verify(username: &str, account: Option<&Account>, password: &str) -> Result<bool> {
    let hash = account.map(|account| account.password_hash.as_str()).filter(|hash| !hash.is_empty());
    let matches = password::verify(password, hash)?;
    match matches {
        true => LOCKOUT.succeeded(&lockout_key(username)).await?,
        false => LOCKOUT.failed(&lockout_key(username)).await?,
    }
    Ok(matches)
}

/// Ends a lockout.
pub async fn unlock(username: &str) -> Result<()> {
    LOCKOUT.unlock(&lockout_key(username)).await
}

/// A new password has 8 to 128 characters.
pub fn validate(validator: &mut Validator, field: &str, password: &str) {
    validator.require((8..=128).contains(&password.chars().count()), field, "must have 8 to 128 characters");
}

/// Sets the password of a locked user. All of their sessions end but `except`, and no reset that was mailed before works
/// any more.
pub async fn set(tx: &mut Transaction, user_id: UserId, hash: &str, except: Option<SessionId>) -> Result<()> {
    const UPDATE: &str = "UPDATE users SET password_hash = ? WHERE id = ?";
    tx.execute(UPDATE, params![hash, user_id]).await?;
    password_reset::revoke(tx, user_id).await?;
    session::end_all(tx, user_id, except).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_has_8_to_128_characters() {
        let is_valid = |password: &str| {
            let mut validator = Validator::new();
            validate(&mut validator, "password", password);
            validator.finish().is_ok()
        };
        assert!(is_valid(&"密".repeat(8)) && is_valid(&"密".repeat(128)));
        assert!(!is_valid(&"x".repeat(7)) && !is_valid(&"x".repeat(129)));
    }
}
