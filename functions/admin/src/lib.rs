//! Users as the staff see them, their roles, permissions and suspensions, and the audit log.

mod audit;
mod user;

use axum::{
    Router,
    routing::{get, post, put},
};
use utoipa::OpenApi;

kit::function!(router);

pub fn router() -> Router {
    Router::new()
        .route("/api/admin/user", get(user::list))
        .route("/api/admin/user/{user_id}/role", put(user::set_role))
        .route("/api/admin/user/{user_id}/suspend", post(user::suspend))
        .route("/api/admin/user/{user_id}/unsuspend", post(user::unsuspend))
        .route("/api/admin/audit", get(audit::list))
}

#[derive(OpenApi)]
#[openapi(paths(user::list, user::set_role, user::suspend, user::unsuspend, audit::list))]
pub struct Api;
