//! A request's ids, for the runtime's own log lines and error replies.

use http::{HeaderMap, HeaderName, HeaderValue};
use ulid::Ulid;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// `X-Request-Id` and `traceparent` as the client sent them. They are validated when they are used: most requests
/// succeed, and then the runtime has nothing to log.
pub struct RequestIds {
    request_id: Option<HeaderValue>,
    traceparent: Option<HeaderValue>,
}

impl RequestIds {
    pub fn from_headers(headers: &HeaderMap) -> Self {
        Self { request_id: headers.get(REQUEST_ID).cloned(), traceparent: headers.get(TRACEPARENT).cloned() }
    }

    /// The request id, if it is valid: functions ignore others and make their own.
    pub fn request_id(&self) -> Option<&str> {
        let id = self.request_id.as_ref()?.to_str().ok()?;
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        ((1..=64).contains(&id.len()) && id.bytes().all(is_allowed)).then_some(id)
    }

    /// The request id, or a new one.
    pub fn request_id_or_new(&self) -> String {
        self.request_id().map_or_else(|| Ulid::generate().to_string(), str::to_owned)
    }

    /// The trace id of a valid W3C `traceparent`.
    pub fn trace_id(&self) -> Option<&str> {
        let mut fields = self.traceparent.as_ref()?.to_str().ok()?.split('-');
        let mut hex = |length: usize| {
            let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            fields.next().filter(|field| field.len() == length && field.bytes().all(is_hex))
        };
        let (version, trace_id, parent_id, _flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        let is_zero = |id: &str| id.bytes().all(|byte| byte == b'0');
        // Later versions may append fields.
        let is_valid_version = version != "ff" && (version != "00" || fields.next().is_none());
        (is_valid_version && !is_zero(trace_id) && !is_zero(parent_id)).then_some(trace_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(name: HeaderName, value: &str) -> RequestIds {
        RequestIds::from_headers(&HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())]))
    }

    #[test]
    fn only_valid_request_ids_count() {
        for id in ["a", "01JD-x.y_Z", &"a".repeat(64)] {
            assert_eq!(ids(REQUEST_ID, id).request_id(), Some(id));
        }
        for id in ["", "a b", "a\"b", "ü", &"a".repeat(65)] {
            assert_eq!(ids(REQUEST_ID, id).request_id(), None, "{id}");
        }
    }

    #[test]
    fn only_valid_trace_ids_count() {
        let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (value, valid) in [
            (format!("00-{trace_id}-00f067aa0ba902b7-01"), true),
            (format!("01-{trace_id}-00f067aa0ba902b7-01-later"), true),
            (format!("00-{trace_id}-00f067aa0ba902b7-01-later"), false),
            (format!("ff-{trace_id}-00f067aa0ba902b7-01"), false),
            (format!("00-{trace_id}-0000000000000000-01"), false),
            (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), false),
            (format!("00-{}-00f067aa0ba902b7-01", trace_id.to_uppercase()), false),
            (format!("00-{trace_id}"), false),
        ] {
            assert_eq!(ids(TRACEPARENT, &value).trace_id(), valid.then_some(trace_id), "{value}");
        }
    }
}
