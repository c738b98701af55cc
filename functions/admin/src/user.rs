//! `/api/admin/user`

use accounts::{Account, Profile, account, profile, session};
use axum::Json as Reply;
use i18n::Locale;
use kit::{
    Code, Problem, Result, Timestamp, UserId,
    auth::Role,
    extract::{Json, Path, Query},
    mysql::{self, Transaction},
    pagination::{Page, PageQuery},
    permissions::{Permission, Permissions, USERS_WRITE},
    staff::Staff,
    validate::Validator,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// What the username starts with.
    #[param(max_length = 32)]
    username: Option<String>,
    /// Only users with this role.
    #[param(inline)]
    role: Option<Role>,
}

/// List users
///
/// Newest first.
#[utoipa::path(
    get, operation_id = "users", path = "/api/admin/user", tag = "staff", security(("bearer" = [])),
    params(Filter, PageQuery),
    responses(
        (status = 200, body = Page<Profile>),
        (status = 403, description = "`forbidden`"),
        (status = 422, description = "`invalid`"),
    )
)]
pub async fn list(
    _: Staff<USERS_WRITE>,
    Query(filter): Query<Filter>,
    Query(page): Query<PageQuery>,
) -> Result<Reply<Page<Profile>>> {
    let prefix = filter.username.unwrap_or_default();
    Validator::new().text("username", &prefix, 0, 32).finish()?;
    profile::list(&mut mysql::connection().await?, &prefix, filter.role, &page).await.map(Reply)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "role": "user", "permissions": ["orders:ship", "orders:refund"] }))]
pub struct NewRole {
    role: Role,
    /// Everything that the user may do from now on. An admin needs no permissions.
    #[serde(default)]
    #[schema(value_type = Vec<Permission>)]
    permissions: Permissions,
}

/// Set a user's role and permissions
///
/// They apply from the user's next login or refresh. If something is taken away, the user's sessions end. Staff who are
/// not admins can grant and revoke only permissions of their own, and can't change admins. Nobody can change their own
/// role, so at least one admin always remains.
#[utoipa::path(
    put, path = "/api/admin/user/{user_id}/role", tag = "staff", security(("bearer" = [])),
    params(("user_id" = UserId, Path)),
    request_body = NewRole,
    responses(
        (status = 200, body = Profile),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn set_role(
    staff: Staff<USERS_WRITE>,
    Path(user_id): Path<UserId>,
    Json(new): Json<NewRole>,
) -> Result<Reply<Profile>> {
    if user_id == staff.user.id {
        return Err(forbidden("You can't change your own role"));
    }
    let profile = mysql::transaction(async |tx| {
        let (actor, user) = lock_both(tx, staff.user.id, user_id).await?;
        authorize(&actor, &user)?;
        authorize_role(&actor, &user, &new)?;
        let before = profile::get(tx, user_id, Locale::default()).await?;
        account::set_role(tx, user_id, new.role, new.permissions).await?;
        if revokes_something(&user, &new) {
            session::end_all(tx, user_id, None).await?;
        }
        let after = profile::get(tx, user_id, Locale::default()).await?;
        staff.record(tx, "user.role", user_id, &before, &after).await?;
        Ok(after)
    });
    profile.await.map(Reply)
}

/// Locks two users in the order of their ids, so that two staff who change each other at the same time don't deadlock.
async fn lock_both(tx: &mut Transaction, actor: UserId, user: UserId) -> Result<(Account, Account)> {
    if actor < user {
        let actor = account::lock(tx, actor).await?;
        return Ok((actor, account::lock(tx, user).await?));
    }
    let user = account::lock(tx, user).await?;
    Ok((account::lock(tx, actor).await?, user))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "reason": "Sold stolen coupons" }))]
pub struct SuspensionReason {
    #[schema(min_length = 1, max_length = 200)]
    reason: String,
}

