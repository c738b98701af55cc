//! The shop's settings, `SPIN_VARIABLE_…` in the environment. They are validated before anything starts.

use std::{collections::BTreeMap, ops::RangeInclusive};

use anyhow::{Context, bail, ensure};
use url::{Host, Url};

use crate::{address::Variables, project::Project};

const YEAR: u64 = 365 * 24 * 3600;

const NUMBERS: [(&str, RangeInclusive<u64>); 13] = [
    ("order_ttl_seconds", 1..=YEAR),
    ("auto_confirm_seconds", 1..=YEAR),
    ("access_ttl_seconds", 1..=YEAR),
    ("session_ttl_seconds", 1..=YEAR),
    ("login_rate", 1..=1_000_000),
    ("login_burst", 1..=1_000_000),
    ("register_rate", 1..=1_000_000),
    ("register_burst", 1..=1_000_000),
    ("seckill_rate", 1..=1_000_000),
    ("seckill_burst", 1..=1_000_000),
    ("write_rate", 1..=1_000_000),
    ("write_burst", 1..=1_000_000),
    ("max_pending_orders", 1..=1_000_000),
];

/// The variables that the environment sets.
pub fn from_environment() -> anyhow::Result<Variables> {
    let mut variables = Variables::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().and_then(|name| name.strip_prefix("SPIN_VARIABLE_")) else { continue };
        let value = value.into_string().ok().with_context(|| format!("SPIN_VARIABLE_{name} is not UTF-8"))?;
        variables.insert(name.to_ascii_lowercase(), value);
    }
    validate(&variables)?;
    Ok(variables)
}

