//! Buying in a flash sale without the shop: the Redis script and access tokens.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

pub const SCRIPT: &str = include_str!("../../flash-sale/src/buy.lua");

/// Session ids above those that the shop assigns.
const FIRST_SESSION: i64 = 10_000_000;

/// A purchase, as the function `seckill` runs it.
pub fn command(script: &str, activity: i64, user: i64, session: i64, ticket: &str) -> redis::Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(script).arg(1).arg(format!("{{sk:{activity}}}"));
    command.arg(format!("{user} {ticket} 1000000 1000000 {session}"));
    command
}

/// An access token as `login` issues it.
pub fn token(secret: &str, user: i64) -> anyhow::Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = json!({ "iat": now, "nbf": now, "exp": now + 86_400, "iss": "wasmall", "aud": "wasmall",
                         "sub": user.to_string(), "role": "user", "sid": FIRST_SESSION + user });
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let content = format!("{}.{}", encode(json!({ "alg": "HS256", "typ": "JWT" })), encode(claims));
    let signature = signature(secret.as_bytes(), content.as_bytes())?;
    Ok(format!("{content}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

pub fn signature(secret: &[u8], content: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).context("the secret is not a valid key")?;
    mac.update(content);
    Ok(mac.finalize().into_bytes().to_vec())
}

/// Like [`token`], but for an admin.
pub fn admin_token(secret: &str, user: i64) -> anyhow::Result<String> {
    let plain = token(secret, user)?;
    let part = plain.split('.').nth(1).context("the token has no claims")?;
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part)?)?;
    claims["role"] = json!("admin");
    let header = plain.split('.').next().unwrap_or_default();
    let content = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    Ok(format!("{content}.{}", URL_SAFE_NO_PAD.encode(signature(secret.as_bytes(), content.as_bytes())?)))
}
