//! The coupons that a user has.

use axum::Json as Reply;
use http::StatusCode;
use kit::{
    Result, User,
    extract::{Path, Query},
    mysql,
    pagination::{Page, PageQuery},
};
use ordering::{
    coupon,
    wallet::{self, UserCoupon},
};

/// List my coupons
///
/// Newest first: those that I have claimed and those that my orders have redeemed.
#[utoipa::path(
    get, operation_id = "wallet", path = "/api/user/coupon", tag = "promotions", security(("bearer" = [])),
    params(PageQuery),
    responses((status = 200, body = Page<UserCoupon>), (status = 422, description = "`invalid`"))
)]
pub async fn list(user: User, Query(page): Query<PageQuery>) -> Result<Reply<Page<UserCoupon>>> {
    wallet::list(&mut mysql::connection().await?, user.id, &page).await.map(Reply)
}

/// Claim a coupon
///
/// It is then reserved for the user. A coupon that has not been claimed is claimed by the order that redeems it.
#[utoipa::path(
    post, path = "/api/user/coupon/{code}/claim", tag = "promotions", security(("bearer" = [])),
    params(("code" = String, Path, min_length = 1, max_length = 32, pattern = "^[A-Za-z0-9_-]+$", example = "WELCOME10")),
    responses(
        (status = 201, body = UserCoupon),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`coupon_invalid`"),
    )
)]
pub async fn claim(user: User, Path(code): Path<String>) -> Result<(StatusCode, Reply<UserCoupon>)> {
    let claimed = mysql::transaction(async |tx| {
        let id = coupon::claim(tx, user.id, &code).await?;
        wallet::find(tx, user.id, id).await
    });
    Ok((StatusCode::CREATED, Reply(claimed.await?)))
}
