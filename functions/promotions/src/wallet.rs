//! The coupons that a user has.

use axum::Json as Reply;
use http::StatusCode;
use kit::{
    Result, User,
    extract::{Path, Query},
    mysql,
    page::{Page, PageQuery},
};
use ordering::coupon::{self, UserCoupon};

/// One's own coupons, newest first
///
/// Those that were claimed, and those that orders use.
#[utoipa::path(
    get, operation_id = "wallet", path = "/api/user/coupon", tag = "promotions", security(("bearer" = [])),
    params(PageQuery),
    responses((status = 200, body = Page<UserCoupon>), (status = 422, description = "`invalid`"))
)]
pub async fn list(user: User, Query(page): Query<PageQuery>) -> Result<Reply<Page<UserCoupon>>> {
    coupon::wallet(&mut mysql::connection().await?, user.id, &page).await.map(Reply)
}

/// Claim a coupon
///
/// It is the user's then, whatever others claim. A code that is used without having been claimed is claimed by the order.
#[utoipa::path(
    post, path = "/api/user/coupon/{code}/claim", tag = "promotions", security(("bearer" = [])),
    params(("code" = String, Path)),
    responses(
        (status = 201, body = UserCoupon),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`coupon_invalid`"),
    )
)]
pub async fn claim(user: User, Path(code): Path<String>) -> Result<(StatusCode, Reply<UserCoupon>)> {
    let claimed = mysql::transaction(async |tx| {
        let id = coupon::claim(tx, user.id, &code).await?;
        coupon::owned(tx, user.id, id).await
    });
    Ok((StatusCode::CREATED, Reply(claimed.await?)))
}
