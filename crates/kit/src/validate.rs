//! Validation that collects all invalid fields, so that one reply names them all.

use crate::{FieldError, Problem, Result};

/// The validator of one request.
#[derive(Default)]
pub struct Validator(Vec<FieldError>);

impl Validator {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `message` for `field` unless `ok`.
    pub fn require(&mut self, ok: bool, field: &str, message: impl Into<String>) -> &mut Self {
        if !ok {
            self.0.push(FieldError { field: field.to_owned(), message: message.into() });
        }
        self
    }

    /// A text of `min` to `max` characters (Unicode scalar values) and no control characters but tab and line breaks.
    pub fn text(&mut self, field: &str, value: &str, min: usize, max: usize) -> &mut Self {
        let length = value.chars().count();
        let printable = value.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'));
        let blank = min > 0 && value.trim().is_empty();
        self.require((min..=max).contains(&length) && !blank, field, format!("must have {min} to {max} characters"))
            .require(printable, field, "must not have control characters")
    }

    /// A whole number within bounds, both included.
    pub fn number(&mut self, field: &str, value: i64, min: i64, max: i64) -> &mut Self {
        self.require((min..=max).contains(&value), field, format!("must be from {min} to {max}"))
    }

    /// A plausible e-mail address: one `@`, a dot in the domain, no spaces, at most 254 characters (RFC 5321, section
    /// 4.5.3.1).
    pub fn email(&mut self, field: &str, value: &str) -> &mut Self {
        let has_domain = value.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty()
                && domain.contains('.')
                && !domain.contains('@')
                && !domain.starts_with('.')
                && !domain.ends_with('.')
        });
        let is_printable = !value.chars().any(|c| c.is_whitespace() || c.is_control());
        self.require(has_domain && is_printable && value.chars().count() <= 254, field, "must be an e-mail address")
    }

    /// 422 with all messages, if there are any.
    pub fn finish(&mut self) -> Result<()> {
        match std::mem::take(&mut self.0) {
            errors if errors.is_empty() => Ok(()),
            errors => Err(Problem::invalid_fields(errors)),
        }
    }
}
