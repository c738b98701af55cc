//! Errors as clients see them: RFC 9457 problem details with a stable `code`. Their causes are only logged.

use std::fmt;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use strum::IntoStaticStr;
use utoipa::ToSchema;

/// What went wrong, in one word that clients may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, IntoStaticStr, ToSchema)]
#[schema(example = "invalid")]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Code {
    BodyTooLarge,
    CategoryInUse,
    CouponInvalid,
    Forbidden,
    IdempotencyInProgress,
    IdempotencyMismatch,
    IdentityNeeded,
    IdentityTaken,
    Internal,
    Invalid,
    InvalidCredentials,
    InvalidToken,
    MalformedJson,
    MethodNotAllowed,
    NotFound,
    OrderState,
    OutOfStock,
    OutcomeUnknown,
    PaymentDeclined,
    PaymentState,
    PendingLimit,
    RateLimited,
    RequestTimeout,
    SeckillEnded,
    SeckillLimit,
    SeckillNotStarted,
    SeckillSoldOut,
    SessionTooOld,
    Suspended,
    TokenExpired,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
    UsernameTaken,
}

impl Code {
    /// The code in replies.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The HTTP status and title of the code.
    pub fn status_and_title(self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Code::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, "The request body is too large"),
            Code::CategoryInUse => (S::CONFLICT, "The category has products or children"),
            Code::CouponInvalid => (S::CONFLICT, "The coupon does not apply"),
            Code::Forbidden => (S::FORBIDDEN, "Forbidden"),
            Code::IdempotencyInProgress => (S::CONFLICT, "The first request with this key is still running"),
            Code::IdempotencyMismatch => (S::UNPROCESSABLE_ENTITY, "The key was used with another body"),
            Code::IdentityNeeded => (S::CONFLICT, "The identity is the only way to sign in"),
            Code::IdentityTaken => (S::CONFLICT, "The identity belongs to another account"),
            Code::Internal => (S::INTERNAL_SERVER_ERROR, "Internal error"),
            Code::Invalid => (S::UNPROCESSABLE_ENTITY, "The request is not valid"),
            Code::InvalidCredentials => (S::UNAUTHORIZED, "Wrong username or password"),
            Code::InvalidToken => (S::UNAUTHORIZED, "The token is not valid"),
            Code::MalformedJson => (S::BAD_REQUEST, "The body is not valid JSON"),
            Code::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "Method not allowed"),
            Code::NotFound => (S::NOT_FOUND, "Not found"),
            Code::OrderState => (S::CONFLICT, "The order's status does not allow this"),
            Code::OutOfStock => (S::CONFLICT, "Not enough in stock"),
            Code::OutcomeUnknown => (S::SERVICE_UNAVAILABLE, "It is not known whether the request had an effect"),
            Code::PaymentDeclined => (S::PAYMENT_REQUIRED, "The payment was declined"),
            Code::PaymentState => (S::CONFLICT, "The payment's status does not allow this"),
            Code::PendingLimit => (S::CONFLICT, "Too many unpaid orders"),
            Code::RateLimited => (S::TOO_MANY_REQUESTS, "Too many requests"),
            Code::RequestTimeout => (S::REQUEST_TIMEOUT, "The request took too long"),
            Code::SeckillEnded => (S::CONFLICT, "The sale has ended"),
            Code::SeckillLimit => (S::CONFLICT, "The limit per customer has been reached"),
            Code::SeckillNotStarted => (S::CONFLICT, "The sale has not started"),
            Code::SeckillSoldOut => (S::CONFLICT, "The sale is sold out"),
            Code::SessionTooOld => (S::FORBIDDEN, "Sign in again first"),
            Code::Suspended => (S::FORBIDDEN, "The account is suspended"),
            Code::TokenExpired => (S::UNAUTHORIZED, "The access token has expired"),
            Code::Unauthenticated => (S::UNAUTHORIZED, "Authentication required"),
            Code::Unavailable => (S::SERVICE_UNAVAILABLE, "Temporarily unavailable"),
            Code::UnsupportedMediaType => (S::UNSUPPORTED_MEDIA_TYPE, "The body must be application/json"),
            Code::UsernameTaken => (S::CONFLICT, "The username is taken"),
        }
    }
}

/// A part of the request that is not valid, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field's path, such as `items[0].quantity`; the name of a query parameter or header.
    #[schema(example = "items[0].quantity")]
    pub field: String,
    #[schema(example = "must be from 1 to 999")]
    pub message: String,
}

