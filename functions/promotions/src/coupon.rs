//! Coupons: what is taken off for those who name a code.

use axum::Json as Reply;
use http::StatusCode;
use kit::{
    Problem, Result, Timestamp,
    check::Checks,
    extract::{Json, Path, Query},
    mysql::{self, Connection, Error},
    page::{Page, PageQuery},
    params, row,
    staff::{PRICING_WRITE, Staff},
};
use ordering::{Rule, coupon::normal};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::terms;

const MAX_TOTAL: i64 = 1_000_000_000;
const MAX_PER_USER: i64 = 1000;

row! {
    #[derive(Debug, Serialize, ToSchema)]
    pub struct Coupon {
        coupon_id: i64,
        code: String,
        name: String,
        rule: Rule,
        /// Null is no limit.
        #[schema(required)]
        total_limit: Option<i64>,
        per_user_limit: i64,
        /// How many were claimed or used, and not given back.
        taken: i64,
        #[schema(required)]
        starts_at: Option<Timestamp>,
        #[schema(required)]
        ends_at: Option<Timestamp>,
        created_at: Timestamp,
        updated_at: Timestamp,
    }
}

/// A coupon as it is to be. What is left out has its default.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCoupon {
    /// Letters, digits, `-` and `_` of ASCII, in any case: it is kept in capitals.
    #[schema(min_length = 1, max_length = 32)]
    code: String,
    /// For the shopper.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    rule: Rule,
    /// How many there are; no limit unless said.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    total_limit: Option<i64>,
    /// How many one user may have; 1 unless said.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 1000)]
    per_user_limit: i64,
    /// At once unless said.
    starts_at: Option<Timestamp>,
    /// Never unless said.
    ends_at: Option<Timestamp>,
}

fn one() -> i64 {
    1
}

impl NewCoupon {
    /// The code as it is kept.
    fn check(&self) -> Result<String> {
        let code = normal(&self.code);
        let mut checks = Checks::new();
        checks.that(code.is_some(), "code", "must be 1 to 32 letters, digits, - or _ of ASCII");
        terms::check(&mut checks, &self.name, &self.rule, self.starts_at, self.ends_at);
        checks.number("total_limit", self.total_limit.unwrap_or(1), 1, MAX_TOTAL);
        checks.number("per_user_limit", self.per_user_limit, 1, MAX_PER_USER).done()?;
        Ok(code.unwrap_or_default())
    }
}

/// A code is one coupon's.
fn written(result: Result<(), Error>) -> Result<()> {
    match result {
        Err(Error::Duplicate { .. }) => Err(Problem::invalid("code", "is another coupon's")),
        other => Ok(other?),
    }
}

/// Those that were not withdrawn.
const SELECT: &str = "
    SELECT id AS coupon_id, code, name, rule, total_limit, per_user_limit, taken, starts_at, ends_at, created_at,
           updated_at
    FROM coupons WHERE code IS NOT NULL";

async fn find(db: &mut Connection, coupon_id: i64, lock: &str) -> Result<Coupon> {
    let row = db.query_one(&format!("{SELECT} AND id = ? {lock}"), params![coupon_id]).await?;
    row.ok_or_else(|| Problem::not_found("coupon"))
}

/// All coupons, newest first
#[utoipa::path(
    get, operation_id = "list_coupons", path = "/api/admin/coupon", tag = "promotions",
    security(("bearer" = [])), params(PageQuery),
    responses(
        (status = 200, body = Page<Coupon>),
        (status = 403, description = "`forbidden`"),
        (status = 422, description = "`invalid`"),
    )
)]
pub async fn list(_: Staff<PRICING_WRITE>, Query(page): Query<PageQuery>) -> Result<Reply<Page<Coupon>>> {
    let (limit, before) = (page.limit()?, page.cursor::<i64>()?.unwrap_or(i64::MAX));
    let sql = format!("{SELECT} AND id < ? ORDER BY id DESC LIMIT ?");
    let values = params![before, i64::from(limit).saturating_add(1)];
    let rows = mysql::connection().await?.query(&sql, values).await?;
    Ok(Reply(Page::new(rows, limit, |coupon: &Coupon| coupon.coupon_id)))
}

