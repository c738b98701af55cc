//! A user's coupons.

use kit::{
    OrderNo, Problem, Result, Timestamp, UserId,
    mysql::Connection,
    pagination::{Page, PageQuery},
    params, row,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::rule::Rule;

/// Whether a user's coupon can be redeemed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CouponState {
    Unused,
    Used,
    Expired,
}

/// A coupon that a user has.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserCoupon {
    #[schema(minimum = 1)]
    pub user_coupon_id: i64,
    /// Null if the shop has withdrawn the coupon.
    #[schema(required, example = "WELCOME10")]
    pub code: Option<String>,
    #[schema(example = "Welcome")]
    pub name: String,
    pub rule: Rule,
    pub state: CouponState,
    /// The order that redeemed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub order_no: Option<OrderNo>,
    #[schema(required)]
    pub starts_at: Option<Timestamp>,
    #[schema(required)]
    pub ends_at: Option<Timestamp>,
    /// Null if the order that redeemed it claimed it.
    #[schema(required)]
    pub claimed_at: Option<Timestamp>,
    #[schema(required)]
    pub used_at: Option<Timestamp>,
}

row! {
    struct WalletRow {
        id: i64 as "u.id",
        code: Option<String> as "c.code",
        name: String as "c.name",
        rule: Rule as "c.rule",
        order_no: Option<OrderNo> as "u.order_no",
        starts_at: Option<Timestamp> as "c.starts_at",
        ends_at: Option<Timestamp> as "c.ends_at",
        claimed_at: Option<Timestamp> as "u.claimed_at",
        used_at: Option<Timestamp> as "u.used_at",
    }
}

impl From<WalletRow> for UserCoupon {
    fn from(row: WalletRow) -> Self {
        let ended = row.code.is_none() || row.ends_at.is_some_and(|end| Timestamp::now() >= end);
        let state = match row.order_no {
            Some(_) => CouponState::Used,
            None if ended => CouponState::Expired,
            None => CouponState::Unused,
        };
        UserCoupon {
            user_coupon_id: row.id,
            code: row.code,
            name: row.name,
            rule: row.rule,
            state,
            order_no: row.order_no,
            starts_at: row.starts_at,
            ends_at: row.ends_at,
            claimed_at: row.claimed_at,
            used_at: row.used_at,
        }
    }
}

const TABLES: &str = "user_coupons u JOIN coupons c ON c.id = u.coupon_id";

/// A page of a user's coupons, newest first.
pub async fn list(db: &mut Connection, user_id: UserId, page: &PageQuery) -> Result<Page<UserCoupon>> {
    let (limit, before) = (page.limit()?, page.cursor::<i64>()?.unwrap_or(i64::MAX));
    let sql = format!(
        "SELECT {} FROM {TABLES} WHERE u.user_id = ? AND u.id < ? ORDER BY u.id DESC LIMIT ?",
        WalletRow::COLUMNS
    );
    let rows = db.query::<WalletRow>(&sql, params![user_id, before, i64::from(limit).saturating_add(1)]).await?;
    Ok(Page::new(rows.into_iter().map(UserCoupon::from).collect(), limit, |coupon: &UserCoupon| coupon.user_coupon_id))
}

/// One of a user's coupons; an internal error if it does not exist.
pub async fn find(db: &mut Connection, user_id: UserId, user_coupon_id: i64) -> Result<UserCoupon> {
    let sql = format!("SELECT {} FROM {TABLES} WHERE u.user_id = ? AND u.id = ?", WalletRow::COLUMNS);
    let row = db.query_one::<WalletRow>(&sql, params![user_id, user_coupon_id]).await?;
    row.map(UserCoupon::from).ok_or_else(|| Problem::internal().because("the user's coupon does not exist"))
}
