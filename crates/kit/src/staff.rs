//! The extractor [`Staff`], for endpoints that need a permission.

use std::fmt::Display;

use axum::extract::FromRequestParts;
use http::{Method, request::Parts};
use serde::Serialize;

use crate::{
    Code, Context, Problem, Result, audit,
    auth::{self, User},
    mysql::Transaction,
    session_ended,
};

/// An admin, or a user who has at least one of the permissions whose bits are set. As an extractor it rejects with 401
/// if nobody is signed in or the session has ended, for reads, too, and with 403 without a permission.
pub struct Staff<const PERMISSIONS: u8> {
    pub user: User,
    context: Context,
}

impl<S: Sync, const PERMISSIONS: u8> FromRequestParts<S> for Staff<PERMISSIONS> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let user = User::from_request_parts(parts, state).await?;
        if !user.may(PERMISSIONS) {
            return Err(Problem::new(Code::Forbidden, "You do not have the permission for this"));
        }
        // `User` has asked for all other methods.
        if matches!(parts.method, Method::GET | Method::HEAD) && auth::has_ended(user.session_id).await? {
            return Err(session_ended());
        }
        let context = parts.extensions.get::<Context>().cloned().ok_or_else(Problem::internal)?;
        Ok(Staff { user, context })
    }
}

impl<const PERMISSIONS: u8> Staff<PERMISSIONS> {
    /// Adds an entry to the audit log, in the transaction of the change. `object` is the id of what is changed, such as
    /// `17`; `before` and `after` are its values, `()` where it does not exist.
    pub async fn record(
        &self,
        tx: &mut Transaction,
        action: &str,
        object: impl Display,
        before: impl Serialize,
        after: impl Serialize,
    ) -> Result<()> {
        let change = audit::Change { action, object: object.to_string(), before: json(before)?, after: json(after)? };
        audit::insert(tx, self.user.id, self.context.request_id(), change).await
    }
}

fn json(value: impl Serialize) -> Result<String> {
    serde_json::to_string(&value).map_err(|error| Problem::internal().because(error))
}
