//! `/api/admin/promotion`

use axum::Json as Reply;
use http::StatusCode;
use kit::{
    PromotionId, Result,
    extract::{Json, Path, Query},
    mysql,
    pagination::{Page, PageQuery},
    permissions::PRICING_WRITE,
    staff::Staff,
};
use ordering::promotion::{self, NewPromotion, Promotion};

/// List all promotions
///
/// Newest first.
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
    promotion::list(&mut mysql::connection().await?, &page).await.map(Reply)
}

/// Get a promotion
///
/// Also one that has not started, or is over.
#[utoipa::path(
    get, operation_id = "show_promotion", path = "/api/admin/promotion/{promotion_id}", tag = "promotions",
    security(("bearer" = [])), params(("promotion_id" = PromotionId, Path)),
    responses(
        (status = 200, body = Promotion),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn show(_: Staff<PRICING_WRITE>, Path(promotion_id): Path<PromotionId>) -> Result<Reply<Promotion>> {
    promotion::find(&mut mysql::connection().await?, promotion_id).await.map(Reply)
}

/// Create a promotion
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
    new.check()?;
    let promotion = mysql::transaction(async |tx| {
        let promotion = promotion::insert(tx, &new).await?;
        staff.record(tx, "promotion.create", promotion.promotion_id, (), &promotion).await?;
        Ok(promotion)
    });
    Ok((StatusCode::CREATED, Reply(promotion.await?)))
}

/// Replace a promotion
///
/// Orders keep their discounts.
#[utoipa::path(
    put, operation_id = "update_promotion", path = "/api/admin/promotion/{promotion_id}", tag = "promotions",
    security(("bearer" = [])), params(("promotion_id" = PromotionId, Path)), request_body = NewPromotion,
    responses(
        (status = 200, body = Promotion),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn update(
    staff: Staff<PRICING_WRITE>,
    Path(promotion_id): Path<PromotionId>,
    Json(new): Json<NewPromotion>,
) -> Result<Reply<Promotion>> {
    new.check()?;
    let promotion = mysql::transaction(async |tx| {
        let (before, after) = promotion::update(tx, promotion_id, &new).await?;
        staff.record(tx, "promotion.update", promotion_id, before, &after).await?;
        Ok(after)
    });
    promotion.await.map(Reply)
}

/// Remove a promotion
///
/// Orders keep their discounts.
#[utoipa::path(
    delete, operation_id = "remove_promotion", path = "/api/admin/promotion/{promotion_id}", tag = "promotions",
    security(("bearer" = [])), params(("promotion_id" = PromotionId, Path)),
    responses(
        (status = 204),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn remove(staff: Staff<PRICING_WRITE>, Path(promotion_id): Path<PromotionId>) -> Result<StatusCode> {
    mysql::transaction(async |tx| {
        let before = promotion::remove(tx, promotion_id).await?;
        staff.record(tx, "promotion.remove", promotion_id, before, ()).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
