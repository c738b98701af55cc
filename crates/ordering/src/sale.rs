//! Flash sales: admitted in Redis ([`gate`]), booked in MySQL ([`book`]).
//!
//! A sale's units are set aside when it is made: they go from the product's `available` to its `reserved`, so that the
//! shop's two channels can't both sell one. `booked` counts those that are in orders that stand; the rest goes back when
//! the sale closes. Whoever changes that locks the activity: after the order, before the product.

pub mod book;
pub mod gate;

use kit::{
    Code, Problem, Result, Timestamp,
    jobs::Queue,
    mysql::{Connection, Transaction},
    params, row,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Cents;

row! {
    /// A sale as MySQL has it.
    #[derive(Debug, Clone)]
    pub struct Activity {
        pub id: i64, pub product_id: i64, pub name: String, pub price_cents: Cents, pub stock: i64, pub booked: i64,
        pub per_user_limit: i64, pub starts_at: Timestamp, pub ends_at: Timestamp, pub closed_at: Option<Timestamp>,
    }
}

const SELECT: &str = "
    SELECT a.id, a.product_id, p.name, a.price_cents, a.stock, a.booked, a.per_user_limit, a.starts_at, a.ends_at,
           a.closed_at
    FROM seckill_activities a JOIN products p ON p.id = a.product_id";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SaleState {
    Upcoming,
    Running,
    SoldOut,
    Ended,
}

impl Activity {
    /// Its state, with so many left.
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

/// What the worker `drain` does beside booking tickets.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Task {
    /// Open the sale in Redis, unless it is; and look after it every few seconds until it has closed.
    Watch { activity_id: i64 },
    /// Give what is left back to the product.
    Close { activity_id: i64 },
    /// Put a ticket's unit on sale again.
    GiveBack { activity_id: i64, ticket: String },
    /// Write the sale anew in Redis, whatever is there.
    Rebuild { activity_id: i64 },
}

/// A sale to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewActivity {
    pub product_id: i64,
    pub stock: i64,
    pub price_cents: Cents,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    pub per_user_limit: i64,
}

/// Sets the units aside. The sale opens in Redis after the commit: by `drain`, if not by who made it. 422 for a product
/// that is not there, 409 `out_of_stock` if there are fewer.
pub async fn init(tx: &mut Transaction, new: &NewActivity) -> Result<Activity> {
    const PRODUCT: &str = "SELECT available FROM products WHERE id = ? FOR UPDATE";
    const SET_ASIDE: &str = "UPDATE products SET available = available - ?, reserved = reserved + ? WHERE id = ?";
    const INSERT: &str = "
        INSERT INTO seckill_activities (product_id, price_cents, stock, per_user_limit, starts_at, ends_at, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)";
    let available: Option<(i64,)> = tx.query_one(PRODUCT, params![new.product_id]).await?;
    let (available,) = available.ok_or_else(|| Problem::invalid("product_id", "is no product"))?;
    if available < new.stock {
        return Err(Problem::new(Code::OutOfStock, format!("There are {available} available")));
    }
    let now = Timestamp::now();
    let values =
        params![new.product_id, new.price_cents, new.stock, new.per_user_limit, new.starts_at, new.ends_at, now,];
    tx.execute(INSERT, values).await?;
    let activity_id = tx.last_insert_id().await?;
    tx.execute(SET_ASIDE, params![new.stock, new.stock, new.product_id]).await?;
    let (watch, close) = (Task::Watch { activity_id }, Task::Close { activity_id });
    tx.enqueue(&[Queue::Drain.job(&watch, now)?, Queue::Drain.job(&close, new.ends_at)?]).await?;
    find(tx, activity_id).await
}

/// A sale; 404 if there is none.
pub async fn find(db: &mut Connection, activity_id: i64) -> Result<Activity> {
    let sql = format!("{SELECT} WHERE a.id = ?");
    db.query_one(&sql, params![activity_id]).await?.ok_or_else(|| Problem::not_found("sale"))
}

/// Sales below an id, the newest first.
pub async fn list(db: &mut Connection, before: i64, limit: i64) -> Result<Vec<Activity>> {
    let sql = format!("{SELECT} WHERE a.id < ? ORDER BY a.id DESC LIMIT ?");
    Ok(db.query(&sql, params![before, limit]).await?)
}

