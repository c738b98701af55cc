//! Random bytes and tokens.

use crate::{Problem, Result, base64url};

/// `N` bytes from the system's random source.
pub fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Problem::internal().because(format!("no random bytes: {error}")))?;
    Ok(bytes)
}

/// `N` random bytes as text that may stand in a URL.
pub fn token<const N: usize>() -> Result<String> {
    Ok(base64url::encode(&bytes::<N>()?))
}