/// An error on its way to the client.
#[derive(Debug, Clone)]
pub struct Problem {
    pub code: Code,
    /// One sentence for people. It never quotes the database or the host: that belongs in the cause.
    pub detail: String,
    pub errors: Vec<FieldError>,
    /// Seconds, for `Retry-After`.
    pub retry_after: Option<u64>,
    /// The transaction conflicted with another one and was rolled back: a retry may succeed.
    pub(crate) transient: bool,
    /// Only logged.
    cause: Option<Box<str>>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Problem { code, detail: detail.into(), errors: Vec::new(), retry_after: None, transient: false, cause: None }
    }

    /// 422 for one field.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid_fields(vec![FieldError { field: field.into(), message: message.into() }])
    }

    /// 422 for several fields.
    pub fn invalid_fields(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.field, one.message),
            several => format!("{} fields are not valid", several.len()),
        };
        Self::new(Code::Invalid, detail).with_errors(errors)
    }

    /// 404 for what does not exist, or is not visible to the caller.
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("There is no such {what}"))
    }

    /// 503. Give the cause with [`Problem::because`].
    pub fn unavailable() -> Self {
        Self::new(Code::Unavailable, "The shop is temporarily unavailable; try again shortly").with_retry_after(1)
    }

    /// 503 for a request whose change may have been committed.
    pub(crate) fn outcome_unknown() -> Self {
        let detail = "The database failed during the commit. Send the request again with the same Idempotency-Key, or \
                      read the current state";
        Self::new(Code::OutcomeUnknown, detail).with_retry_after(1)
    }

    /// The same for a problem that came after the commit, with its cause.
    pub(crate) fn into_outcome_unknown(self) -> Self {
        Problem { cause: self.cause, ..Self::outcome_unknown() }
    }

    /// 408 for a request whose body did not arrive in time.
    pub(crate) fn request_timeout() -> Self {
        Self::new(Code::RequestTimeout, "The request's body did not arrive in time")
    }

    /// A conflict with another transaction: [`crate::mysql::transaction`] starts over, a limited number of times, then
    /// it is a 503.
    pub fn conflict() -> Self {
        Problem { transient: true, ..Problem::unavailable() }
    }

    /// Whether a database failed, and not the work: to do less at once would not help.
    pub fn is_outage(&self) -> bool {
        matches!(self.code, Code::Unavailable | Code::OutcomeUnknown) && !self.transient
    }

    /// 500. Give the cause with [`Problem::because`].
    pub fn internal() -> Self {
        Self::new(Code::Internal, "The request could not be handled")
    }

    /// Adds the cause for the request's log line. Clients never see it.
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string().into());
        self
    }

    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    pub fn with_retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub(crate) fn body(&self, request_id: &str) -> ProblemBody {
        let (status, title) = self.code.status_and_title();
        ProblemBody {
            r#type: format!("/api/docs#{}", self.code.name()),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail.clone(),
            code: self.code,
            request_id: request_id.to_owned(),
            errors: (!self.errors.is_empty()).then(|| self.errors.clone()),
        }
    }
}

/// The text for the log, with the cause.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.detail)?;
        match &self.cause {
            Some(cause) => write!(f, " ({cause})"),
            None => Ok(()),
        }
    }
}

impl IntoResponse for Problem {
    /// The body is written by [`crate::serve`], which knows the request id.
    fn into_response(self) -> Response {
        let mut response = self.code.status_and_title().0.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The JSON of an error, `application/problem+json` (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Where the code is explained.
    #[schema(format = "uri-reference", example = "/api/docs#invalid")]
    r#type: String,
    #[schema(example = "The request is not valid")]
    title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599, example = 422)]
    status: u16,
    /// One sentence for a person.
    #[schema(example = "items[0].quantity: must be from 1 to 999")]
    detail: String,
    code: Code,
    /// The reply's `X-Request-Id`.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$", example = "01KAVT2Q8ZJ6Y4T9V3N5R7W1XC")]
    request_id: String,
    /// What is not valid, with `invalid` and `out_of_stock`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    errors: Option<Vec<FieldError>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_the_same_name_in_json_and_in_logs() {
        for code in [Code::BodyTooLarge, Code::IdempotencyInProgress, Code::NotFound, Code::UnsupportedMediaType] {
            assert_eq!(serde_json::to_value(code).unwrap(), code.name());
        }
    }
}
