//! Coupons: claimed, used by an order, given back when it ends unpaid.
//!
//! Each one that a user has is a row, which counts towards the coupon's limits from when it was claimed. Who names a code
//! without having claimed it claims it by the order, for as long as the order stands. All is decided under the coupon's
//! lock, which is taken after the order's and before its products'.

use kit::{
    Code, Problem, Result, Timestamp,
    mysql::{Connection, Transaction},
    page::{Page, PageQuery},
    params, row,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{Rule, pricing::wit};

row! {
    #[derive(Debug)]
    pub struct Coupon {
        id: i64, code: String, name: String, rule: Rule, total_limit: Option<i64>, per_user_limit: i64, taken: i64,
        starts_at: Option<Timestamp>, ends_at: Option<Timestamp>,
    }
}

row! {
    struct Held { id: i64, order_no: Option<String> }
}

/// A coupon that a user has, or may have.
#[derive(Debug)]
pub struct Usable {
    coupon: Coupon,
    /// The row of one that is claimed and not used.
    unused: Option<i64>,
}

impl Usable {
    pub(crate) fn to_wit(&self) -> wit::Coupon {
        let Coupon { code, name, rule, starts_at, ends_at, .. } = &self.coupon;
        wit::Coupon { code: code.clone(), rule: rule.to_wit(name, *starts_at, *ends_at) }
    }

    /// Whether an order that was made of one can be made of the other.
    fn takes_off_as(&self, other: &Usable) -> bool {
        let rule = |usable: &Usable| {
            let Coupon { id, starts_at, ends_at, .. } = usable.coupon;
            (id, starts_at, ends_at)
        };
        (rule(self), &self.coupon.name, &self.coupon.rule) == (rule(other), &other.coupon.name, &other.coupon.rule)
    }
}

/// 409 for a coupon that does not apply.
pub(crate) fn refused(why: &str) -> Problem {
    Problem::new(Code::CouponInvalid, why)
}

/// A code as it is kept; none if it can't be one.
pub fn normal(code: &str) -> Option<String> {
    let plausible =
        (1..=32).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    plausible.then(|| code.to_ascii_uppercase())
}

const FIND: &str = "
    SELECT id, code, name, rule, total_limit, per_user_limit, taken, starts_at, ends_at FROM coupons WHERE code = ?";
const LOCKED: &str = " FOR UPDATE";

async fn find(db: &mut Connection, code: &str, lock: &str) -> Result<Option<Coupon>> {
    let Some(code) = normal(code) else { return Ok(None) };
    Ok(db.query_one(&format!("{FIND}{lock}"), params![code]).await?)
}

/// The coupon, if the user has it unused or may take one; 409 `coupon_invalid` otherwise. Whether it is for what is bought
/// the pricing component says.
pub async fn usable(db: &mut Connection, user_id: i64, code: &str) -> Result<Usable> {
    usable_under(db, user_id, code, "").await
}

async fn usable_under(db: &mut Connection, user_id: i64, code: &str, lock: &str) -> Result<Usable> {
    let coupon = find(db, code, lock).await?.ok_or_else(|| refused("There is no such coupon"))?;
    let held = held(db, &coupon, user_id).await?;
    let unused = held.iter().find(|held| held.order_no.is_none()).map(|held| held.id);
    if unused.is_none() {
        check_limits(&coupon, held.len())?;
    }
    Ok(Usable { coupon, unused })
}

async fn held(db: &mut Connection, coupon: &Coupon, user_id: i64) -> Result<Vec<Held>> {
    const HELD: &str = "SELECT id, order_no FROM user_coupons WHERE coupon_id = ? AND user_id = ? ORDER BY id";
    Ok(db.query(HELD, params![coupon.id, user_id]).await?)
}

/// Whether a user who has so many may have one more.
fn check_limits(coupon: &Coupon, held: usize) -> Result<()> {
    if i64::try_from(held).is_ok_and(|held| held >= coupon.per_user_limit) {
        return Err(refused("You have had the coupon as often as one may"));
    }
    if coupon.total_limit.is_some_and(|limit| coupon.taken >= limit) {
        return Err(refused("The coupon is used up"));
    }
    Ok(())
}

const TAKEN: &str = "UPDATE coupons SET taken = taken + 1 WHERE id = ?";

/// Has the order use the coupon that it was made with, if that is still so; its products are yet to be locked.
pub(crate) async fn take(tx: &mut Transaction, user_id: i64, seen: &Usable, order_no: &str) -> Result<()> {
    const USE: &str = "UPDATE user_coupons SET order_no = ?, used_at = ? WHERE id = ?";
    const INSERT: &str = "INSERT INTO user_coupons (coupon_id, user_id, order_no, used_at) VALUES (?, ?, ?, ?)";
    let usable = usable_under(tx, user_id, &seen.coupon.code, LOCKED).await?;
    if !usable.takes_off_as(seen) {
        return Err(Problem::conflict());
    }
    let now = Timestamp::now();
    match usable.unused {
        Some(id) => tx.execute(USE, params![order_no, now, id]).await?,
        None => {
            tx.execute(INSERT, params![usable.coupon.id, user_id, order_no, now]).await?;
            tx.execute(TAKEN, params![usable.coupon.id]).await?;
        }
    }
    Ok(())
}

row! {
    struct Use { id: i64, coupon_id: i64, claimed_at: Option<Timestamp> }
}

/// Makes it as if the locked order had never used a coupon: what was claimed is the user's to use again, what was not is
/// anybody's.
pub(crate) async fn give_back(tx: &mut Transaction, order_no: &str) -> Result<()> {
    const USED: &str = "SELECT id, coupon_id, claimed_at FROM user_coupons WHERE order_no = ?";
    const LOCK: &str = "SELECT id FROM coupons WHERE id = ? FOR UPDATE";
    const UNUSED: &str = "UPDATE user_coupons SET order_no = NULL, used_at = NULL WHERE id = ?";
    const GONE: &str = "DELETE FROM user_coupons WHERE id = ?";
    const LEFT: &str = "UPDATE coupons SET taken = taken - 1 WHERE id = ?";
    // Nobody else touches it while the order is locked.
    let Some(used) = tx.query_one::<Use>(USED, params![order_no]).await? else { return Ok(()) };
    tx.query_one::<(i64,)>(LOCK, params![used.coupon_id]).await?;
    if used.claimed_at.is_some() {
        return Ok(tx.execute(UNUSED, params![used.id]).await?);
    }
    tx.execute(GONE, params![used.id]).await?;
    Ok(tx.execute(LEFT, params![used.coupon_id]).await?)
}

/// Puts one into the user's wallet; its id there. 404 if there is no such coupon, 409 `coupon_invalid` if it is over or
/// the limits are reached.
pub async fn claim(tx: &mut Transaction, user_id: i64, code: &str) -> Result<i64> {
    const INSERT: &str = "INSERT INTO user_coupons (coupon_id, user_id, claimed_at) VALUES (?, ?, ?)";
    let coupon = find(tx, code, LOCKED).await?.ok_or_else(|| Problem::not_found("coupon"))?;
    let now = Timestamp::now();
    if coupon.ends_at.is_some_and(|end| now >= end) {
        return Err(refused("The coupon is over"));
    }
    check_limits(&coupon, held(tx, &coupon, user_id).await?.len())?;
    tx.execute(INSERT, params![coupon.id, user_id, now]).await?;
    let id = tx.last_insert_id().await?;
    tx.execute(TAKEN, params![coupon.id]).await?;
    Ok(id)
}

/// What can be done with a coupon that one has.
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
    pub user_coupon_id: i64,
    /// Null if the shop has withdrawn the coupon.
    #[schema(required)]
    pub code: Option<String>,
    pub name: String,
    pub rule: Rule,
    pub state: CouponState,
    /// The order that it is used by.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub order_no: Option<String>,
    #[schema(required)]
    pub starts_at: Option<Timestamp>,
    #[schema(required)]
    pub ends_at: Option<Timestamp>,
    /// Null if it was claimed by the order that uses it.
    #[schema(required)]
    pub claimed_at: Option<Timestamp>,
    #[schema(required)]
    pub used_at: Option<Timestamp>,
}

