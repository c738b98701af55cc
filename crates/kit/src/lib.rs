//! What all functions share: HTTP replies and errors, authentication, MySQL, Redis, jobs, idempotency, rate limits,
//! configuration, logs.

pub mod audit;
pub mod auth;
pub mod base64url;
pub mod config;
mod context;
pub mod extract;
mod http;
pub mod idempotency;
mod ids;
pub mod jobs;
mod jwt;
pub mod log;
mod money;
pub mod mysql;
pub mod pagination;
pub mod password;
pub mod permissions;
mod problem;
pub mod random;
pub mod rate_limit;
pub mod redis;
pub mod single_flight;
pub mod staff;
mod time;
pub mod validate;
mod write_check;

pub use auth::User;
pub use context::Context;
pub use http::{SpinResponse, serve, with_defaults};
pub use ids::{
    ActivityId, AddressId, CategoryId, CouponId, IdentityId, InvalidId, InvalidNumber, OrderNo, PaymentNo, ProductId,
    PromotionId, SessionId, UserId,
};
pub use money::Cents;
pub use problem::{Code, FieldError, Problem, ProblemBody};
pub use time::Timestamp;
pub use write_check::{limit_writes, session_ended};

/// What a handler returns.
pub type Result<T, E = Problem> = std::result::Result<T, E>;

/// Makes the routes of a `fn router() -> axum::Router` the component's HTTP handler. The router is built once per
/// instance.
#[macro_export]
macro_rules! function {
    ($router:path) => {
        #[cfg(target_family = "wasm")]
        #[spin_sdk::http_service]
        async fn handle(request: spin_sdk::http::Request) -> impl spin_sdk::http::IntoResponse {
            static ROUTER: std::sync::OnceLock<axum::Router> = std::sync::OnceLock::new();
            $crate::serve(
                env!("CARGO_PKG_NAME"),
                ROUTER.get_or_init(|| $crate::with_defaults($router())).clone(),
                request,
            )
            .await
        }
    };
}
