//! The accounts of the demo shop.

use anyhow::anyhow;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version, password_hash::phc::PasswordHash};
use mysql_async::{Transaction, prelude::Queryable};

use crate::database;

/// The password hash of a user. The row is locked, so that two runs don't add the user twice.
pub async fn find_user(connection: &mut impl Queryable, username: &str) -> anyhow::Result<Option<String>> {
    const HASH: &str = "SELECT password_hash FROM users WHERE username = ? FOR UPDATE";
    Ok(connection.exec_first(HASH, (username,)).await?)
}

pub async fn add_user(
    transaction: &mut Transaction<'_>,
    username: &str,
    password: &str,
    role: &str,
    now: i64,
) -> anyhow::Result<()> {
    const ADD: &str = "INSERT INTO users (username, password_hash, role, created_at) VALUES (?, ?, ?, ?)";
    Ok(transaction.exec_drop(ADD, (username, hash(password)?, role, now)).await?)
}

/// The id of a user by name, who is added if need be: without a password, so that nobody can sign in.
pub async fn find_or_add_customer(transaction: &mut Transaction<'_>, username: &str, now: i64) -> anyhow::Result<u64> {
    const ADD: &str = "INSERT INTO users (username, password_hash, role, created_at) VALUES (?, '', 'user', ?)";
    match transaction.exec_first("SELECT id FROM users WHERE username = ?", (username,)).await? {
        Some(id) => Ok(id),
        None => database::insert(transaction, ADD, (username, now)).await,
    }
}

/// With the same parameters as the functions: argon2id, 19 MiB, two passes.
fn hash(password: &str) -> anyhow::Result<String> {
    let params = Params::new(19 * 1024, 2, 1, None).map_err(|error| anyhow!("argon2: {error}"))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Ok(argon2.hash_password(password.as_bytes()).map_err(|error| anyhow!("argon2: {error}"))?.to_string())
}

pub fn verify(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_verifies() {
        let hash = hash("sesame").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(verify("sesame", &hash) && !verify("simsim", &hash));
    }
}