fn validate(variables: &Variables) -> anyhow::Result<()> {
    for (name, value) in variables {
        let must_be = |must: &str| format!("SPIN_VARIABLE_{} must be {must}", name.to_ascii_uppercase());
        if let Some((_, range)) = NUMBERS.iter().find(|(number, _)| number == name) {
            let (min, max) = (range.start(), range.end());
            let number = value.parse().ok().filter(|number| range.contains(number));
            ensure!(number.is_some(), must_be(&format!("a whole number from {min} to {max}, not `{value}`")));
        }
        match name.as_str() {
            "jwt_secret" => {
                ensure!(value.len() >= 32, must_be(&format!("at least 32 bytes long, not {}", value.len())));
            }
            "currency" => {
                let is_code = value.len() == 3 && value.bytes().all(|byte| byte.is_ascii_uppercase());
                ensure!(is_code, must_be(&format!("three capital letters such as CNY, not `{value}`")));
            }
            "auto_ship" => {
                ensure!(matches!(value.as_str(), "true" | "false"), must_be(&format!("true or false, not `{value}`")))
            }
            "payment_providers" => {
                let is_provider = |name: &str| matches!(name.trim(), "" | "mock" | "mock-fail" | "mock-later");
                let all = value.split(',').all(is_provider);
                ensure!(all, must_be(&format!("names of mock, mock-fail and mock-later, not `{value}`")));
            }
            "redis_scheme" => {
                ensure!(matches!(value.as_str(), "redis" | "rediss"), must_be("redis or rediss"));
            }
            // The messages don't repeat a URL, since it may contain a password.
            "mail_url" | "oidc_token_host" => {
                let url = Url::parse(value).ok().filter(is_secure);
                let is_base = url.is_some_and(|url| url.path() == "/" && url.query().is_none());
                ensure!(is_base, must_be("https://host, or http://host:port of a loopback address"));
            }
            "oidc_authorize_url" | "public_url" if !value.is_empty() => {
                let is_url = Url::parse(value).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
                ensure!(is_url, must_be("a URL"));
            }
            "mail_key" => {
                let is_printable = value.bytes().all(|byte| byte.is_ascii_graphic());
                ensure!(is_printable, must_be("printable ASCII without spaces"));
                let has_sender = variables.get("mail_from").is_some_and(|from| from.contains('@'));
                ensure!(
                    value.is_empty() || has_sender,
                    "SPIN_VARIABLE_MAIL_KEY needs a sender in SPIN_VARIABLE_MAIL_FROM"
                );
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether secrets may be sent there: over TLS, or within this machine.
fn is_secure(url: &Url) -> bool {
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback)
}

/// Removes the variables that the manifest doesn't declare, with a warning. Fails if a required one has no value.
pub fn retain_declared(project: &Project, mut variables: Variables) -> anyhow::Result<Variables> {
    let declared = declared(project)?;
    for (name, default) in &declared {
        if default.is_none() && !variables.contains_key(name) {
            bail!("the variable `{name}` has no value: set SPIN_VARIABLE_{}", name.to_ascii_uppercase());
        }
    }
    variables.retain(|name, _| {
        let known = declared.contains_key(name);
        if !known {
            let name = name.to_ascii_uppercase();
            progress::warn(&format!("SPIN_VARIABLE_{name} is set, but spin.toml declares no such variable"));
        }
        known
    });
    Ok(variables)
}

/// The manifest's defaults, for a shop that ignores the environment.
pub fn defaults(project: &Project) -> anyhow::Result<Variables> {
    Ok(declared(project)?.into_iter().filter_map(|(name, default)| Some((name, default?))).collect())
}

/// The variables that the manifest declares, with their defaults.
fn declared(project: &Project) -> anyhow::Result<BTreeMap<String, Option<String>>> {
    let text = std::fs::read_to_string(project.manifest()).context("spin.toml can't be read")?;
    let manifest: toml::Table = text.parse().context("spin.toml is not valid TOML")?;
    let variables = manifest.get("variables").and_then(|variables| variables.as_table()).into_iter().flatten();
    let default = |variable: &toml::Value| Some(variable.get("default")?.as_str()?.to_owned());
    Ok(variables.map(|(name, variable)| (name.clone(), default(variable))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validated(name: &str, value: &str) -> Result<(), String> {
        validate(&Variables::from([(name.to_owned(), value.to_owned())])).map_err(|error| error.to_string())
    }

    #[test]
    fn valid_values_are_accepted() {
        for (name, value) in [
            ("order_ttl_seconds", "60"),
            ("jwt_secret", "0123456789abcdef0123456789abcdef"),
            ("currency", "EUR"),
            ("auto_ship", "false"),
            ("mysql_password", ""),
            ("mail_url", "http://127.0.0.1:2525"),
            ("mail_url", "http://localhost"),
            ("mail_url", "http://[::1]:2525"),
            ("oidc_token_host", "https://id.example"),
            ("redis_scheme", "rediss"),
        ] {
            assert_eq!(validated(name, value), Ok(()), "{name}");
        }
    }

    #[test]
    fn an_invalid_value_is_named() {
        for (name, value) in [
            ("order_ttl_seconds", "soon"),
            ("order_ttl_seconds", "0"),
            ("login_rate", "-1"),
            ("login_burst", "1.5"),
            ("access_ttl_seconds", "99999999999999999999"),
            ("jwt_secret", "short"),
            ("currency", "yuan"),
            ("auto_ship", "yes"),
            ("mail_url", "mail.example"),
            ("mail_url", "https://mail.example/v1"),
            ("mail_url", "http://mail.example"),
            ("mail_url", "http://127.0.0.1@mail.example"),
            ("oidc_token_host", "http://10.0.0.1"),
            ("redis_scheme", "unix"),
            ("mail_key", "two words"),
        ] {
            let error = validated(name, value).unwrap_err();
            assert!(error.starts_with(&format!("SPIN_VARIABLE_{} must be", name.to_uppercase())), "{error}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        for (name, value) in [
            ("jwt_secret", "hush-hush"),
            ("mail_url", "http://key:hush@mail.example"),
            ("oidc_token_host", "https://key:hush@id.example/token"),
            ("oidc_authorize_url", "ftp://key:hush@id.example"),
            ("public_url", "shop:hush@shop.example"),
        ] {
            let error = validated(name, value).unwrap_err();
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
