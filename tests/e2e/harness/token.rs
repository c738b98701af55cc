//! Reads access tokens, and makes forged ones.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

pub fn header(token: &str) -> Value {
    part(token, 0)
}

pub fn claims(token: &str) -> Value {
    part(token, 1)
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).expect("a token of three parts");
    let bytes = URL_SAFE_NO_PAD.decode(part).expect("a part in base64url");
    serde_json::from_slice(&bytes).expect("a part in JSON")
}

/// A token signed with HS256, whatever its header says.
pub fn signed(header: &Value, claims: &Value, key: &[u8]) -> String {
    let content = content(header, claims);
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key does");
    mac.update(content.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("{content}.{signature}")
}

/// Header and claims, without a signature.
pub fn content(header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", encode(header), encode(claims))
}
