//! Promotions: what is taken off for everybody.

use axum::Json as Reply;
use http::StatusCode;
use kit::{
    Problem, Result, Timestamp,
    check::Checks,
    extract::{Json, Path, Query},
    mysql::{self, Connection},
    page::{Page, PageQuery},
    params, row,
    staff::{PRICING_WRITE, Staff},
};
use ordering::Rule;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::terms;

const MAX_PRIORITY: i64 = 1000;

row! {
    #[derive(Debug, Serialize, ToSchema)]
    pub struct Promotion {
        promotion_id: i64,
        name: String,
        rule: Rule,
        exclusive: bool,
        priority: i64,
        #[schema(required)]
        starts_at: Option<Timestamp>,
        #[schema(required)]
        ends_at: Option<Timestamp>,
        created_at: Timestamp,
        updated_at: Timestamp,
    }
}

/// A promotion as it is to be. What is left out has its default.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPromotion {
    /// For the shopper.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    rule: Rule,
    /// Suffers no other promotion beside it: the shopper gets it, or all that are not exclusive, whichever takes off more.
    #[serde(default)]
    exclusive: bool,
    /// The lowest goes first, then the lowest id; each works on what those before it have left.
    #[serde(default)]
    #[schema(minimum = -1000, maximum = 1000)]
    priority: i64,
    /// At once unless said.
    starts_at: Option<Timestamp>,
    /// Never unless said.
    ends_at: Option<Timestamp>,
}

impl NewPromotion {
    fn check(&self) -> Result<()> {
        let mut checks = Checks::new();
        terms::check(&mut checks, &self.name, &self.rule, self.starts_at, self.ends_at);
        checks.number("priority", self.priority, -MAX_PRIORITY, MAX_PRIORITY).done()
    }
}

const SELECT: &str = "
    SELECT id AS promotion_id, name, rule, exclusive, priority, starts_at, ends_at, created_at, updated_at
    FROM promotions";

async fn find(db: &mut Connection, promotion_id: i64, lock: &str) -> Result<Promotion> {
    let row = db.query_one(&format!("{SELECT} WHERE id = ? {lock}"), params![promotion_id]).await?;
    row.ok_or_else(|| Problem::not_found("promotion"))
}

/// All promotions, newest first
#[utoipa::path(
    get, operation_id = "list_promotions", path = "/api/admin/promotion", tag = "promotions",
    security(("bearer" = [])), params(PageQuery),
    responses(
        (status = 200, body = Page<Promotion>),
        (status = 403, description = "`forbidden`"),
        (status = 422, description = "`invalid`"),
    )
)]
pub async fn list(_: Staff<PRICING_WRITE>, Query(page): Query<PageQuery>) -> Result<Reply<Page<Promotion>>> {
    let (limit, before) = (page.limit()?, page.cursor::<i64>()?.unwrap_or(i64::MAX));
    let sql = format!("{SELECT} WHERE id < ? ORDER BY id DESC LIMIT ?");
    let values = params![before, i64::from(limit).saturating_add(1)];
    let rows = mysql::connection().await?.query(&sql, values).await?;
    Ok(Reply(Page::new(rows, limit, |promotion: &Promotion| promotion.promotion_id)))
}

/// Look at a promotion
#[utoipa::path(
    get, operation_id = "show_promotion", path = "/api/admin/promotion/{promotion_id}", tag = "promotions",
    security(("bearer" = [])), params(("promotion_id" = i64, Path)),
    responses(
        (status = 200, body = Promotion),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn show(_: Staff<PRICING_WRITE>, Path(promotion_id): Path<i64>) -> Result<Reply<Promotion>> {
    find(&mut mysql::connection().await?, promotion_id, "").await.map(Reply)
}

/// Set up a promotion
///
/// Carts show it within a second.
#[utoipa::path(
    post, operation_id = "create_promotion", path = "/api/admin/promotion", tag = "promotions",
    security(("bearer" = [])), request_body = NewPromotion,
    responses((status = 201, body = Promotion), (status = 403, description = "`forbidden`"))
)]
pub async fn create(
    staff: Staff<PRICING_WRITE>,
    Json(new): Json<NewPromotion>,
) -> Result<(StatusCode, Reply<Promotion>)> {
    const INSERT: &str = "
        INSERT INTO promotions (name, rule, exclusive, priority, starts_at, ends_at, created_at, updated_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    new.check()?;
    let rule = new.rule.to_json()?;
    let promotion = mysql::transaction(async |tx| {
        terms::check_scope(tx, &new.rule).await?;
        let now = Timestamp::now();
        let values = params![&new.name, &rule, new.exclusive, new.priority, new.starts_at, new.ends_at, now, now];
        tx.execute(INSERT, values).await?;
        let promotion_id = tx.last_insert_id().await?;
        let promotion = find(tx, promotion_id, "").await?;
        staff.record(tx, "promotion.create", promotion_id, (), &promotion).await?;
        Ok(promotion)
    })
    .await?;
    Ok((StatusCode::CREATED, Reply(promotion)))
}

/// Replace a promotion
///
/// The whole of it. Orders keep what they were placed with.
#[utoipa::path(
    put, operation_id = "update_promotion", path = "/api/admin/promotion/{promotion_id}", tag = "promotions",
    security(("bearer" = [])), params(("promotion_id" = i64, Path)), request_body = NewPromotion,
    responses(
        (status = 200, body = Promotion),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn update(
    staff: Staff<PRICING_WRITE>,
    Path(promotion_id): Path<i64>,
    Json(new): Json<NewPromotion>,
) -> Result<Reply<Promotion>> {
    const UPDATE: &str = "
        UPDATE promotions SET name = ?, rule = ?, exclusive = ?, priority = ?, starts_at = ?, ends_at = ?, updated_at = ?
        WHERE id = ?";
    new.check()?;
    let rule = new.rule.to_json()?;
    let promotion = mysql::transaction(async |tx| {
        let before = find(tx, promotion_id, "FOR UPDATE").await?;
        terms::check_scope(tx, &new.rule).await?;
        let (starts_at, ends_at, now) = (new.starts_at, new.ends_at, Timestamp::now());
        let values = params![&new.name, &rule, new.exclusive, new.priority, starts_at, ends_at, now, promotion_id];
        tx.execute(UPDATE, values).await?;
        let after = find(tx, promotion_id, "").await?;
        staff.record(tx, "promotion.update", promotion_id, before, &after).await?;
        Ok(after)
    });
    promotion.await.map(Reply)
}

/// End a promotion for good
///
/// Orders keep what they were placed with.
#[utoipa::path(
    delete, operation_id = "remove_promotion", path = "/api/admin/promotion/{promotion_id}", tag = "promotions",
    security(("bearer" = [])), params(("promotion_id" = i64, Path)),
    responses(
        (status = 204),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn remove(staff: Staff<PRICING_WRITE>, Path(promotion_id): Path<i64>) -> Result<StatusCode> {
    const DELETE: &str = "DELETE FROM promotions WHERE id = ?";
    mysql::transaction(async |tx| {
        let before = find(tx, promotion_id, "FOR UPDATE").await?;
        tx.execute(DELETE, params![promotion_id]).await?;
        staff.record(tx, "promotion.remove", promotion_id, before, ()).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
