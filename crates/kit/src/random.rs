//! Random bytes and tokens.

use crate::{Problem, Result, base64url};

/// `N` bytes from the system's random source. An internal error if that fails.
pub fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Problem::internal().because(format!("no random bytes: {error}")))?;
    Ok(bytes)
}

/// `N` random bytes in base64url, which needs no escaping in URLs.
pub fn token<const N: usize>() -> Result<String> {
    Ok(base64url::encode(&bytes::<N>()?))
}
