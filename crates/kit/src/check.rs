//! Validation: collects every field that is wrong, so that a client hears of all at once.

use crate::{FieldError, Problem, Result};

/// The checks of one request.
#[derive(Default)]
pub struct Checks(Vec<FieldError>);

impl Checks {
    pub fn new() -> Self {
        Self::default()
    }

    /// Holds `message` against `field` unless `ok`.
    pub fn that(&mut self, ok: bool, field: &str, message: impl Into<String>) -> &mut Self {
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
        self.that((min..=max).contains(&length) && !blank, field, format!("must have {min} to {max} characters")).that(
            printable,
            field,
            "must not have control characters",
        )
    }

    /// A whole number within bounds, both included.
    pub fn number(&mut self, field: &str, value: i64, min: i64, max: i64) -> &mut Self {
        self.that((min..=max).contains(&value), field, format!("must be from {min} to {max}"))
    }

    /// Something that can be an e-mail address: one `@` with something on both sides, no spaces, 254 characters at most
    /// (RFC 5321, section 4.5.3.1).
    pub fn email(&mut self, field: &str, value: &str) -> &mut Self {
        let halves = value.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty()
                && domain.contains('.')
                && !domain.contains('@')
                && !domain.starts_with('.')
                && !domain.ends_with('.')
        });
        let plain = !value.chars().any(|c| c.is_whitespace() || c.is_control());
        self.that(halves && plain && value.chars().count() <= 254, field, "must be an e-mail address")
    }

    /// 422 with all that was found, if anything was.
    pub fn done(&mut self) -> Result<()> {
        match std::mem::take(&mut self.0) {
            errors if errors.is_empty() => Ok(()),
            errors => Err(Problem::invalid_fields(errors)),
        }
    }
}