/// The sales that have not closed.
pub async fn open_ids(db: &mut Connection) -> Result<Vec<i64>> {
    const OPEN: &str = "SELECT id FROM seckill_activities WHERE closed_at IS NULL ORDER BY id";
    Ok(db.query::<(i64,)>(OPEN, vec![]).await?.into_iter().map(|(id,)| id).collect())
}

/// Locks a sale.
pub async fn lock(tx: &mut Transaction, activity_id: i64) -> Result<Activity> {
    const LOCK: &str = "SELECT id FROM seckill_activities WHERE id = ? FOR UPDATE";
    tx.query::<(i64,)>(LOCK, params![activity_id]).await?;
    find(tx, activity_id).await
}

row! {
    /// What became of a ticket that is booked or failed.
    pub struct Booked { pub user_id: i64, pub status: String, pub order_no: Option<String> }
}

/// A ticket as MySQL has it; none while it waits.
pub async fn ticket(db: &mut Connection, ticket: &str) -> Result<Option<Booked>> {
    const TICKET: &str = "SELECT user_id, status, order_no FROM seckill_tickets WHERE ticket = ?";
    Ok(db.query_one(TICKET, params![ticket]).await?)
}

row! {
    struct StandingRow { ticket: String, user_id: i64, order_no: Option<String> }
}

/// The tickets whose orders stand.
pub async fn standing(tx: &mut Connection, activity_id: i64) -> Result<Vec<gate::Standing>> {
    const STANDING: &str = "
        SELECT ticket, user_id, order_no FROM seckill_tickets WHERE activity_id = ? AND live = 1 ORDER BY created_at, ticket";
    let rows = tx.query::<StandingRow>(STANDING, params![activity_id]).await?;
    Ok(rows
        .into_iter()
        .map(|row| gate::Standing {
            ticket: row.ticket,
            user_id: row.user_id,
            order_no: row.order_no.unwrap_or_default(),
        })
        .collect())
}

/// An order that came from a sale no longer stands: which of the product's counts its unit goes to. While the sale is
/// open that is `reserved`, and it will be on sale again.
pub(crate) async fn let_go(tx: &mut Transaction, ticket: &str) -> Result<&'static str> {
    const UNIT_BACK: &str = "UPDATE seckill_activities SET booked = booked - 1 WHERE id = ?";
    const NOT_LIVE: &str = "UPDATE seckill_tickets SET live = 0 WHERE ticket = ?";
    let activity_id = gate::activity_of(ticket).ok_or_else(Problem::internal)?;
    let activity = lock(tx, activity_id).await?;
    tx.execute(NOT_LIVE, params![ticket]).await?;
    tx.execute(UNIT_BACK, params![activity_id]).await?;
    // Also after the sale: then it makes the user's ticket forgotten.
    let task = Task::GiveBack { activity_id, ticket: ticket.to_owned() };
    tx.enqueue(&[Queue::Drain.job(&task, Timestamp::now())?]).await?;
    Ok(if activity.closed_at.is_none() { "reserved" } else { "available" })
}

/// Has a ticket that was let go stop counting at once. If that fails, the job that was left does it.
pub async fn forget(ticket: &str) {
    if let Some(activity_id) = gate::activity_of(ticket) {
        let _ = gate::give_back(activity_id, ticket).await;
    }
}

/// Gives what is in no order back to the product, once; the product. All tickets must have been booked.
pub async fn close(tx: &mut Transaction, activity_id: i64) -> Result<i64> {
    const BACK: &str = "UPDATE products SET reserved = reserved - ?, available = available + ? WHERE id = ?";
    const CLOSED: &str = "UPDATE seckill_activities SET closed_at = ? WHERE id = ?";
    let activity = lock(tx, activity_id).await?;
    if activity.closed_at.is_none() {
        let left = activity.stock.saturating_sub(activity.booked);
        tx.execute(CLOSED, params![Timestamp::now(), activity_id]).await?;
        tx.execute(BACK, params![left, left, activity.product_id]).await?;
    }
    Ok(activity.product_id)
}
