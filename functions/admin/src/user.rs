//! `/api/admin/user`

use accounts::{
    Account, Profile, lock,
    profile::{COLUMNS, ProfileRow},
    session,
};
use axum::Json as Reply;
use kit::{
    Code, Problem, Result,
    auth::Role,
    check::Checks,
    extract::{Json, Path, Query},
    mysql,
    page::{Page, PageQuery},
    params,
    staff::{Permission, Permissions, Staff, USERS_WRITE},
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// What the user name begins with.
    #[param(max_length = 32)]
    username: Option<String>,
    /// Only those with this role.
    #[param(inline)]
    role: Option<Role>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Users, the newest first
#[utoipa::path(
    get, operation_id = "users", path = "/api/admin/user", tag = "staff", security(("bearer" = [])), params(Filter),
    responses(
        (status = 200, body = Page<Profile>),
        (status = 403, description = "`forbidden`"),
        (status = 422, description = "`invalid`"),
    )
)]
pub async fn list(_: Staff<USERS_WRITE>, Query(filter): Query<Filter>) -> Result<Reply<Page<Profile>>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM users
         WHERE id < ? AND username LIKE ? AND (? = '' OR role = ?) ORDER BY id DESC LIMIT ?"
    );
    let page = PageQuery { limit: filter.limit, cursor: filter.cursor };
    let (limit, before) = (page.limit()?, page.cursor::<i64>()?.unwrap_or(i64::MAX));
    let start = filter.username.unwrap_or_default();
    Checks::new().text("username", &start, 0, 32).done()?;
    let start = format!("{}%", start.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"));
    let role = filter.role.map_or("", Role::name);
    let values = params![before, start, role, role, i64::from(limit).saturating_add(1)];
    let rows = mysql::connection().await?.query::<ProfileRow>(&sql, values).await?;
    Ok(Reply(Page::new(rows.into_iter().map(Profile::from).collect(), limit, |profile: &Profile| profile.user_id)))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRole {
    role: Role,
    /// All that the user may do from now on; an admin needs none.
    #[serde(default)]
    #[schema(value_type = Vec<Permission>)]
    permissions: Permissions,
}

/// Say what a user may do
///
/// The user has it from the next sign-in or refresh on; if something is taken away, their sessions end. Who is no admin
/// can pass on and take away what they may do themselves, and can't touch admins. Nobody changes their own role, so that
/// one admin always remains.
#[utoipa::path(
    put, path = "/api/admin/user/{user_id}/role", tag = "staff", security(("bearer" = [])),
    params(("user_id" = i64, Path)),
    request_body = NewRole,
    responses(
        (status = 200, body = Profile),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn set_role(
    staff: Staff<USERS_WRITE>,
    Path(user_id): Path<i64>,
    Json(new): Json<NewRole>,
) -> Result<Reply<Profile>> {
    const UPDATE: &str = "UPDATE users SET role = ?, permissions = ? WHERE id = ?";
    if user_id == staff.user.id {
        return Err(forbidden("Somebody else has to change your role"));
    }
    let member = mysql::transaction(async |tx| {
        // In the order of their ids, so that two who change one another don't wait in a circle.
        let (first, second) = (staff.user.id.min(user_id), staff.user.id.max(user_id));
        let (first, second) = (lock(tx, first).await?, lock(tx, second).await?);
        let (actor, user) = if first.id == user_id { (second, first) } else { (first, second) };
        check(&actor, &user, &new)?;
        let before = Profile::read(tx, user_id).await?;
        tx.execute(UPDATE, params![new.role.name(), i64::from(new.permissions.bits()), user_id]).await?;
        let is_less =
            user.role() == Role::Admin && new.role != Role::Admin || !new.permissions.contain(user.permissions());
        if is_less {
            session::end_all(tx, user_id, None).await?;
        }
        let after = Profile::read(tx, user_id).await?;
        staff.record(tx, "user.role", user_id, &before, &after).await?;
        Ok(after)
    });
    member.await.map(Reply)
}

/// What the actor's token says may be old: this is what they are now.
fn check(actor: &Account, user: &Account, new: &NewRole) -> Result<()> {
    if actor.role() == Role::Admin {
        return Ok(());
    }
    let has = actor.permissions();
    if !has.contain(vec![Permission::UsersWrite].into()) {
        return Err(forbidden("You may not do this any more"));
    }
    if user.role() == Role::Admin || new.role == Role::Admin {
        return Err(forbidden("Only an admin makes admins, or changes one"));
    }
    match has.contain(user.permissions().difference(new.permissions)) {
        true => Ok(()),
        false => Err(forbidden("You can only pass on and take away what you may do yourself")),
    }
}

fn forbidden(detail: &str) -> Problem {
    Problem::new(Code::Forbidden, detail)
}
