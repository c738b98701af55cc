//! A user's account: how they sign in and what they may do.

use i18n::Locale;
use kit::{
    Code, Problem, Result, Timestamp, UserId,
    auth::Role,
    mysql::{Connection, Transaction, on_duplicate},
    params,
    permissions::Permissions,
    row,
};

row! {
    #[derive(Debug, Clone)]
    pub struct Account {
        pub id: UserId,
        pub username: String,
        /// Empty for a user who signs in only through an identity provider.
        pub password_hash: String,
        pub email: Option<String>,
        /// Whether the user has shown that the address is theirs.
        pub email_verified: bool,
        /// While it is set, the user can't sign in.
        pub suspended_at: Option<Timestamp>,
        role: String,
        permissions: i64,
    }
}

impl Account {
    /// The address to which mails may go.
    pub fn verified_email(&self) -> Option<&str> {
        self.email.as_deref().filter(|_| self.email_verified)
    }

    pub fn role(&self) -> Role {
        Role::from_column(&self.role)
    }

    pub fn permissions(&self) -> Permissions {
        Permissions::from_bits(self.permissions)
    }
}

/// 404 if there is no such user, or no longer.
pub async fn get(db: &mut Connection, user_id: UserId) -> Result<Account> {
    let sql = format!("SELECT {} FROM users WHERE id = ? AND deleted_at IS NULL", Account::COLUMNS);
    db.query_one(&sql, params![user_id]).await?.ok_or_else(|| Problem::not_found("user"))
}

/// Finds an account by its username, regardless of case. The username must be well-formed ([`kit::auth::is_username`]),
/// since MySQL also ignores accents and spaces at the end.
pub async fn find_by_username(db: &mut Connection, username: &str) -> Result<Option<Account>> {
    let sql = format!("SELECT {} FROM users WHERE username = ?", Account::COLUMNS);
    Ok(db.query_one(&sql, params![username]).await?)
}

/// Locks the user's row. Every change of a user's password, role, sessions or addresses does this first, so that such
/// changes happen one after the other. 404 if there is no such user, or no longer.
pub async fn lock(tx: &mut Transaction, user_id: UserId) -> Result<Account> {
    find_locked(tx, user_id).await?.ok_or_else(|| Problem::not_found("user"))
}

/// Like [`lock`], but none instead of 404.
pub async fn find_locked(tx: &mut Transaction, user_id: UserId) -> Result<Option<Account>> {
    let sql = format!("SELECT {} FROM users WHERE id = ? AND deleted_at IS NULL FOR UPDATE", Account::COLUMNS);
    Ok(tx.query_one(&sql, params![user_id]).await?)
}

/// Whether the username is taken, regardless of case.
pub async fn username_exists(db: &mut Connection, username: &str) -> Result<bool> {
    const EXISTS: &str = "SELECT EXISTS (SELECT 1 FROM users WHERE username = ?) AS found";
    Ok(db.query_one::<(bool,)>(EXISTS, params![username]).await?.is_some_and(|(found,)| found))
}

/// 409 `username_taken`.
pub fn username_taken() -> Problem {
    Problem::new(Code::UsernameTaken, "The username is already taken")
}

#[derive(Clone, Copy)]
pub struct NewAccount<'a> {
    pub username: &'a str,
    /// Empty for a user who signs in only through an identity provider.
    pub password_hash: &'a str,
    pub email: Option<&'a str>,
    /// Whether somebody who is trusted has verified it.
    pub email_verified: bool,
    pub locale: Option<Locale>,
    pub created_at: Timestamp,
}

/// Adds an account; 409 `username_taken` if the username is taken.
pub async fn insert(tx: &mut Transaction, new: NewAccount<'_>) -> Result<UserId> {
    const INSERT: &str = "
        INSERT INTO users (username, password_hash, email, email_verified, locale, created_at)
        VALUES (?, ?, ?, ?, ?, ?)";
    let locale: Option<&str> = new.locale.map(Locale::into);
    let values = params![new.username, new.password_hash, new.email, new.email_verified, locale, new.created_at];
    tx.execute(INSERT, values).await.map_err(on_duplicate("uq_username", username_taken))?;
    let user_id = tx.last_insert_id().await?;
    tx.proven_by("SELECT 1 FROM users WHERE id = ? FOR UPDATE", params![user_id]);
    Ok(user_id)
}

pub async fn set_email(tx: &mut Transaction, user_id: UserId, email: Option<&str>, verified: bool) -> Result<()> {
    const UPDATE: &str = "UPDATE users SET email = ?, email_verified = ? WHERE id = ?";
    Ok(tx.execute(UPDATE, params![email, verified, user_id]).await?)
}

pub async fn set_email_verified(tx: &mut Transaction, user_id: UserId) -> Result<()> {
    const UPDATE: &str = "UPDATE users SET email_verified = 1 WHERE id = ?";
    Ok(tx.execute(UPDATE, params![user_id]).await?)
}

/// Suspends a locked user, or lets them sign in again.
pub async fn set_suspended(tx: &mut Transaction, user_id: UserId, suspended: bool) -> Result<()> {
    const UPDATE: &str = "UPDATE users SET suspended_at = ? WHERE id = ?";
    let now = suspended.then(Timestamp::now);
    Ok(tx.execute(UPDATE, params![now, user_id]).await?)
}

pub async fn set_role(tx: &mut Transaction, user_id: UserId, role: Role, permissions: Permissions) -> Result<()> {
    const UPDATE: &str = "UPDATE users SET role = ?, permissions = ? WHERE id = ?";
    Ok(tx.execute(UPDATE, params![role.name(), i64::from(permissions.bits()), user_id]).await?)
}
