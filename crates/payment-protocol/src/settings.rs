//! The provider's settings.

use crate::wit::{Context, Error};

/// A setting that must be there.
pub fn required<'a>(context: &'a Context, name: &str) -> Result<&'a str, Error> {
    optional(context, name).ok_or_else(|| wrong(name, "is missing"))
}

/// A setting that may be missing or empty.
pub fn optional<'a>(context: &'a Context, name: &str) -> Option<&'a str> {
    let setting = context.settings.iter().find(|setting| setting.name == name)?;
    let value = setting.value.trim();
    (!value.is_empty()).then_some(value)
}

/// The base URL in a setting, without a slash at its end.
pub fn base_url<'a>(context: &'a Context, name: &str) -> Result<&'a str, Error> {
    let url = required(context, name)?.trim_end_matches('/');
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let is_plain = |rest: &str| {
        let host = rest.split('/').next().unwrap_or_default();
        !host.is_empty() && !rest.contains(|c: char| c.is_whitespace() || c.is_control() || "?#@".contains(c))
    };
    if rest.is_some_and(is_plain) { Ok(url) } else { Err(wrong(name, "is not a base URL")) }
}

/// The error for a setting that is not as it should be.
pub fn wrong(name: &str, why: &str) -> Error {
    Error::Settings(format!("{name} {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wit::Setting;

    fn context(value: &str) -> Context {
        let setting = Setting { name: "stripe_url".to_owned(), value: value.to_owned() };
        Context { settings: vec![setting], now: 0, nonce: String::new() }
    }

    #[test]
    fn a_missing_setting_is_named() {
        for value in ["", "  \n"] {
            let Err(Error::Settings(text)) = required(&context(value), "stripe_url") else { panic!("{value:?}") };
            assert_eq!(text, "stripe_url is missing");
        }
        assert!(
            matches!(required(&context("x"), "stripe_key"), Err(Error::Settings(text)) if text == "stripe_key is missing")
        );
        assert_eq!(required(&context(" x\n"), "stripe_url").unwrap(), "x");
    }

    #[test]
    fn a_base_url_has_a_host_and_no_query() {
        for (value, expected) in [
            ("https://api.stripe.com", Some("https://api.stripe.com")),
            ("https://api.stripe.com/", Some("https://api.stripe.com")),
            ("http://127.0.0.1:9000/stripe/", Some("http://127.0.0.1:9000/stripe")),
            ("api.stripe.com", None),
            ("ftp://api.stripe.com", None),
            ("https://", None),
            ("https:///path", None),
            ("https://user@host", None),
            ("https://host?x=1", None),
            ("https://host/a b", None),
        ] {
            assert_eq!(base_url(&context(value), "stripe_url").ok(), expected, "{value}");
        }
    }
}
