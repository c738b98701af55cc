//! Configuration: Spin variables, read once per instance and validated where they are read.

use std::{collections::BTreeMap, net::IpAddr, sync::Mutex};

use spin_sdk::variables;

use crate::{Problem, Result};

static CACHE: Mutex<BTreeMap<&'static str, String>> = Mutex::new(BTreeMap::new());

/// The value of a variable. 503 if `spin.toml` doesn't grant it to this function; the log names the variable.
pub async fn text(name: &'static str) -> Result<String> {
    if let Some(value) = CACHE.lock().ok().and_then(|cache| cache.get(name).cloned()) {
        return Ok(value);
    }
    let value = variables::get(name).await.map_err(|error| invalid(name, error))?;
    if let Ok(mut cache) = CACHE.lock() {
        cache.insert(name, value.clone());
    }
    Ok(value)
}

/// A whole number from `min` to `max`; 503 for anything else.
pub async fn number(name: &'static str, min: i64, max: i64) -> Result<i64> {
    let value = text(name).await?;
    match value.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(invalid(name, format!("must be a whole number from {min} to {max}"))),
    }
}

/// `true` or `false`; 503 for anything else.
pub async fn flag(name: &'static str) -> Result<bool> {
    match text(name).await?.as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid(name, "must be true or false")),
    }
}

/// The address of a service that gets a secret: `https`, or `http` to this machine; 503 for anything else.
pub async fn secure_url(name: &'static str) -> Result<String> {
    let value = text(name).await?;
    match is_secure(&value) {
        true => Ok(value),
        false => Err(invalid(name, "must begin with https://, unless its host is a loopback address")),
    }
}

fn is_secure(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default();
    let is_loopback = || {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
    };
    match uri.scheme_str() {
        Some("https") => !host.is_empty(),
        Some("http") => is_loopback(),
        _ => false,
    }
}

/// How long after shipping an order completes automatically, in seconds.
pub async fn auto_confirm_seconds() -> Result<i64> {
    number("auto_confirm_seconds", 1, 31_536_000).await
}

/// Whether clients reach the shop by https.
pub async fn is_https() -> Result<bool> {
    Ok(text("public_url").await?.to_ascii_lowercase().starts_with("https://"))
}

/// The shop's currency, an ISO 4217 code.
pub async fn currency() -> Result<String> {
    let value = text("currency").await?;
    match value.len() == 3 && value.bytes().all(|b| b.is_ascii_uppercase()) {
        true => Ok(value),
        false => Err(invalid("currency", "must be three capital letters, an ISO 4217 code")),
    }
}

/// 503 for a variable with an invalid value. The log names the variable, not its value.
pub fn invalid(name: &str, why: impl std::fmt::Display) -> Problem {
    Problem::unavailable().because(format!("the variable {name} is invalid: {why}"))
}

#[cfg(test)]
mod tests {
    use super::is_secure;

    #[test]
    fn secrets_go_over_tls_or_stay_on_this_machine() {
        for url in [
            "https://mail.example",
            "https://mail.example:8443/",
            "http://127.0.0.1:2525",
            "http://127.1.2.3",
            "http://localhost:2525/",
            "http://[::1]:2525",
        ] {
            assert!(is_secure(url), "{url}");
        }
        for url in [
            "",
            "mail.example",
            "http://mail.example",
            "http://127.0.0.1.example",
            "http://localhost.example",
            "http://127.0.0.1@mail.example",
            "http://10.0.0.1",
            "http://[::2]",
            "http://0.0.0.0",
            "ftp://127.0.0.1",
            "https://",
        ] {
            assert!(!is_secure(url), "{url}");
        }
    }
}