row! {
    struct WalletRow {
        id: i64, code: Option<String>, name: String, rule: Rule, order_no: Option<String>,
        starts_at: Option<Timestamp>, ends_at: Option<Timestamp>, claimed_at: Option<Timestamp>,
        used_at: Option<Timestamp>,
    }
}

impl From<WalletRow> for UserCoupon {
    fn from(row: WalletRow) -> Self {
        let over = row.code.is_none() || row.ends_at.is_some_and(|end| Timestamp::now() >= end);
        let state = match row.order_no {
            Some(_) => CouponState::Used,
            None if over => CouponState::Expired,
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

const WALLET: &str = "
    SELECT u.id, c.code, c.name, c.rule, u.order_no, c.starts_at, c.ends_at, u.claimed_at, u.used_at
    FROM user_coupons u JOIN coupons c ON c.id = u.coupon_id";

/// A page of what a user has, newest first.
pub async fn wallet(db: &mut Connection, user_id: i64, page: &PageQuery) -> Result<Page<UserCoupon>> {
    let (limit, before) = (page.limit()?, page.cursor::<i64>()?.unwrap_or(i64::MAX));
    let sql = format!("{WALLET} WHERE u.user_id = ? AND u.id < ? ORDER BY u.id DESC LIMIT ?");
    let rows = db.query::<WalletRow>(&sql, params![user_id, before, i64::from(limit).saturating_add(1)]).await?;
    Ok(Page::new(rows.into_iter().map(UserCoupon::from).collect(), limit, |coupon: &UserCoupon| coupon.user_coupon_id))
}

/// One that a user has.
pub async fn owned(db: &mut Connection, user_id: i64, user_coupon_id: i64) -> Result<UserCoupon> {
    let sql = format!("{WALLET} WHERE u.user_id = ? AND u.id = ?");
    let row = db.query_one::<WalletRow>(&sql, params![user_id, user_coupon_id]).await?;
    row.map(UserCoupon::from).ok_or_else(Problem::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_the_same_in_any_case_and_plain() {
        assert_eq!(normal("Save-10_x").as_deref(), Some("SAVE-10_X"));
        for bad in ["", "a b", "é", "🧨", "' OR 1=1", &"x".repeat(33), "a\0"] {
            assert_eq!(normal(bad), None, "{bad:?}");
        }
    }
}
