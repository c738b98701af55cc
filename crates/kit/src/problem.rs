//! Errors as clients see them: RFC 9457 problem details with a stable `code`.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

/// What went wrong, in one word that clients may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    BodyTooLarge,
    CategoryInUse,
    CouponInvalid,
    Forbidden,
    IdempotencyInProgress,
    IdempotencyMismatch,
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
    PaymentDeclined,
    RateLimited,
    SeckillEnded,
    SeckillLimit,
    SeckillNotStarted,
    SeckillSoldOut,
    TokenExpired,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
    UsernameTaken,
}

impl Code {
    /// As clients see it.
    pub fn name(self) -> &'static str {
        match self {
            Code::BodyTooLarge => "body_too_large",
            Code::CategoryInUse => "category_in_use",
            Code::CouponInvalid => "coupon_invalid",
            Code::Forbidden => "forbidden",
            Code::IdempotencyInProgress => "idempotency_in_progress",
            Code::IdempotencyMismatch => "idempotency_mismatch",
            Code::IdentityTaken => "identity_taken",
            Code::Internal => "internal",
            Code::Invalid => "invalid",
            Code::InvalidCredentials => "invalid_credentials",
            Code::InvalidToken => "invalid_token",
            Code::MalformedJson => "malformed_json",
            Code::MethodNotAllowed => "method_not_allowed",
            Code::NotFound => "not_found",
            Code::OrderState => "order_state",
            Code::OutOfStock => "out_of_stock",
            Code::PaymentDeclined => "payment_declined",
            Code::RateLimited => "rate_limited",
            Code::SeckillEnded => "seckill_ended",
            Code::SeckillLimit => "seckill_limit",
            Code::SeckillNotStarted => "seckill_not_started",
            Code::SeckillSoldOut => "seckill_sold_out",
            Code::TokenExpired => "token_expired",
            Code::Unauthenticated => "unauthenticated",
            Code::Unavailable => "unavailable",
            Code::UnsupportedMediaType => "unsupported_media_type",
            Code::UsernameTaken => "username_taken",
        }
    }

    /// The HTTP status and the title that go with it.
    pub fn meaning(self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Code::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, "The request body is too large"),
            Code::CategoryInUse => (S::CONFLICT, "The category has products or children"),
            Code::CouponInvalid => (S::CONFLICT, "The coupon does not apply"),
            Code::Forbidden => (S::FORBIDDEN, "Not allowed"),
            Code::IdempotencyInProgress => (S::CONFLICT, "The first request with this key still runs"),
            Code::IdempotencyMismatch => (S::UNPROCESSABLE_ENTITY, "The key was used with another body"),
            Code::IdentityTaken => (S::CONFLICT, "The identity belongs to another account"),
            Code::Internal => (S::INTERNAL_SERVER_ERROR, "Something went wrong here"),
            Code::Invalid => (S::UNPROCESSABLE_ENTITY, "The request is not valid"),
            Code::InvalidCredentials => (S::UNAUTHORIZED, "Wrong user name or password"),
            Code::InvalidToken => (S::UNAUTHORIZED, "The refresh token is not valid"),
            Code::MalformedJson => (S::BAD_REQUEST, "The body is not JSON"),
            Code::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "Method not allowed"),
            Code::NotFound => (S::NOT_FOUND, "Not found"),
            Code::OrderState => (S::CONFLICT, "The order's state does not allow it"),
            Code::OutOfStock => (S::CONFLICT, "Not enough in stock"),
            Code::PaymentDeclined => (S::PAYMENT_REQUIRED, "The payment was declined"),
            Code::RateLimited => (S::TOO_MANY_REQUESTS, "Too many requests"),
            Code::SeckillEnded => (S::CONFLICT, "The sale has ended"),
            Code::SeckillLimit => (S::CONFLICT, "The sale allows one user no more"),
            Code::SeckillNotStarted => (S::CONFLICT, "The sale has not started"),
            Code::SeckillSoldOut => (S::CONFLICT, "The sale is sold out"),
            Code::TokenExpired => (S::UNAUTHORIZED, "The access token has expired"),
            Code::Unauthenticated => (S::UNAUTHORIZED, "Sign in first"),
            Code::Unavailable => (S::SERVICE_UNAVAILABLE, "Not available at the moment"),
            Code::UnsupportedMediaType => (S::UNSUPPORTED_MEDIA_TYPE, "The body must be application/json"),
            Code::UsernameTaken => (S::CONFLICT, "The user name is taken"),
        }
    }
}

/// A part of the request that is not valid, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field's path, such as `items[0].quantity`; the name of a query parameter or header.
    pub field: String,
    pub message: String,
}

/// An error on its way to the client.
#[derive(Debug, Clone)]
pub struct Problem {
    pub code: Code,
    /// One sentence for a person. Never what the database or the host said.
    pub detail: String,
    pub errors: Vec<FieldError>,
    /// Seconds, for `Retry-After`.
    pub retry_after: Option<u64>,
    /// The transaction met another one and was undone: running it again may well work.
    pub(crate) transient: bool,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Problem { code, detail: detail.into(), errors: Vec::new(), retry_after: None, transient: false }
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

    /// 404 for a thing that does not exist, or is none of the caller's business.
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("There is no such {what}"))
    }

    /// 503. The cause goes to the log, not to the client.
    pub fn unavailable() -> Self {
        Self::new(Code::Unavailable, "A part of the shop does not answer; try again shortly").with_retry_after(1)
    }

    /// What another transaction changed meanwhile: [`crate::mysql::transaction`] starts over, a bounded number of times.
    pub fn conflict() -> Self {
        Problem { transient: true, ..Problem::unavailable() }
    }

    /// 500. The cause goes to the log, not to the client.
    pub fn internal() -> Self {
        Self::new(Code::Internal, "The request could not be handled")
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
        let (status, title) = self.code.meaning();
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

impl IntoResponse for Problem {
    /// Leaves the body to [`crate::serve`], which knows the request's id.
    fn into_response(self) -> Response {
        let mut response = self.code.meaning().0.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The JSON of an error, `application/problem+json` (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Where the code is explained.
    r#type: String,
    title: String,
    status: u16,
    detail: String,
    code: Code,
    request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    errors: Option<Vec<FieldError>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_one_name() {
        for code in [Code::BodyTooLarge, Code::IdempotencyInProgress, Code::NotFound, Code::UnsupportedMediaType] {
            assert_eq!(serde_json::to_value(code).unwrap(), code.name());
        }
    }
}
