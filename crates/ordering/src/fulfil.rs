//! From a paid order to a completed one.

use kit::{Result, Timestamp, jobs::Queue, mysql::Transaction, params};
use serde::{Deserialize, Serialize};

use crate::{
    Actor, Event,
    history::change,
    notice::{Kind, tell},
    stock::{Locked, lock_any},
};

/// What the worker `fulfil` does for an order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Task {
    /// Ship what was paid.
    Ship { order_no: String },
    /// Complete what was shipped so long ago that nobody will complain.
    Complete { order_no: String },
    /// Give the money back.
    Refund { order_no: String },
    /// Count which products were bought together.
    Relate { order_no: String },
}

/// Has `fulfil` do it.
pub(crate) async fn enqueue(tx: &mut Transaction, task: &Task, due: Timestamp) -> Result<()> {
    tx.enqueue(Queue::Fulfil, task, due).await
}

/// Has `fulfil` do what follows when an order of so many lines is paid.
pub(crate) async fn after_payment(tx: &mut Transaction, order_no: &str, lines: usize, now: Timestamp) -> Result<()> {
    let mut tasks = vec![Task::Ship { order_no: order_no.to_owned() }];
    if lines > 1 {
        tasks.push(Task::Relate { order_no: order_no.to_owned() });
    }
    tx.enqueue_all(Queue::Fulfil, &tasks, now).await
}

/// With whom a parcel goes, and under which number.
#[derive(Debug, Clone, Copy)]
pub struct Parcel<'a> {
    pub carrier: &'a str,
    pub tracking_no: &'a str,
}

/// Ships a paid order; after so many seconds it completes by itself. 409 `order_state` in any other state.
pub async fn ship(
    tx: &mut Transaction,
    order_no: &str,
    parcel: Parcel<'_>,
    auto_confirm_seconds: i64,
    actor: Actor,
) -> Result<()> {
    let order = lock_any(tx, order_no).await?;
    ship_locked(tx, &order, parcel, auto_confirm_seconds, actor).await
}

async fn ship_locked(
    tx: &mut Transaction,
    order: &Locked,
    parcel: Parcel<'_>,
    auto_confirm_seconds: i64,
    actor: Actor,
) -> Result<()> {
    const SHIPPED: &str =
        "UPDATE orders SET status = ?, shipped_at = ?, carrier = ?, tracking_no = ? WHERE order_no = ?";
    let next = change(tx, order, Event::Ship, None, actor).await?;
    let (now, order_no) = (Timestamp::now(), order.order_no.as_str());
    tx.execute(SHIPPED, params![next.name(), now, parcel.carrier, parcel.tracking_no, order_no]).await?;
    let complete = Task::Complete { order_no: order_no.to_owned() };
    enqueue(tx, &complete, now.plus_seconds(auto_confirm_seconds)).await?;
    tell(tx, order, Kind::Shipped).await
}

/// Ships an order with a tracking number of our own making, if it is still paid.
pub async fn ship_by_itself(tx: &mut Transaction, order_no: &str, auto_confirm_seconds: i64) -> Result<()> {
    let order = lock_any(tx, order_no).await?;
    if order.status.after(Event::Ship).is_err() {
        return Ok(());
    }
    let tracking_no = ulid::Ulid::generate().to_string();
    let parcel = Parcel { carrier: "mall", tracking_no: &tracking_no };
    ship_locked(tx, &order, parcel, auto_confirm_seconds, Actor::Shop).await
}

/// Completes a user's shipped order, because the user says so. 404 if it is somebody else's.
pub async fn confirm(tx: &mut Transaction, user_id: i64, order_no: &str) -> Result<()> {
    let order = crate::stock::lock(tx, user_id, order_no).await?;
    complete(tx, &order, Actor::User(user_id)).await
}

/// Completes an order that is still shipped.
pub async fn complete_by_itself(tx: &mut Transaction, order_no: &str) -> Result<()> {
    let order = lock_any(tx, order_no).await?;
    match order.status.after(Event::Confirm) {
        Ok(_) => complete(tx, &order, Actor::Shop).await,
        Err(_) => Ok(()),
    }
}

async fn complete(tx: &mut Transaction, order: &Locked, actor: Actor) -> Result<()> {
    const COMPLETED: &str = "UPDATE orders SET status = ?, completed_at = ? WHERE order_no = ?";
    let next = change(tx, order, Event::Confirm, None, actor).await?;
    Ok(tx.execute(COMPLETED, params![next.name(), Timestamp::now(), &order.order_no]).await?)
}
