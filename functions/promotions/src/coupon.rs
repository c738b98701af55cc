//! `/api/admin/coupon`

use axum::Json as Reply;
use http::StatusCode;
use kit::{
    CouponId, Result,
    extract::{Json, Path, Query},
    mysql,
    pagination::{Page, PageQuery},
    permissions::PRICING_WRITE,
    staff::Staff,
};
use ordering::coupon::{self, Coupon, NewCoupon};

/// List all coupons
///
/// Newest first.
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
    coupon::list(&mut mysql::connection().await?, &page).await.map(Reply)
}

/// Get a coupon
///
/// `taken` is how many have been claimed or redeemed.
#[utoipa::path(
    get, operation_id = "show_coupon", path = "/api/admin/coupon/{coupon_id}", tag = "promotions",
    security(("bearer" = [])), params(("coupon_id" = CouponId, Path)),
    responses(
        (status = 200, body = Coupon),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn show(_: Staff<PRICING_WRITE>, Path(coupon_id): Path<CouponId>) -> Result<Reply<Coupon>> {
    coupon::find(&mut mysql::connection().await?, coupon_id).await.map(Reply)
}

/// Create a coupon
///
/// No two coupons have the same code.
#[utoipa::path(
    post, operation_id = "create_coupon", path = "/api/admin/coupon", tag = "promotions",
    security(("bearer" = [])), request_body = NewCoupon,
    responses((status = 201, body = Coupon), (status = 403, description = "`forbidden`"))
)]
pub async fn create(staff: Staff<PRICING_WRITE>, Json(new): Json<NewCoupon>) -> Result<(StatusCode, Reply<Coupon>)> {
    new.check()?;
    let coupon = mysql::transaction(async |tx| {
        let coupon = coupon::insert(tx, &new).await?;
        staff.record(tx, "coupon.create", coupon.coupon_id, (), &coupon).await?;
        Ok(coupon)
    });
    Ok((StatusCode::CREATED, Reply(coupon.await?)))
}

/// Replace a coupon
///
/// Users who have claimed it have the new one. A limit below the number that is already taken stops further claims.
#[utoipa::path(
    put, operation_id = "update_coupon", path = "/api/admin/coupon/{coupon_id}", tag = "promotions",
    security(("bearer" = [])), params(("coupon_id" = CouponId, Path)), request_body = NewCoupon,
    responses(
        (status = 200, body = Coupon),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn update(
    staff: Staff<PRICING_WRITE>,
    Path(coupon_id): Path<CouponId>,
    Json(new): Json<NewCoupon>,
) -> Result<Reply<Coupon>> {
    new.check()?;
    let coupon = mysql::transaction(async |tx| {
        let (before, after) = coupon::update(tx, coupon_id, &new).await?;
        staff.record(tx, "coupon.update", coupon_id, before, &after).await?;
        Ok(after)
    });
    coupon.await.map(Reply)
}

/// Withdraw a coupon
///
/// Users who have claimed it can't redeem it any more; orders keep their discounts. The code is free again.
#[utoipa::path(
    delete, operation_id = "remove_coupon", path = "/api/admin/coupon/{coupon_id}", tag = "promotions",
    security(("bearer" = [])), params(("coupon_id" = CouponId, Path)),
    responses(
        (status = 204),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn remove(staff: Staff<PRICING_WRITE>, Path(coupon_id): Path<CouponId>) -> Result<StatusCode> {
    mysql::transaction(async |tx| {
        let before = coupon::withdraw(tx, coupon_id).await?;
        staff.record(tx, "coupon.remove", coupon_id, before, ()).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
