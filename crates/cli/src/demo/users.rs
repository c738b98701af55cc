//! The accounts of the demo shop.

use anyhow::anyhow;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version, password_hash::phc::PasswordHash};
use sqlx::MySqlConnection;

/// The password hash of a user. The row is locked, so that two runs don't add the user twice.
pub async fn find_user(connection: &mut MySqlConnection, username: &str) -> anyhow::Result<Option<String>> {
    let hash = sqlx::query_scalar("SELECT password_hash FROM users WHERE username = ? FOR UPDATE");
    Ok(hash.bind(username).fetch_optional(connection).await?)
}

pub async fn add_user(
    connection: &mut MySqlConnection,
    username: &str,
    password: &str,
    role: &str,
    now: i64,
) -> anyhow::Result<()> {
    sqlx::query("INSERT INTO users (username, password_hash, role, created_at) VALUES (?, ?, ?, ?)")
        .bind(username)
        .bind(hash(password)?)
        .bind(role)
        .bind(now)
        .execute(connection)
        .await?;
    Ok(())
}

/// The id of a user by name, who is added if need be: without a password, so that nobody can sign in.
pub async fn find_or_add_customer(connection: &mut MySqlConnection, username: &str, now: i64) -> anyhow::Result<u64> {
    let id: Option<i64> = sqlx::query_scalar("SELECT id FROM users WHERE username = ?")
        .bind(username)
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(id) = id {
        return Ok(u64::try_from(id)?);
    }
    let insert = sqlx::query("INSERT INTO users (username, password_hash, role, created_at) VALUES (?, '', 'user', ?)");
    Ok(insert.bind(username).bind(now).execute(connection).await?.last_insert_id())
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
