//! From a paid order to a completed one.

use std::collections::BTreeSet;

use kit::{
    Result, Timestamp,
    jobs::{NewJob, Queue},
    mysql::{Transaction, marks, param},
    params,
};
use serde::{Deserialize, Serialize};

use crate::{
    Actor, Event,
    history::{change, change_all},
    notice::{Kind, telling},
    stock::{Locked, lock_all, lock_any},
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

impl Task {
    pub fn order_no(&self) -> &str {
        match self {
            Task::Ship { order_no }
            | Task::Complete { order_no }
            | Task::Refund { order_no }
            | Task::Relate { order_no } => order_no,
        }
    }

    pub(crate) fn job(&self, due: Timestamp) -> Result<NewJob> {
        Queue::Fulfil.job(self, due)
    }
}

/// What follows when an order of so many lines is paid.
pub(crate) fn after_payment(order_no: &str, lines: usize, now: Timestamp) -> Result<Vec<NewJob>> {
    let mut tasks = vec![Task::Ship { order_no: order_no.to_owned() }];
    if lines > 1 {
        tasks.push(Task::Relate { order_no: order_no.to_owned() });
    }
    tasks.iter().map(|task| task.job(now)).collect()
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
    ship_locked(tx, &[order], parcel.carrier, &[parcel.tracking_no.to_owned()], auto_confirm_seconds, actor).await
}

/// Ships those of the orders that are still paid, with tracking numbers of our own making.
pub async fn ship_by_themselves(
    tx: &mut Transaction,
    order_nos: &BTreeSet<&str>,
    auto_confirm_seconds: i64,
) -> Result<()> {
    let mut orders = lock_all(tx, order_nos).await?;
    orders.retain(|order| order.status.after(Event::Ship).is_ok());
    if orders.is_empty() {
        return Ok(());
    }
    let tracking_nos: Vec<_> = orders.iter().map(|_| ulid::Ulid::generate().to_string()).collect();
    ship_locked(tx, &orders, "mall", &tracking_nos, auto_confirm_seconds, Actor::Shop).await
}

/// Each order has its own tracking number.
async fn ship_locked(
    tx: &mut Transaction,
    orders: &[Locked],
    carrier: &str,
    tracking_nos: &[String],
    auto_confirm_seconds: i64,
    actor: Actor,
) -> Result<()> {
    let next = change_all(tx, orders, Event::Ship, None, actor).await?;
    let sql = format!(
        "UPDATE orders SET status = ?, shipped_at = ?, carrier = ?, tracking_no = CASE order_no {}END
         WHERE order_no IN ({})",
        "WHEN ? THEN ? ".repeat(orders.len()),
        marks(orders.len())
    );
    let now = Timestamp::now();
    let mut values = params![next.name(), now, carrier];
    values.extend(orders.iter().zip(tracking_nos).flat_map(|(order, number)| params![&order.order_no, number]));
    values.extend(orders.iter().map(|order| param(&order.order_no)));
    tx.execute(&sql, values).await?;

    let mut jobs = Vec::new();
    for order in orders {
        let complete = Task::Complete { order_no: order.order_no.clone() };
        jobs.extend([complete.job(now.plus_seconds(auto_confirm_seconds))?, telling(order, Kind::Shipped)?]);
    }
    tx.enqueue(&jobs).await
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
