//! The extractor [`Staff`], for endpoints that need a permission.

use std::fmt::Display;

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::Serialize;

use crate::{Code, Context, Problem, Result, audit, auth::User, mysql::Transaction};

/// An admin, or a user who has at least one of the permissions whose bits are set. As an extractor it rejects with 401
/// if nobody is signed in, and with 403 without a permission.
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
