//! Coupons: created by the staff, claimed by users, redeemed by an order, and released if it is cancelled.
//!
//! Each coupon of a user is a row of `user_coupons`, which counts towards the coupon's limits. An order with a code
//! that its user has not claimed claims the coupon until the order is cancelled. All this happens under the lock of the
//! coupon, which is taken after the order's and before the products'.

use std::collections::{BTreeMap, BTreeSet};

use accounts::{locale, requested_locale};
use i18n::CouponRefusal;
use kit::{
    Code, CouponId, OrderNo, Problem, Result, Timestamp, UserId,
    mysql::{Connection, Transaction, on_duplicate, param, placeholders},
    pagination::{Page, PageQuery},
    params, row,
    validate::Validator,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    engine,
    rule::{Rule, check_offer, check_scope},
};

const MAX_TOTAL: i64 = 1_000_000_000;
const MAX_PER_USER: i64 = 1000;

row! {
    #[derive(Debug, Serialize, ToSchema)]
    pub struct Coupon {
        pub coupon_id: CouponId as "id",
        #[schema(example = "WELCOME10")]
        pub code: String,
        #[schema(example = "Welcome")]
        pub name: String,
        pub rule: Rule,
        /// Null: no limit.
        #[schema(required, minimum = 1)]
        pub total_limit: Option<i64>,
        #[schema(minimum = 1)]
        pub per_user_limit: i64,
        /// How many have been claimed or redeemed, and not released.
        #[schema(minimum = 0)]
        pub taken: i64,
        #[schema(required)]
        pub starts_at: Option<Timestamp>,
        #[schema(required)]
        pub ends_at: Option<Timestamp>,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
    }
}

/// A whole coupon. An omitted field has its default.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "code": "SPRING", "name": "Spring sale", "total_limit": 1000,
    "rule": { "effect": { "kind": "percent_off", "percent": 10, "cap_cents": 5000 } }
}))]
pub struct NewCoupon {
    /// ASCII letters, digits, `-` and `_`, in any case; stored in capitals.
    #[schema(min_length = 1, max_length = 32, pattern = "^[A-Za-z0-9_-]+$", example = "WELCOME10")]
    code: String,
    /// Shown to shoppers.
    #[schema(min_length = 1, max_length = 64, example = "Welcome")]
    name: String,
    rule: Rule,
    /// How many there are. Default: no limit.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    total_limit: Option<i64>,
    /// How many one user may have.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 1000)]
    per_user_limit: i64,
    /// Default: at once.
    starts_at: Option<Timestamp>,
    /// Default: never.
    ends_at: Option<Timestamp>,
}

fn one() -> i64 {
    1
}

impl NewCoupon {
    /// 422 if a field is out of bounds.
    pub fn check(&self) -> Result<()> {
        let mut validator = Validator::new();
        validator.require(
            normalize(&self.code).is_some(),
            "code",
            "must have 1 to 32 ASCII letters, digits, hyphens and underscores",
        );
        check_offer(&mut validator, &self.name, &self.rule, self.starts_at, self.ends_at);
        validator.number("total_limit", self.total_limit.unwrap_or(1), 1, MAX_TOTAL);
        validator.number("per_user_limit", self.per_user_limit, 1, MAX_PER_USER).finish()
    }

    /// The values of the columns that [`insert`] and [`update`] write.
    fn values(&self, now: Timestamp) -> Result<Vec<kit::mysql::ParameterValue>> {
        let code = normalize(&self.code);
        let rule = self.rule.to_json()?;
        Ok(params![code, &self.name, rule, self.total_limit, self.per_user_limit, self.starts_at, self.ends_at, now])
    }
}

fn code_taken() -> Problem {
    Problem::invalid("code", "is already used by another coupon")
}

/// The code as it is stored; none if it is malformed.
fn normalize(code: &str) -> Option<String> {
    let plausible =
        (1..=32).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    plausible.then(|| code.to_ascii_uppercase())
}

/// A coupon that has not been withdrawn; 404 otherwise.
pub async fn find(db: &mut Connection, coupon_id: CouponId) -> Result<Coupon> {
    find_by_id(db, coupon_id, "").await
}

