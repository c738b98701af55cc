//! From a paid order to a completed one.

use std::collections::BTreeSet;

use accounts::message::Kind;
use kit::{
    OrderNo, Result, Timestamp, UserId,
    jobs::{NewJob, Queue},
    mysql::{Transaction, param, placeholders},
    params,
};
use ledger::Transfer;
use products::bought_together;
use serde::{Deserialize, Serialize};

use crate::{
    history::{Actor, transition_all},
    locked_order::{LockedOrder, lock, lock_all, lock_any, order_lines},
    notification::notification_job,
    state::Event,
};

/// What the worker `fulfil` does for an order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Task {
    /// Ship a paid order.
    Ship { order_no: OrderNo },
    /// Complete an order that was shipped a while ago.
    Complete { order_no: OrderNo },
    /// Refund an order.
    Refund { order_no: OrderNo },
    /// Count which products were bought together.
    Relate { order_no: OrderNo },
}

impl Task {
    pub fn order_no(&self) -> &OrderNo {
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

/// The jobs that follow the payment of an order with this many lines.
pub(crate) fn after_payment(order_no: &OrderNo, lines: usize, now: Timestamp) -> Result<Vec<NewJob>> {
    let mut tasks = vec![Task::Ship { order_no: order_no.clone() }];
    if lines > 1 {
        tasks.push(Task::Relate { order_no: order_no.clone() });
    }
    tasks.iter().map(|task| task.job(now)).collect()
}

#[derive(Debug, Clone, Copy)]
pub struct Shipment<'a> {
    pub carrier: &'a str,
    pub tracking_no: &'a str,
}

/// Ships a paid order; after `auto_confirm_seconds` it completes automatically. 409 `order_state` in any other state.
pub async fn ship(
    tx: &mut Transaction,
    order_no: &OrderNo,
    shipment: Shipment<'_>,
    auto_confirm_seconds: i64,
    actor: Actor,
) -> Result<()> {
    let order = lock_any(tx, order_no).await?;
    ship_locked(tx, &[order], shipment.carrier, &[shipment.tracking_no.to_owned()], auto_confirm_seconds, actor).await
}

/// Ships those of the orders that are still paid, with generated tracking numbers; 404 if one of them does not exist.
pub async fn auto_ship(tx: &mut Transaction, order_nos: &BTreeSet<&OrderNo>, auto_confirm_seconds: i64) -> Result<()> {
    let mut orders = lock_all(tx, order_nos).await?;
    orders.retain(|order| order.status.after(Event::Ship).is_ok());
    if orders.is_empty() {
        return Ok(());
    }
    let tracking_nos: Vec<_> = orders.iter().map(|_| ulid::Ulid::generate().to_string()).collect();
    ship_locked(tx, &orders, "mall", &tracking_nos, auto_confirm_seconds, Actor::Shop).await
}

/// `tracking_nos` has a number for each order.
async fn ship_locked(
    tx: &mut Transaction,
    orders: &[LockedOrder],
    carrier: &str,
    tracking_nos: &[String],
    auto_confirm_seconds: i64,
    actor: Actor,
) -> Result<()> {
    let next = transition_all(tx, orders, Event::Ship, None, actor).await?;
    let sql = format!(
        "UPDATE orders SET status = ?, shipped_at = ?, carrier = ?, tracking_no = CASE order_no {}END
         WHERE order_no IN ({})",
        "WHEN ? THEN ? ".repeat(orders.len()),
        placeholders(orders.len())
    );
    let now = Timestamp::now();
    let mut values = params![next, now, carrier];
    values.extend(orders.iter().zip(tracking_nos).flat_map(|(order, number)| params![&order.order_no, number]));
    values.extend(orders.iter().map(|order| param(&order.order_no)));
    tx.execute(&sql, values).await?;

    let mut jobs = Vec::new();
    for order in orders {
        let complete = Task::Complete { order_no: order.order_no.clone() };
        jobs.extend([
            complete.job(now.plus_seconds(auto_confirm_seconds))?,
            notification_job(order, Kind::OrderShipped)?,
        ]);
    }
    tx.enqueue(&jobs).await
}

/// Completes a shipped order whose user confirms the receipt. 404 if it is another user's, 409 `order_state` in any
/// other state.
pub async fn confirm(tx: &mut Transaction, user_id: UserId, order_no: &OrderNo) -> Result<()> {
    let order = lock(tx, user_id, order_no).await?;
    complete(tx, &[order], Actor::User(user_id)).await
}

/// Completes those of the orders that are still shipped; 404 if one of them does not exist.
pub async fn auto_complete(tx: &mut Transaction, order_nos: &BTreeSet<&OrderNo>) -> Result<()> {
    let mut orders = lock_all(tx, order_nos).await?;
    orders.retain(|order| order.status.after(Event::Confirm).is_ok());
    if orders.is_empty() { Ok(()) } else { complete(tx, &orders, Actor::Shop).await }
}

/// Completes orders, at least one.
async fn complete(tx: &mut Transaction, orders: &[LockedOrder], actor: Actor) -> Result<()> {
    let next = transition_all(tx, orders, Event::Confirm, None, actor).await?;
    let sql =
        format!("UPDATE orders SET status = ?, completed_at = ? WHERE order_no IN ({})", placeholders(orders.len()));
    let mut values = params![next, Timestamp::now()];
    values.extend(orders.iter().map(|order| param(&order.order_no)));
    tx.execute(&sql, values).await?;
    let earned = orders.iter().map(|order| Transfer::complete(&order.order_no, order.total_cents, &order.currency));
    ledger::record(tx, &earned.collect::<Vec<_>>()).await
}

/// Only the first lines of an order are counted, since the number of pairs grows with the square of the lines.
const MAX_COUNTED_LINES: usize = 20;

/// Counts for each of the orders, at least one, which products were bought together.
pub async fn count_bought_together(tx: &mut Transaction, order_nos: &BTreeSet<&OrderNo>) -> Result<()> {
    let lines = order_lines(tx, order_nos.iter().copied()).await?;
    let orders = lines.chunk_by(|a, b| a.order_no == b.order_no);
    let products = orders.map(|lines| lines.iter().take(MAX_COUNTED_LINES).map(|line| line.product_id).collect());
    bought_together::count_pairs(tx, products).await
}
