//! Configuration: Spin variables, read once per instance and validated where they are read.

use std::{collections::BTreeMap, sync::Mutex};

use spin_sdk::variables;

use crate::{Problem, Result};

static READ: Mutex<BTreeMap<&'static str, String>> = Mutex::new(BTreeMap::new());

/// A variable as text. One that `spin.toml` does not grant is a 503 whose log line names it.
pub async fn text(name: &'static str) -> Result<String> {
    if let Some(value) = READ.lock().ok().and_then(|read| read.get(name).cloned()) {
        return Ok(value);
    }
    let value = variables::get(name).await.map_err(|error| invalid(name, error))?;
    if let Ok(mut read) = READ.lock() {
        read.insert(name, value.clone());
    }
    Ok(value)
}

/// A variable that is a whole number within bounds, such as a count of seconds.
pub async fn number(name: &'static str, min: i64, max: i64) -> Result<i64> {
    let value = text(name).await?;
    match value.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(invalid(name, format!("must be a whole number from {min} to {max}"))),
    }
}

/// A variable that is `true` or `false`.
pub async fn flag(name: &'static str) -> Result<bool> {
    match text(name).await?.as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid(name, "must be true or false")),
    }
}

/// How long after shipping an order completes automatically, in seconds.
pub async fn auto_confirm_seconds() -> Result<i64> {
    number("auto_confirm_seconds", 1, 31_536_000).await
}

/// The shop's currency, an ISO 4217 code.
pub async fn currency() -> Result<String> {
    let value = text("currency").await?;
    match value.len() == 3 && value.bytes().all(|b| b.is_ascii_uppercase()) {
        true => Ok(value),
        false => Err(invalid("currency", "must be three capital letters, an ISO 4217 code")),
    }
}

/// 503 for a variable that can't be used. The log names it, never its value.
pub fn invalid(name: &str, why: impl std::fmt::Display) -> Problem {
    Problem::unavailable().because(format!("the variable {name} is not usable: {why}"))
}
