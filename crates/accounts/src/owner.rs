//! Whether a request comes from the owner of the account, and not just from somebody who holds one of its sessions.

use kit::{
    Code, Problem, Result, SessionId, Timestamp, User, UserId,
    mysql::{self, Connection},
};

use crate::{Account, lockout, password, session};

/// How old the session of a user without a password may be, in seconds.
const RECENT_SECONDS: i64 = 600;

/// Requires the account's password: 422 without one, 401 `invalid_credentials` for a wrong one. A user who has none must
/// have signed in within the last ten minutes: 403 `session_too_old`.
pub async fn confirm(user: &User, account: &Account, password: Option<&str>) -> Result<()> {
    if account.password_hash.is_empty() {
        return require_recent(&mut mysql::connection().await?, user.id, user.session_id).await;
    }
    let password = password.ok_or_else(|| Problem::invalid("password", "is required"))?;
    lockout::check(&account.username).await?;
    match password::verify(&account.username, Some(account), password).await? {
        true => Ok(()),
        false => Err(wrong_password()),
    }
}

/// 403 `session_too_old` unless the session began in the last ten minutes.
pub async fn require_recent(db: &mut Connection, user_id: UserId, session_id: SessionId) -> Result<()> {
    let began = session::began_at(db, user_id, session_id).await?;
    match began.is_some_and(|at| at.plus_seconds(RECENT_SECONDS) > Timestamp::now()) {
        true => Ok(()),
        false => {
            let detail = "Sign in again first: this needs a session of the last ten minutes";
            Err(Problem::new(Code::SessionTooOld, detail))
        }
    }
}

/// 401 unless the account, now locked, still has the password that was confirmed.
pub fn still(confirmed: &Account, locked: &Account) -> Result<()> {
    if locked.password_hash == confirmed.password_hash { Ok(()) } else { Err(wrong_password()) }
}

fn wrong_password() -> Problem {
    Problem::new(Code::InvalidCredentials, "The password is wrong")
}
