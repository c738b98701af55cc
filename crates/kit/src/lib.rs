//! What every function stands on: HTTP replies and errors, sign-in, MySQL and Redis as Spin lends them, idempotency,
//! rate limits, configuration, logs.

pub mod auth;
pub mod check;
pub mod config;
pub mod extract;
mod http;
pub mod idempotency;
pub mod jobs;
pub mod log;
pub mod mysql;
pub mod opaque;
pub mod page;
pub mod password;
mod problem;
pub mod rate;
pub mod redis;
pub mod staff;
mod time;

pub use auth::User;
pub use http::{Answer, Context, complete, serve};
pub use problem::{Code, FieldError, Problem, ProblemBody};
pub use time::Timestamp;

/// What a handler answers.
pub type Result<T, E = Problem> = std::result::Result<T, E>;

/// Turns a `fn router() -> axum::Router` into the function that Spin calls. The router is built once per instance.
#[macro_export]
macro_rules! function {
    ($router:path) => {
        #[cfg(target_family = "wasm")]
        #[spin_sdk::http_service]
        async fn handle(request: spin_sdk::http::Request) -> impl spin_sdk::http::IntoResponse {
            static ROUTER: std::sync::OnceLock<axum::Router> = std::sync::OnceLock::new();
            $crate::serve(env!("CARGO_PKG_NAME"), ROUTER.get_or_init(|| $crate::complete($router())).clone(), request)
                .await
        }
    };
}
