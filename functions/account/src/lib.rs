//! A user's own account: profile, e-mail address, password, identities, addresses, sessions, messages.

mod address;
mod deletion;
mod email;
mod export;
mod identity;
mod message;
mod password;
mod profile;
mod session;

use axum::{
    Router,
    routing::{delete, get, post, put},
};
use utoipa::OpenApi;

kit::function!(router);

pub fn router() -> Router {
    Router::new()
        .route("/api/user", delete(deletion::delete))
        .route("/api/user/export", get(export::export))
        .route("/api/user/profile", get(profile::show).put(profile::update))
        .route("/api/user/email/verify", post(email::verify))
        .route("/api/user/email/resend", post(email::resend))
        .route("/api/user/identity", get(identity::list))
        .route("/api/user/identity/{identity_id}", delete(identity::unlink))
        .route("/api/user/password", put(password::change))
        .route("/api/user/password/forgot", post(password::forgot))
        .route("/api/user/password/reset", post(password::reset))
        .route("/api/user/address", get(address::list).post(address::create))
        .route("/api/user/address/{address_id}", put(address::replace).delete(address::delete))
        .route("/api/user/session", get(session::list).delete(session::end_others))
        .route("/api/user/session/{session_id}", delete(session::end))
        .route("/api/user/message", get(message::list))
}

#[derive(OpenApi)]
#[openapi(paths(
    deletion::delete,
    export::export,
    profile::show,
    profile::update,
    email::verify,
    email::resend,
    identity::list,
    identity::unlink,
    password::change,
    password::forgot,
    password::reset,
    address::list,
    address::create,
    address::replace,
    address::delete,
    session::list,
    session::end,
    session::end_others,
    message::list,
))]
pub struct Api;
