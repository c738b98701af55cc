//! Texts that mean nothing to who carries them: random ones, and cursors.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};

use crate::{Problem, Result, log};

/// `N` bytes from the system's random source.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        log::error(None, "no random bytes", &error);
        Problem::internal()
    })?;
    Ok(bytes)
}

pub fn to_base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// With the other alphabet and `=` at the end, as HTTP wants it.
pub fn to_standard_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