/// Suspend a user
///
/// All sessions of the user end, and they can't sign in until they are unsuspended. Only an admin can suspend an admin, and
/// nobody themselves. The reason is in the audit log.
#[utoipa::path(
    post, operation_id = "suspend_user", path = "/api/admin/user/{user_id}/suspend", tag = "staff",
    security(("bearer" = [])),
    params(("user_id" = UserId, Path)),
    request_body = SuspensionReason,
    responses(
        (status = 200, body = Profile),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn suspend(
    staff: Staff<USERS_WRITE>,
    Path(user_id): Path<UserId>,
    Json(given): Json<SuspensionReason>,
) -> Result<Reply<Profile>> {
    set_suspended(&staff, user_id, &given, true).await.map(Reply)
}

/// Let a suspended user sign in again
///
/// The reason is in the audit log.
#[utoipa::path(
    post, operation_id = "unsuspend_user", path = "/api/admin/user/{user_id}/unsuspend", tag = "staff",
    security(("bearer" = [])),
    params(("user_id" = UserId, Path)),
    request_body = SuspensionReason,
    responses(
        (status = 200, body = Profile),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn unsuspend(
    staff: Staff<USERS_WRITE>,
    Path(user_id): Path<UserId>,
    Json(given): Json<SuspensionReason>,
) -> Result<Reply<Profile>> {
    set_suspended(&staff, user_id, &given, false).await.map(Reply)
}

/// A suspension in the audit log.
#[derive(Serialize)]
struct Suspension<'a> {
    suspended_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

async fn set_suspended(
    staff: &Staff<USERS_WRITE>,
    user_id: UserId,
    given: &SuspensionReason,
    suspended: bool,
) -> Result<Profile> {
    Validator::new().text("reason", &given.reason, 1, 200).finish()?;
    if user_id == staff.user.id {
        return Err(forbidden("You can't suspend yourself"));
    }
    mysql::transaction(async |tx| {
        let (actor, user) = lock_both(tx, staff.user.id, user_id).await?;
        authorize(&actor, &user)?;
        if actor.role() != Role::Admin && !actor.permissions().contains(user.permissions()) {
            return Err(forbidden("You can suspend only users who have no permissions but yours"));
        }
        if user.suspended_at.is_some() != suspended {
            account::set_suspended(tx, user_id, suspended).await?;
        }
        if suspended {
            session::end_all(tx, user_id, None).await?;
        }
        let after = profile::get(tx, user_id, Locale::default()).await?;
        let before = Suspension { suspended_at: user.suspended_at, reason: None };
        let new = Suspension { suspended_at: after.suspended_at, reason: Some(&given.reason) };
        let action = if suspended { "user.suspend" } else { "user.unsuspend" };
        staff.record(tx, action, user_id, before, new).await?;
        Ok(after)
    })
    .await
}

/// 403 unless the actor may still change this user: the token may be outdated.
fn authorize(actor: &Account, user: &Account) -> Result<()> {
    if actor.role() == Role::Admin {
        return Ok(());
    }
    if !actor.permissions().contains(vec![Permission::UsersWrite].into()) {
        return Err(forbidden("You no longer have the permission for this"));
    }
    match user.role() {
        Role::Admin => Err(forbidden("Only an admin can change an admin")),
        Role::User => Ok(()),
    }
}

/// 403 unless the actor may give the user this role.
fn authorize_role(actor: &Account, user: &Account, new: &NewRole) -> Result<()> {
    if actor.role() == Role::Admin {
        return Ok(());
    }
    if new.role == Role::Admin {
        return Err(forbidden("Only an admin can make somebody an admin"));
    }
    match actor.permissions().contains(user.permissions().symmetric_difference(new.permissions)) {
        true => Ok(()),
        false => Err(forbidden("You can grant and revoke only permissions that you have yourself")),
    }
}

fn revokes_something(user: &Account, new: &NewRole) -> bool {
    user.role() == Role::Admin && new.role != Role::Admin || !new.permissions.contains(user.permissions())
}

fn forbidden(detail: &str) -> Problem {
    Problem::new(Code::Forbidden, detail)
}
