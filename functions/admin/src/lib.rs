//! Users as the staff see them, their roles and permissions, and the audit log.

mod audit;
mod user;

use axum::{
    Router,
    routing::{get, put},
};
use utoipa::OpenApi;

kit::function!(router);

pub fn router() -> Router {
    Router::new()
        .route("/api/admin/user", get(user::list))
        .route("/api/admin/user/{user_id}/role", put(user::set_role))
        .route("/api/admin/audit", get(audit::list))
}

#[derive(OpenApi)]
#[openapi(paths(user::list, user::set_role, audit::list))]
pub struct Api;
