//! Passwords: the rule for new ones, verification, and changes.

use kit::{Result, SessionId, UserId, mysql::Transaction, params, password, validate::Validator};

use crate::{
    Account, lockout,
    notice::{self, Change},
    password_reset, session,
};

/// Whether this is the account's password. Without an account it is false, after the same time. Failures count towards
/// the lockout of the username; 429 while it is locked.
pub async fn verify(username: &str, account: Option<&Account>, password: &str) -> Result<bool> {
    let hash = account.map(|account| account.password_hash.as_str()).filter(|hash| !hash.is_empty());
    let matches = password::verify(password, hash).await?;
    lockout::record(username, matches).await?;
    Ok(matches)
}

/// 422 unless a new password has 8 to 128 characters.
pub fn validate(validator: &mut Validator, field: &str, password: &str) {
    validator.require((8..=128).contains(&password.chars().count()), field, "must have 8 to 128 characters");
}

/// Sets the password of a locked user, ends all of their sessions but `except`, revokes their tokens for resetting the
/// password, and tells the user.
pub async fn set(
    tx: &mut Transaction,
    user_id: UserId,
    hash: &str,
    except: Option<SessionId>,
    change: Change,
) -> Result<()> {
    const UPDATE: &str = "UPDATE users SET password_hash = ? WHERE id = ?";
    tx.execute(UPDATE, params![hash, user_id]).await?;
    password_reset::revoke(tx, user_id).await?;
    session::end_all(tx, user_id, except).await?;
    notice::send(tx, user_id, change).await
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
