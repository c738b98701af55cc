//! Flash sales as rows of `seckill_activities`.

use std::collections::BTreeSet;

use kit::{
    ActivityId, Cents, Code, Problem, ProductId, Result, Timestamp,
    jobs::Queue,
    mysql::{Connection, Transaction, param, placeholders},
    params, row,
};
use products::{Line, StockCount, stock};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

row! {
    #[derive(Debug, Clone)]
    pub struct Activity {
        pub id: ActivityId as "a.id",
        pub product_id: ProductId as "a.product_id",
        pub name: String as "p.name",
        pub price_cents: Cents as "a.price_cents",
        pub stock: i64 as "a.stock",
        pub booked: i64 as "a.booked",
        pub per_user_limit: i64 as "a.per_user_limit",
        pub starts_at: Timestamp as "a.starts_at",
        pub ends_at: Timestamp as "a.ends_at",
        pub closed_at: Option<Timestamp> as "a.closed_at",
    }
}

const TABLES: &str = "seckill_activities a JOIN products p ON p.id = a.product_id";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SaleState {
    Upcoming,
    Running,
    SoldOut,
    Ended,
}

impl Activity {
    /// Units that are not in an order.
    pub fn unsold(&self) -> i64 {
        self.stock.saturating_sub(self.booked)
    }

    /// Its state at a time when `left` units are left.
    pub fn state(&self, left: i64, now: Timestamp) -> SaleState {
        if self.closed_at.is_some() || now >= self.ends_at {
            SaleState::Ended
        } else if now < self.starts_at {
            SaleState::Upcoming
        } else if left <= 0 {
            SaleState::SoldOut
        } else {
            SaleState::Running
        }
    }
}

/// What the worker `drain` does besides booking tickets.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Task {
    /// Open the sale in Redis if that is missing; repeated every few seconds until the sale is closed.
    Watch { activity_id: ActivityId },
    /// Close the sale and return the units that are left to the product.
    Close { activity_id: ActivityId },
    /// Return the units of cancelled or refunded orders to the sale.
    GiveBack { activity_id: ActivityId, ticket: Tickets },
    /// Rebuild the sale in Redis, even if it exists there.
    Rebuild { activity_id: ActivityId },
}

/// The tickets of a job. The version before this one writes and reads single ones only.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Tickets {
    One(String),
    Several(Vec<String>),
}

impl Tickets {
    pub(crate) fn new(tickets: Vec<String>) -> Self {
        match <[String; 1]>::try_from(tickets) {
            Ok([ticket]) => Tickets::One(ticket),
            Err(tickets) => Tickets::Several(tickets),
        }
    }

    pub fn as_slice(&self) -> &[String] {
        match self {
            Tickets::One(ticket) => std::slice::from_ref(ticket),
            Tickets::Several(tickets) => tickets,
        }
    }
}

/// A sale to be created.
#[derive(Debug, Clone, Copy)]
pub struct NewActivity {
    pub product_id: ProductId,
    pub stock: i64,
    pub price_cents: Cents,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    pub per_user_limit: i64,
}

/// Creates a sale and sets its units aside. The caller opens it in Redis after the commit; if that fails, `drain` does.
/// 422 for an unknown product, 409 `out_of_stock` if it has fewer units.
pub async fn create(tx: &mut Transaction, new: &NewActivity) -> Result<Activity> {
    const INSERT: &str = "
        INSERT INTO seckill_activities (product_id, price_cents, stock, per_user_limit, starts_at, ends_at, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)";
    let locked = stock::lock(tx, new.product_id).await;
    let available = locked.map_err(|problem| match problem.code {
        Code::NotFound => Problem::invalid("product_id", "does not exist"),
        _ => problem,
    })?;
    if available.available < new.stock {
        return Err(Problem::new(Code::OutOfStock, format!("Only {} are available", available.available)));
    }
    let now = Timestamp::now();
    let values =
        params![new.product_id, new.price_cents, new.stock, new.per_user_limit, new.starts_at, new.ends_at, now];
    tx.execute(INSERT, values).await?;
    let activity_id = tx.last_insert_id().await?;
    let line = Line { product_id: new.product_id, quantity: new.stock };
    stock::transfer(tx, &[line], StockCount::Available, StockCount::Reserved).await?;
    let (watch, close) = (Task::Watch { activity_id }, Task::Close { activity_id });
    tx.enqueue(&[Queue::Drain.job(&watch, now)?, Queue::Drain.job(&close, new.ends_at)?]).await?;
    find(tx, activity_id).await
}