async fn find_by_id(db: &mut Connection, coupon_id: CouponId, lock: &str) -> Result<Coupon> {
    let sql = format!("SELECT {} FROM coupons WHERE id = ? AND code IS NOT NULL {lock}", Coupon::COLUMNS);
    db.query_one(&sql, params![coupon_id]).await?.ok_or_else(|| Problem::not_found("coupon"))
}

async fn find_by_code(db: &mut Connection, code: &str, lock: &str) -> Result<Option<Coupon>> {
    let Some(code) = normalize(code) else { return Ok(None) };
    let sql = format!("SELECT {} FROM coupons WHERE code = ? {lock}", Coupon::COLUMNS);
    Ok(db.query_one(&sql, params![code]).await?)
}

/// A page of all coupons that have not been withdrawn, newest first.
pub async fn list(db: &mut Connection, page: &PageQuery) -> Result<Page<Coupon>> {
    let (limit, before) = (page.limit()?, page.cursor::<i64>()?.unwrap_or(i64::MAX));
    let sql =
        format!("SELECT {} FROM coupons WHERE code IS NOT NULL AND id < ? ORDER BY id DESC LIMIT ?", Coupon::COLUMNS);
    let rows = db.query(&sql, params![before, i64::from(limit).saturating_add(1)]).await?;
    Ok(Page::new(rows, limit, |coupon: &Coupon| coupon.coupon_id))
}

