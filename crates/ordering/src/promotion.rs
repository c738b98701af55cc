//! Promotions: created by the staff, applied to every cart and order.
//!
//! Orders read the active promotions from MySQL. Carts use a copy that is at most a second old, cached in the instance
//! and, since instances are short-lived, in Redis.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use kit::{
    Problem, PromotionId, Result, Timestamp, log,
    mysql::{self, Connection, ParameterValue, Transaction},
    pagination::{Page, PageQuery},
    params,
    redis::{self, Reply, arg, int},
    row,
    validate::Validator,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    engine,
    rule::{Rule, check_offer, check_scope},
};

const MAX_PRIORITY: i64 = 1000;
/// The time to live in Redis and again in the instance: together less than a second, which leaves time for reading.
const TTL: Duration = Duration::from_millis(450);
const KEY: &str = "promotions";

row! {
    #[derive(Debug, Serialize, ToSchema)]
    pub struct Promotion {
        pub promotion_id: PromotionId as "id",
        #[schema(example = "Spend 100, get 20 off")]
        pub name: String,
        pub rule: Rule,
        pub exclusive: bool,
        #[schema(minimum = -1000, maximum = 1000, example = 0)]
        pub priority: i64,
        #[schema(required)]
        pub starts_at: Option<Timestamp>,
        #[schema(required)]
        pub ends_at: Option<Timestamp>,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
    }
}

/// A whole promotion. An omitted field has its default.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "Spend 100, get 20 off",
    "rule": { "effect": { "kind": "amount_off", "amount_cents": 2000, "repeating": true }, "minimum_cents": 10000 }
}))]
pub struct NewPromotion {
    /// Shown to shoppers.
    #[schema(min_length = 1, max_length = 64, example = "Spend 100, get 20 off")]
    name: String,
    rule: Rule,
    /// Is not combined with other promotions: the shopper gets either this one or all that are not exclusive, whichever
    /// takes off more.
    #[serde(default)]
    exclusive: bool,
    /// The lowest is applied first, then the lowest id; each to what the ones before it have left.
    #[serde(default)]
    #[schema(minimum = -1000, maximum = 1000)]
    priority: i64,
    /// Default: at once.
    starts_at: Option<Timestamp>,
    /// Default: never.
    ends_at: Option<Timestamp>,
}

impl NewPromotion {
    /// 422 if a field is out of bounds.
    pub fn check(&self) -> Result<()> {
        let mut validator = Validator::new();
        check_offer(&mut validator, &self.name, &self.rule, self.starts_at, self.ends_at);
        validator.number("priority", self.priority, -MAX_PRIORITY, MAX_PRIORITY).finish()
    }

    /// The values of the columns that [`insert`] and [`update`] write.
    fn values(&self, now: Timestamp) -> Result<Vec<ParameterValue>> {
        let rule = self.rule.to_json()?;
        Ok(params![&self.name, rule, self.exclusive, self.priority, self.starts_at, self.ends_at, now])
    }
}

/// A promotion; 404 if there is none.
pub async fn find(db: &mut Connection, promotion_id: PromotionId) -> Result<Promotion> {
    find_by_id(db, promotion_id, "").await
}

async fn find_by_id(db: &mut Connection, promotion_id: PromotionId, lock: &str) -> Result<Promotion> {
    let sql = format!("SELECT {} FROM promotions WHERE id = ? {lock}", Promotion::COLUMNS);
    db.query_one(&sql, params![promotion_id]).await?.ok_or_else(|| Problem::not_found("promotion"))
}

/// A page of all promotions, newest first.
pub async fn list(db: &mut Connection, page: &PageQuery) -> Result<Page<Promotion>> {
    let (limit, before) = (page.limit()?, page.cursor::<i64>()?.unwrap_or(i64::MAX));
    let sql = format!("SELECT {} FROM promotions WHERE id < ? ORDER BY id DESC LIMIT ?", Promotion::COLUMNS);
    let rows = db.query(&sql, params![before, i64::from(limit).saturating_add(1)]).await?;
    Ok(Page::new(rows, limit, |promotion: &Promotion| promotion.promotion_id))
}

