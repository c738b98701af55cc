//! A user, as the shop knows them.

use http::HeaderMap;
use kit::{
    Problem, Result,
    auth::Role,
    check::Checks,
    mysql::{Connection, Transaction},
    params, row,
    staff::Permissions,
};

row! {
    /// A row of `users`: what decides about a session.
    #[derive(Debug, Clone)]
    pub struct Account {
        pub id: i64, pub username: String,
        /// Empty for who only ever signs in elsewhere.
        pub password_hash: String,
        role: String, permissions: i64,
    }
}

impl Account {
    pub fn role(&self) -> Role {
        Role::from_column(&self.role)
    }

    pub fn permissions(&self) -> Permissions {
        Permissions::from_bits(self.permissions)
    }
}

/// A user by id; 404 if there is none.
pub async fn find(db: &mut Connection, user_id: i64) -> Result<Account> {
    const USER: &str = "SELECT id, username, password_hash, role, permissions FROM users WHERE id = ?";
    db.query_one(USER, params![user_id]).await?.ok_or_else(|| Problem::not_found("user"))
}

/// Locks a user: whatever else changes their password, role or sessions waits. 404 if there is none.
pub async fn lock(tx: &mut Transaction, user_id: i64) -> Result<Account> {
    const USER: &str = "SELECT id, username, password_hash, role, permissions FROM users WHERE id = ? FOR UPDATE";
    tx.query_one(USER, params![user_id]).await?.ok_or_else(|| Problem::not_found("user"))
}

/// A password has 8 to 128 characters.
pub fn check_password(checks: &mut Checks, field: &str, password: &str) {
    checks.that((8..=128).contains(&password.chars().count()), field, "must have 8 to 128 characters");
}

/// The client's IP address, as Spin saw it; a proxy's if there is one before it.
pub fn client_address(headers: &HeaderMap) -> &str {
    let address = headers.get("spin-client-addr").and_then(|value| value.to_str().ok()).unwrap_or("unknown");
    address.rsplit_once(':').map_or(address, |(ip, _port)| ip)
}
