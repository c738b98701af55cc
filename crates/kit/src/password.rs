//! Passwords: argon2id, 19 MiB, two passes, one lane, as PHC strings
//! (OWASP Password Storage Cheat Sheet; RFC 9106).

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};

use crate::{Problem, Result};

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// A hash that no password matches: verifying against it takes as long as for a real user.
const DUMMY_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$YWJzZW50LXVzZXItc2FsdA$\
                      Zm9yLWFuLXVua25vd24tdXNlci1uby1wYXNzd29yZC4";

/// A PHC string with a random salt. Takes tens of milliseconds, during which the instance does nothing else.
pub fn hash(password: &str) -> Result<String> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(failed)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Ok(argon2.hash_password(password.as_bytes()).map_err(failed)?.to_string())
}

/// Whether the password is the one that was hashed, with the parameters that the hash names.
/// `None` is for a user who does not exist: never a match, and it takes as long.
pub fn verify(password: &str, hash: Option<&str>) -> Result<bool> {
    let parsed = PasswordHash::new(hash.unwrap_or(DUMMY_HASH)).map_err(failed)?;
    let matches = Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok();
    Ok(matches && hash.is_some())
}

fn failed(error: impl std::fmt::Display) -> Problem {
    Problem::internal().because(format!("password hashing: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifies_only_its_own_hash() {
        let phc = hash("正确的马电池订书钉").unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert!(verify("正确的马电池订书钉", Some(&phc)).unwrap());
        assert!(!verify("wrong", Some(&phc)).unwrap());
        assert_ne!(phc, hash("正确的马电池订书钉").unwrap(), "salts differ");
    }

    #[test]
    fn an_unknown_user_takes_as_long_to_refuse() {
        assert!(!verify("anything", None).unwrap());
        assert!(PasswordHash::new(DUMMY_HASH).is_ok());
    }
}