/// Creates a promotion. 422 if the rule names an unknown category or product.
pub async fn insert(tx: &mut Transaction, new: &NewPromotion) -> Result<Promotion> {
    const INSERT: &str = "
        INSERT INTO promotions (name, rule, exclusive, priority, starts_at, ends_at, updated_at, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    check_scope(tx, &new.rule).await?;
    let now = Timestamp::now();
    tx.execute(INSERT, [new.values(now)?, params![now]].concat()).await?;
    let promotion_id = tx.last_insert_id().await?;
    find(tx, promotion_id).await
}

/// Replaces a promotion; returns it before and after.
pub async fn update(
    tx: &mut Transaction,
    promotion_id: PromotionId,
    new: &NewPromotion,
) -> Result<(Promotion, Promotion)> {
    const UPDATE: &str = "
        UPDATE promotions SET name = ?, rule = ?, exclusive = ?, priority = ?, starts_at = ?, ends_at = ?, updated_at = ?
        WHERE id = ?";
    let before = find_by_id(tx, promotion_id, "FOR UPDATE").await?;
    check_scope(tx, &new.rule).await?;
    tx.execute(UPDATE, [new.values(Timestamp::now())?, params![promotion_id]].concat()).await?;
    Ok((before, find(tx, promotion_id).await?))
}

/// Removes a promotion.
pub async fn remove(tx: &mut Transaction, promotion_id: PromotionId) -> Result<Promotion> {
    const DELETE: &str = "DELETE FROM promotions WHERE id = ?";
    let before = find_by_id(tx, promotion_id, "FOR UPDATE").await?;
    tx.execute(DELETE, params![promotion_id]).await?;
    Ok(before)
}

row! {
    #[derive(Serialize, Deserialize)]
    struct ActiveRow {
        id: PromotionId, name: String, rule: Rule, exclusive: bool, priority: i64, starts_at: Option<Timestamp>,
        ends_at: Option<Timestamp>,
    }
}

impl ActiveRow {
    fn to_engine(&self) -> Option<engine::Promotion> {
        Some(engine::Promotion {
            id: self.id.into(),
            rule: self.rule.to_engine(&self.name, self.starts_at, self.ends_at),
            exclusive: self.exclusive,
            priority: i32::try_from(self.priority).ok()?,
        })
    }
}

/// The active promotions, from MySQL.
pub(crate) async fn active(db: &mut Connection) -> Result<Vec<engine::Promotion>> {
    Ok(read_active(db).await?.iter().filter_map(ActiveRow::to_engine).collect())
}

/// The active promotions, and those that start while the list is cached.
async fn read_active(db: &mut Connection) -> Result<Vec<ActiveRow>> {
    let sql = format!(
        "SELECT {} FROM promotions
         WHERE (ends_at IS NULL OR ends_at > ?) AND (starts_at IS NULL OR starts_at <= ?)",
        ActiveRow::COLUMNS
    );
    let now = Timestamp::now();
    Ok(db.query(&sql, params![now, now.plus_seconds(2)]).await?)
}

type Cache = Option<(Instant, Arc<[engine::Promotion]>)>;
static CACHE: Mutex<Cache> = Mutex::new(None);

/// The active promotions, at most a second old.
pub(crate) async fn active_cached() -> Result<Arc<[engine::Promotion]>> {
    // Their age counts from before they were read.
    let now = Instant::now();
    if let Some((_, promotions)) =
        CACHE.lock().ok().and_then(|cache| cache.clone().filter(|(read_at, _)| now.duration_since(*read_at) < TTL))
    {
        return Ok(promotions);
    }
    let promotions: Arc<[_]> = read_through().await?.iter().filter_map(ActiveRow::to_engine).collect();
    if let Ok(mut cache) = CACHE.lock() {
        *cache = Some((now, promotions.clone()));
    }
    Ok(promotions)
}

/// The list from Redis, or from MySQL and then cached in Redis. If Redis can't be reached, MySQL is read, too.
async fn read_through() -> Result<Vec<ActiveRow>> {
    if let Ok(reply) = redis::command("GET", vec![arg(KEY)]).await
        && let Some(promotions) = reply.text(0).and_then(|json| serde_json::from_str(json).ok())
    {
        return Ok(promotions);
    }
    let promotions = read_active(&mut mysql::connection().await?).await?;
    let json = serde_json::to_vec(&promotions).unwrap_or_default();
    let ttl = i64::try_from(TTL.as_millis()).unwrap_or_default();
    let cached = redis::command("SET", vec![arg(KEY), arg(json), arg("PX"), int(ttl)]).await;
    log::warn_if_failed("promotions were not cached", cached);
    Ok(promotions)
}