/// A sale; 404 if there is none.
pub async fn find(db: &mut Connection, activity_id: ActivityId) -> Result<Activity> {
    let sql = format!("SELECT {} FROM {TABLES} WHERE a.id = ?", Activity::COLUMNS);
    db.query_one(&sql, params![activity_id]).await?.ok_or_else(|| Problem::not_found("sale"))
}

/// Sales below an id, newest first.
pub async fn list(db: &mut Connection, before: i64, limit: i64) -> Result<Vec<Activity>> {
    let sql = format!("SELECT {} FROM {TABLES} WHERE a.id < ? ORDER BY a.id DESC LIMIT ?", Activity::COLUMNS);
    Ok(db.query(&sql, params![before, limit]).await?)
}

/// The sales that have not been closed.
pub async fn open_ids(db: &mut Connection) -> Result<Vec<ActivityId>> {
    const OPEN: &str = "SELECT id FROM seckill_activities WHERE closed_at IS NULL ORDER BY id";
    Ok(db.query::<(ActivityId,)>(OPEN, vec![]).await?.into_iter().map(|(id,)| id).collect())
}

/// Locks a sale.
pub async fn lock(tx: &mut Transaction, activity_id: ActivityId) -> Result<Activity> {
    const LOCK: &str = "SELECT id FROM seckill_activities WHERE id = ? FOR UPDATE";
    tx.query::<(ActivityId,)>(LOCK, params![activity_id]).await?;
    find(tx, activity_id).await
}

row! {
    struct OpenRow { id: ActivityId, closed_at: Option<Timestamp> }
}

/// Locks sales, at least one; returns those that have not been closed.
pub(crate) async fn lock_open(
    tx: &mut Transaction,
    ids: impl ExactSizeIterator<Item = ActivityId>,
) -> Result<BTreeSet<ActivityId>> {
    let sql = format!(
        "SELECT {} FROM seckill_activities WHERE id IN ({}) ORDER BY id FOR UPDATE",
        OpenRow::COLUMNS,
        placeholders(ids.len())
    );
    let rows = tx.query::<OpenRow>(&sql, ids.map(param).collect()).await?;
    Ok(rows.into_iter().filter(|row| row.closed_at.is_none()).map(|row| row.id).collect())
}

/// Adds a number, which may be negative, to the booked units of each of these locked sales, at least one.
pub(crate) async fn add_booked(tx: &mut Transaction, units: &[(ActivityId, i64)]) -> Result<()> {
    let sql = format!(
        "UPDATE seckill_activities SET booked = booked + CASE id {}END WHERE id IN ({})",
        "WHEN ? THEN ? ".repeat(units.len()),
        placeholders(units.len())
    );
    let cases = units.iter().flat_map(|(id, units)| params![*id, *units]);
    Ok(tx.execute(&sql, cases.chain(units.iter().map(|(id, _)| param(*id))).collect()).await?)
}

/// Closes a sale and returns its unsold units to the product. Does nothing if the sale is closed already. All tickets
/// must have been booked.
pub async fn close(tx: &mut Transaction, activity_id: ActivityId) -> Result<()> {
    const CLOSED: &str = "UPDATE seckill_activities SET closed_at = ? WHERE id = ?";
    let activity = lock(tx, activity_id).await?;
    if activity.closed_at.is_some() {
        return Ok(());
    }
    tx.execute(CLOSED, params![Timestamp::now(), activity_id]).await?;
    let line = Line { product_id: activity.product_id, quantity: activity.unsold() };
    stock::transfer(tx, &[line], StockCount::Reserved, StockCount::Available).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_of_an_earlier_version_are_read() {
        let old = r#"{"do":"give_back","activity_id":1,"ticket":"1.a"}"#;
        let Ok(Task::GiveBack { activity_id, ticket }) = serde_json::from_str(old) else { panic!("not read") };
        assert_eq!(ticket.as_slice(), ["1.a"]);
        let again = Task::GiveBack { activity_id, ticket: Tickets::new(vec!["1.a".to_owned()]) };
        assert_eq!(serde_json::to_string(&again).unwrap(), old);
        let several = Task::GiveBack { activity_id, ticket: Tickets::new(vec!["1.a".to_owned(), "1.b".to_owned()]) };
        let json = serde_json::to_string(&several).unwrap();
        assert!(
            matches!(serde_json::from_str(&json), Ok(Task::GiveBack { ticket: Tickets::Several(two), .. }) if two.len() == 2)
        );
    }
}
