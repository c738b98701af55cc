//! Replies of the runtime's own, in the form that functions give their errors: RFC 9457.

use bytes::Bytes;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, CONNECTION};
use http::header::{CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

use crate::request_ids::REQUEST_ID;

/// The body of a reply.
pub type Body = UnsyncBoxBody<Bytes, wasmtime::Error>;

/// Why a request was not answered by its function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Problem {
    /// Its body did not come in time.
    RequestTimeout,
    /// There are too many requests. It did not reach a function.
    Unavailable,
    /// The function failed.
    Internal,
}

impl Problem {
    pub fn response(self, request_id: &str) -> Response<Body> {
        let (status, code, title, detail) = match self {
            Self::RequestTimeout => (
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                "The request took too long to arrive",
                "The body did not arrive in time; nothing was done",
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "Temporarily unavailable",
                "There are too many requests at the moment; try again shortly",
            ),
            Self::Internal => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", "The request could not be handled")
            }
        };
        // Nothing in it needs escaping: a request id consists of letters, digits and a few signs.
        let json = format!(
            r#"{{"type":"/api/docs#{code}","title":"{title}","status":{},"detail":"{detail}","code":"{code}","request_id":"{request_id}"}}"#,
            status.as_u16()
        );
        let mut response = Response::new(Full::new(Bytes::from(json)).map_err(|e| match e {}).boxed_unsync());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        for (name, value) in [
            (CONTENT_TYPE, "application/problem+json"),
            (CACHE_CONTROL, "no-store"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
            (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            (ACCESS_CONTROL_EXPOSE_HEADERS, "Retry-After, X-Request-Id"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        match self {
            // The rest of the body would be taken for the next request.
            Self::RequestTimeout => drop(headers.insert(CONNECTION, HeaderValue::from_static("close"))),
            Self::Unavailable => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("1"))),
            Self::Internal => {}
        }
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert(REQUEST_ID, id);
        }
        response
    }
}
