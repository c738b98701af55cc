//! Providers' answers and notifications.

use serde::de::DeserializeOwned;

use crate::{
    settings, text,
    wit::{Error, Header, PaymentReport, PaymentState, RefundReport, RefundState, Report, Response, Step},
};

/// More than any answer or notification has.
pub const MAX_BODY: usize = 256 * 1024;

/// Whether the status says that the request was carried out.
pub fn is_success(got: &Response) -> bool {
    (200..300).contains(&got.status)
}

/// The JSON in the body of an answer. If it can't be read, what became of the request is not known.
pub fn read<T: DeserializeOwned>(got: &Response) -> Result<T, Error> {
    parse(&got.body).ok_or_else(|| Error::Unknown(format!("an answer with status {} that can't be read", got.status)))
}

/// Parses JSON, of a bounded length.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    if body.len() > MAX_BODY { None } else { serde_json::from_slice(body).ok() }
}

/// The error for an answer that is not a success. `key` is the setting with which the provider knows the shop.
pub fn refusal(got: &Response, key: &str, code: &str, message: &str) -> Error {
    let reason = reason(code, message);
    match got.status {
        401 => settings::wrong(key, &format!("was refused: {reason}")),
        // Too slow, at the same time as another, too often: it says nothing about a request before.
        408 | 409 | 425 | 429 => Error::Unknown(format!("status {}: {reason}", got.status)),
        400..=499 => Error::Rejected(reason),
        status => Error::Unknown(format!("status {status}: {reason}")),
    }
}

/// The error for a refusal that says no more than that something went wrong.
pub fn failure(code: &str, message: &str) -> Error {
    Error::Unknown(reason(code, message))
}

fn reason(code: &str, message: &str) -> String {
    text::plain(format!("{code}: {message}").trim_matches([':', ' ']), 200, |_| true)
}

/// Ends an operation on a payment.
pub fn payment(report: PaymentReport) -> Step {
    Step::Done(Report::Payment(report))
}

/// Ends an operation on a refund.
pub fn refund(report: RefundReport) -> Step {
    Step::Done(Report::Refund(report))
}

/// The report of a state alone.
pub fn payment_state(payment_no: &str, state: PaymentState) -> PaymentReport {
    PaymentReport { payment_no: payment_no.to_owned(), state, amount: None, currency: None, reference: None }
}

/// The report of a refund's state alone.
pub fn refund_state(refund_no: &str, state: RefundState) -> RefundReport {
    RefundReport { refund_no: refund_no.to_owned(), state, amount: None, reference: None }
}

/// What a notification is answered with.
pub fn reply(status: u16, text: &str) -> Response {
    let kind = Header { name: "Content-Type".to_owned(), value: "text/plain".to_owned() };
    let headers = if text.is_empty() { Vec::new() } else { vec![kind] };
    Response { status, headers, body: text.as_bytes().to_vec() }
}

/// The error for an answer or notification that is not about what it should be.
pub fn other(what: &str) -> Error {
    Error::Forged(format!("{what} is another"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refusals_are_certain() {
        for (status, expected) in [
            (400, "rejected"),
            (401, "settings"),
            (404, "rejected"),
            (409, "unknown"),
            (429, "unknown"),
            (302, "unknown"),
            (500, "unknown"),
            (503, "unknown"),
        ] {
            let got = Response { status, headers: Vec::new(), body: Vec::new() };
            let kind = match refusal(&got, "stripe_key", "code", "message") {
                Error::Rejected(text) if text == "code: message" => "rejected",
                Error::Settings(text) if text == "stripe_key was refused: code: message" => "settings",
                Error::Unknown(_) => "unknown",
                other => panic!("{other:?}"),
            };
            assert_eq!(kind, expected, "{status}");
        }
    }

    #[test]
    fn what_is_too_long_or_too_deep_is_not_read() {
        let parse = |text: &str| parse::<serde_json::Value>(text.as_bytes()).is_some();
        assert!(parse(&format!("\"{}\"", "a".repeat(MAX_BODY - 2))));
        assert!(!parse(&format!("\"{}\"", "a".repeat(MAX_BODY - 1))));
        assert!(!parse(&"[".repeat(100_000)));
    }
}