/// Look at a coupon
#[utoipa::path(
    get, operation_id = "show_coupon", path = "/api/admin/coupon/{coupon_id}", tag = "promotions",
    security(("bearer" = [])), params(("coupon_id" = i64, Path)),
    responses(
        (status = 200, body = Coupon),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn show(_: Staff<PRICING_WRITE>, Path(coupon_id): Path<i64>) -> Result<Reply<Coupon>> {
    find(&mut mysql::connection().await?, coupon_id, "").await.map(Reply)
}

/// Set up a coupon
#[utoipa::path(
    post, operation_id = "create_coupon", path = "/api/admin/coupon", tag = "promotions",
    security(("bearer" = [])), request_body = NewCoupon,
    responses((status = 201, body = Coupon), (status = 403, description = "`forbidden`"))
)]
pub async fn create(staff: Staff<PRICING_WRITE>, Json(new): Json<NewCoupon>) -> Result<(StatusCode, Reply<Coupon>)> {
    const INSERT: &str = "
        INSERT INTO coupons (code, name, rule, total_limit, per_user_limit, starts_at, ends_at, created_at, updated_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let code = new.check()?;
    let rule = new.rule.to_json()?;
    let coupon = mysql::transaction(async |tx| {
        terms::check_scope(tx, &new.rule).await?;
        let (starts_at, ends_at, now) = (new.starts_at, new.ends_at, Timestamp::now());
        let limits = params![new.total_limit, new.per_user_limit];
        let values = [params![&code, &new.name, &rule], limits, params![starts_at, ends_at, now, now]].concat();
        written(tx.execute(INSERT, values).await)?;
        let coupon_id = tx.last_insert_id().await?;
        let coupon = find(tx, coupon_id, "").await?;
        staff.record(tx, "coupon.create", coupon_id, (), &coupon).await?;
        Ok(coupon)
    })
    .await?;
    Ok((StatusCode::CREATED, Reply(coupon)))
}

/// Replace a coupon
///
/// The whole of it; who has claimed it has what it is now. A limit below what is taken already lets nobody take more.
#[utoipa::path(
    put, operation_id = "update_coupon", path = "/api/admin/coupon/{coupon_id}", tag = "promotions",
    security(("bearer" = [])), params(("coupon_id" = i64, Path)), request_body = NewCoupon,
    responses(
        (status = 200, body = Coupon),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn update(
    staff: Staff<PRICING_WRITE>,
    Path(coupon_id): Path<i64>,
    Json(new): Json<NewCoupon>,
) -> Result<Reply<Coupon>> {
    const UPDATE: &str = "
        UPDATE coupons SET code = ?, name = ?, rule = ?, total_limit = ?, per_user_limit = ?, starts_at = ?, ends_at = ?,
                           updated_at = ?
        WHERE id = ?";
    let code = new.check()?;
    let rule = new.rule.to_json()?;
    let coupon = mysql::transaction(async |tx| {
        let before = find(tx, coupon_id, "FOR UPDATE").await?;
        terms::check_scope(tx, &new.rule).await?;
        let limits = params![new.total_limit, new.per_user_limit];
        let times = params![new.starts_at, new.ends_at, Timestamp::now()];
        let values = [params![&code, &new.name, &rule], limits, times, params![coupon_id]].concat();
        written(tx.execute(UPDATE, values).await)?;
        let after = find(tx, coupon_id, "").await?;
        staff.record(tx, "coupon.update", coupon_id, before, &after).await?;
        Ok(after)
    });
    coupon.await.map(Reply)
}

/// Withdraw a coupon for good
///
/// Those who have claimed it can't use it any more; orders keep what they were placed with. The code is free again.
#[utoipa::path(
    delete, operation_id = "remove_coupon", path = "/api/admin/coupon/{coupon_id}", tag = "promotions",
    security(("bearer" = [])), params(("coupon_id" = i64, Path)),
    responses(
        (status = 204),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn remove(staff: Staff<PRICING_WRITE>, Path(coupon_id): Path<i64>) -> Result<StatusCode> {
    const WITHDRAW: &str = "UPDATE coupons SET code = NULL, updated_at = ? WHERE id = ?";
    mysql::transaction(async |tx| {
        let before = find(tx, coupon_id, "FOR UPDATE").await?;
        tx.execute(WITHDRAW, params![Timestamp::now(), coupon_id]).await?;
        staff.record(tx, "coupon.remove", coupon_id, before, ()).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