/// Creates a coupon. 422 if the code is used by another one, or the rule names an unknown category or product.
pub async fn insert(tx: &mut Transaction, new: &NewCoupon) -> Result<Coupon> {
    const INSERT: &str = "
        INSERT INTO coupons (code, name, rule, total_limit, per_user_limit, starts_at, ends_at, updated_at, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    check_scope(tx, &new.rule).await?;
    let now = Timestamp::now();
    let values = [new.values(now)?, params![now]].concat();
    tx.execute(INSERT, values).await.map_err(on_duplicate("uq_coupons_code", code_taken))?;
    let coupon_id = tx.last_insert_id().await?;
    find(tx, coupon_id).await
}

/// Replaces a coupon; returns it before and after.
pub async fn update(tx: &mut Transaction, coupon_id: CouponId, new: &NewCoupon) -> Result<(Coupon, Coupon)> {
    const UPDATE: &str = "
        UPDATE coupons SET code = ?, name = ?, rule = ?, total_limit = ?, per_user_limit = ?, starts_at = ?, ends_at = ?,
                           updated_at = ?
        WHERE id = ?";
    let before = find_by_id(tx, coupon_id, "FOR UPDATE").await?;
    check_scope(tx, &new.rule).await?;
    let values = [new.values(Timestamp::now())?, params![coupon_id]].concat();
    tx.execute(UPDATE, values).await.map_err(on_duplicate("uq_coupons_code", code_taken))?;
    Ok((before, find(tx, coupon_id).await?))
}

/// Withdraws a coupon: its code is free again, and it can no longer be redeemed.
pub async fn withdraw(tx: &mut Transaction, coupon_id: CouponId) -> Result<Coupon> {
    const WITHDRAW: &str = "UPDATE coupons SET code = NULL, updated_at = ? WHERE id = ?";
    let before = find_by_id(tx, coupon_id, "FOR UPDATE").await?;
    tx.execute(WITHDRAW, params![Timestamp::now(), coupon_id]).await?;
    Ok(before)
}

/// 409 for a coupon that does not apply, in the user's language.
pub(crate) async fn refused(db: &mut Connection, user_id: UserId, refusal: CouponRefusal) -> Problem {
    // If the user's language can't be read, the request's will do.
    let locale = locale(db, user_id).await.ok().flatten().or_else(requested_locale).unwrap_or_default();
    Problem::new(Code::CouponInvalid, refusal.render(locale))
}

/// A coupon that a user can redeem.
#[derive(Debug)]
pub struct Redeemable {
    coupon: Coupon,
    /// The id of a row that the user has claimed and not used.
    claimed: Option<i64>,
}

impl Redeemable {
    pub(crate) fn to_engine(&self) -> engine::Coupon {
        let Coupon { code, name, rule, starts_at, ends_at, .. } = &self.coupon;
        engine::Coupon { code: code.clone(), rule: rule.to_engine(name, *starts_at, *ends_at) }
    }

    /// Whether an order would have the same price with either.
    fn is_same_offer(&self, other: &Redeemable) -> bool {
        let offer = |redeemable: &Redeemable| {
            let Coupon { coupon_id, starts_at, ends_at, .. } = redeemable.coupon;
            (coupon_id, starts_at, ends_at)
        };
        (offer(self), &self.coupon.name, &self.coupon.rule) == (offer(other), &other.coupon.name, &other.coupon.rule)
    }
}

/// The coupon, if the user has claimed it or may claim it; 409 `coupon_invalid` otherwise. Whether it applies to the
/// items is decided by the pricing component.
pub async fn redeemable(db: &mut Connection, user_id: UserId, code: &str) -> Result<Redeemable> {
    find_redeemable(db, user_id, code, "").await
}

row! {
    struct UserCouponRow { id: i64, order_no: Option<OrderNo> }
}

async fn find_redeemable(db: &mut Connection, user_id: UserId, code: &str, lock: &str) -> Result<Redeemable> {
    let Some(coupon) = find_by_code(db, code, lock).await? else {
        return Err(refused(db, user_id, CouponRefusal::Unknown).await);
    };
    let owned = owned_by(db, &coupon, user_id).await?;
    let claimed = owned.iter().find(|owned| owned.order_no.is_none()).map(|owned| owned.id);
    if claimed.is_none()
        && let Err(refusal) = check_limits(&coupon, owned.len())
    {
        return Err(refused(db, user_id, refusal).await);
    }
    Ok(Redeemable { coupon, claimed })
}

async fn owned_by(db: &mut Connection, coupon: &Coupon, user_id: UserId) -> Result<Vec<UserCouponRow>> {
    let sql =
        format!("SELECT {} FROM user_coupons WHERE coupon_id = ? AND user_id = ? ORDER BY id", UserCouponRow::COLUMNS);
    Ok(db.query(&sql, params![coupon.coupon_id, user_id]).await?)
}

/// Checks whether a user who has `owned` of them may have one more.
fn check_limits(coupon: &Coupon, owned: usize) -> std::result::Result<(), CouponRefusal> {
    if i64::try_from(owned).is_ok_and(|owned| owned >= coupon.per_user_limit) {
        return Err(CouponRefusal::UserLimitReached);
    }
    if coupon.total_limit.is_some_and(|limit| coupon.taken >= limit) {
        return Err(CouponRefusal::FullyClaimed);
    }
    Ok(())
}

const TAKE_ONE: &str = "UPDATE coupons SET taken = taken + 1 WHERE id = ?";

/// Redeems the coupon that the order was priced with. A conflict if the coupon has changed since. It must be called
/// before the order's products are locked.
pub(crate) async fn redeem(
    tx: &mut Transaction,
    user_id: UserId,
    priced_with: &Redeemable,
    order_no: &OrderNo,
) -> Result<()> {
    const USE: &str = "UPDATE user_coupons SET order_no = ?, used_at = ? WHERE id = ?";
    const INSERT: &str = "INSERT INTO user_coupons (coupon_id, user_id, order_no, used_at) VALUES (?, ?, ?, ?)";
    let now_locked = find_redeemable(tx, user_id, &priced_with.coupon.code, "FOR UPDATE").await?;
    if !now_locked.is_same_offer(priced_with) {
        return Err(Problem::conflict().because("the coupon has changed"));
    }
    let now = Timestamp::now();
    match now_locked.claimed {
        Some(id) => tx.execute(USE, params![order_no, now, id]).await?,
        None => {
            tx.execute(INSERT, params![now_locked.coupon.coupon_id, user_id, order_no, now]).await?;
            tx.execute(TAKE_ONE, params![now_locked.coupon.coupon_id]).await?;
        }
    }
    Ok(())
}

row! {
    struct RedeemedRow { id: i64, coupon_id: CouponId, claimed_at: Option<Timestamp> }
}

/// Releases the coupons of locked orders, at least one: a coupon that the user had claimed can be redeemed again; another
/// no longer counts towards the limits.
pub(crate) async fn release(tx: &mut Transaction, order_nos: impl ExactSizeIterator<Item = &OrderNo>) -> Result<()> {
    let redeemed = format!(
        "SELECT {} FROM user_coupons WHERE order_no IN ({})",
        RedeemedRow::COLUMNS,
        placeholders(order_nos.len())
    );
    // While the orders are locked, no other transaction touches the rows.
    let redeemed = tx.query::<RedeemedRow>(&redeemed, order_nos.map(param).collect()).await?;
    if redeemed.is_empty() {
        return Ok(());
    }
    let coupons: BTreeSet<_> = redeemed.iter().map(|row| row.coupon_id).collect();
    let lock = format!("SELECT id FROM coupons WHERE id IN ({}) ORDER BY id FOR UPDATE", placeholders(coupons.len()));
    tx.query::<(CouponId,)>(&lock, coupons.into_iter().map(param).collect()).await?;
    let (claimed, unclaimed): (Vec<_>, Vec<_>) = redeemed.into_iter().partition(|row| row.claimed_at.is_some());
    if !claimed.is_empty() {
        let sql = format!(
            "UPDATE user_coupons SET order_no = NULL, used_at = NULL WHERE id IN ({})",
            placeholders(claimed.len())
        );
        tx.execute(&sql, claimed.iter().map(|row| param(row.id)).collect()).await?;
    }
    if !unclaimed.is_empty() {
        let sql = format!("DELETE FROM user_coupons WHERE id IN ({})", placeholders(unclaimed.len()));
        tx.execute(&sql, unclaimed.iter().map(|row| param(row.id)).collect()).await?;
        return_taken(tx, unclaimed.iter().map(|row| row.coupon_id)).await?;
    }
    Ok(())
}

/// Takes coupons, at least one, off the counts of what is taken.
async fn return_taken(tx: &mut Transaction, coupon_ids: impl Iterator<Item = CouponId>) -> Result<()> {
    let mut returned = BTreeMap::<_, i64>::new();
    for coupon_id in coupon_ids {
        let count = returned.entry(coupon_id).or_default();
        *count = count.saturating_add(1);
    }
    let sql = format!(
        "UPDATE coupons SET taken = taken - CASE id {}END WHERE id IN ({})",
        "WHEN ? THEN ? ".repeat(returned.len()),
        placeholders(returned.len())
    );
    let counts = returned.iter().flat_map(|(coupon_id, count)| params![*coupon_id, *count]);
    Ok(tx.execute(&sql, counts.chain(returned.keys().map(|id| param(*id))).collect()).await?)
}

/// Claims a coupon; returns its id in the user's wallet. 404 if there is no such coupon, 409 `coupon_invalid` if it has
/// ended or a limit is reached.
pub async fn claim(tx: &mut Transaction, user_id: UserId, code: &str) -> Result<i64> {
    const INSERT: &str = "INSERT INTO user_coupons (coupon_id, user_id, claimed_at) VALUES (?, ?, ?)";
    let coupon = find_by_code(tx, code, "FOR UPDATE").await?.ok_or_else(|| Problem::not_found("coupon"))?;
    let now = Timestamp::now();
    let owned = owned_by(tx, &coupon, user_id).await?.len();
    let ended = coupon.ends_at.is_some_and(|end| now >= end);
    let allowed = if ended { Err(CouponRefusal::Ended) } else { check_limits(&coupon, owned) };
    if let Err(refusal) = allowed {
        return Err(refused(tx, user_id, refusal).await);
    }
    tx.execute(INSERT, params![coupon.coupon_id, user_id, now]).await?;
    let id = tx.last_insert_id().await?;
    tx.execute(TAKE_ONE, params![coupon.coupon_id]).await?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_the_same_in_any_case_and_plain() {
        assert_eq!(normalize("Save-10_x").as_deref(), Some("SAVE-10_X"));
        for bad in ["", "a b", "é", "🧨", "' OR 1=1", &"x".repeat(33), "a\0"] {
            assert_eq!(normalize(bad), None, "{bad:?}");
        }
    }
}
