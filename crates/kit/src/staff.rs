//! The extractor [`Staff`], for endpoints that need a permission.

use std::fmt::Display;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
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
pub struct Staff<const PERMISSIONS: u16> {
    pub user: User,
    context: Context,
}

impl<S: Sync, const PERMISSIONS: u16> FromRequestParts<S> for Staff<PERMISSIONS> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let user = <User as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        if !user.may(PERMISSIONS) {
            return Err(Problem::new(Code::Forbidden, "You do not have the permission for this"));
        }
        if session_has_ended(parts, user).await? {
            return Err(session_ended());
        }
        let context = parts.extensions.get::<Context>().cloned().ok_or_else(Problem::internal)?;
        Ok(Staff { user, context })
    }
}

/// None for anyone else, and if the session has ended.
impl<S: Sync, const PERMISSIONS: u16> OptionalFromRequestParts<S> for Staff<PERMISSIONS> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>> {
        let user = <User as OptionalFromRequestParts<S>>::from_request_parts(parts, state).await?;
        let Some(user) = user.filter(|user| user.may(PERMISSIONS)) else { return Ok(None) };
        if session_has_ended(parts, user).await? {
            return Ok(None);
        }
        let context = parts.extensions.get::<Context>().cloned().ok_or_else(Problem::internal)?;
        Ok(Some(Staff { user, context }))
    }
}

/// Asks for reads only: [`User`] has asked for all other methods.
async fn session_has_ended(parts: &Parts, user: User) -> Result<bool> {
    let is_read = matches!(parts.method, Method::GET | Method::HEAD);
    Ok(is_read && auth::has_ended(user.session_id).await?)
}

impl<const PERMISSIONS: u16> Staff<PERMISSIONS> {
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
