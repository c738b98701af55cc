//! What becomes of the stock that an order holds, and of an order that nobody pays.

use std::collections::BTreeSet;

use kit::{
    Problem, Result, Timestamp,
    jobs::{NewJob, Queue},
    mysql::{Transaction, marks, param},
    params, row,
};
use serde::{Deserialize, Serialize};

use crate::{
    Actor, Cents, Event, Line, OrderState, coupon,
    history::change,
    notice::{Kind, telling},
    sale,
};

row! {
    /// An order under lock: what decides about it.
    pub(crate) struct Locked {
        pub order_no: String, pub user_id: i64, pub status: OrderState, pub total_cents: Cents, pub currency: String,
        pub expires_at: Timestamp, pub shipped_at: Option<Timestamp>, pub refund_no: Option<String>,
        /// If it came from a flash sale.
        pub ticket: Option<String>,
    }
}

const SELECT: &str =
    "SELECT order_no, user_id, status, total_cents, currency, expires_at, shipped_at, refund_no, ticket FROM orders";

/// Locks orders, whoever's they are, in the order of their numbers; 404 if one of them is none.
pub(crate) async fn lock_all(tx: &mut Transaction, order_nos: &BTreeSet<&str>) -> Result<Vec<Locked>> {
    let sql = format!("{SELECT} WHERE order_no IN ({}) ORDER BY order_no FOR UPDATE", marks(order_nos.len()));
    let orders = tx.query::<Locked>(&sql, order_nos.iter().copied().map(param).collect()).await?;
    if orders.len() == order_nos.len() { Ok(orders) } else { Err(Problem::not_found("order")) }
}

/// Locks an order, whoever's it is; 404 if there is none.
pub(crate) async fn lock_any(tx: &mut Transaction, order_no: &str) -> Result<Locked> {
    let mut orders = lock_all(tx, &BTreeSet::from([order_no])).await?;
    orders.pop().ok_or_else(|| Problem::not_found("order"))
}

/// Locks a user's order; 404 if it is somebody else's.
pub(crate) async fn lock(tx: &mut Transaction, user_id: i64, order_no: &str) -> Result<Locked> {
    let order = lock_any(tx, order_no).await?;
    if order.user_id == user_id { Ok(order) } else { Err(Problem::not_found("order")) }
}

/// The job of `timer`: an order that may have to be cancelled.
#[derive(Debug, Serialize, Deserialize)]
pub struct Expiry {
    pub order_no: String,
}

impl Expiry {
    pub(crate) fn job(&self, due: Timestamp) -> Result<NewJob> {
        Queue::Timer.job(self, due)
    }
}

/// Cancels a user's order while it is pending, and gives its stock and coupon back. The ticket, if it came from a flash
/// sale: [`sale::forget`] it after the commit.
pub async fn cancel(
    tx: &mut Transaction,
    user_id: i64,
    order_no: &str,
    reason: Option<&str>,
) -> Result<Option<String>> {
    let order = lock(tx, user_id, order_no).await?;
    end(tx, &order, Event::Cancel, reason, Actor::User(user_id)).await?;
    Ok(order.ticket)
}

/// Cancels an order that is still pending after its time; the products whose stock changed.
pub async fn expire(tx: &mut Transaction, order_no: &str) -> Result<Vec<Line>> {
    let order = lock_any(tx, order_no).await?;
    match order.status.after(Event::Expire) {
        Ok(_) => end(tx, &order, Event::Expire, Some("not paid in time"), Actor::Shop).await,
        Err(_) => Ok(Vec::new()),
    }
}

async fn end(
    tx: &mut Transaction,
    order: &Locked,
    event: Event,
    reason: Option<&str>,
    actor: Actor,
) -> Result<Vec<Line>> {
    const CANCEL: &str = "UPDATE orders SET status = ?, cancelled_at = ?, cancel_reason = ? WHERE order_no = ?";
    let next = change(tx, order, event, reason, actor).await?;
    tx.execute(CANCEL, params![next.name(), Timestamp::now(), reason, &order.order_no]).await?;
    let kind = if event == Event::Expire { Kind::Expired } else { Kind::Cancelled };
    tx.enqueue(&[telling(order, kind)?]).await?;
    coupon::give_back(tx, &order.order_no).await?;
    let back = back_to(tx, order).await?;
    move_held(tx, &order.order_no, "reserved", back).await
}

/// The count of its products that an order's units go back to.
async fn back_to(tx: &mut Transaction, order: &Locked) -> Result<&'static str> {
    match &order.ticket {
        Some(ticket) => sale::let_go(tx, ticket).await,
        None => Ok("available"),
    }
}

/// What is available is reserved. The products are locked, and there is enough of each.
pub(crate) async fn reserve(tx: &mut Transaction, lines: impl Iterator<Item = Line>) -> Result<()> {
    shift(tx, &lines.collect::<Vec<_>>(), "available", "reserved").await
}

/// What an order reserved is sold.
pub(crate) async fn sell(tx: &mut Transaction, lines: &[Line]) -> Result<()> {
    shift(tx, lines, "reserved", "sold").await
}

/// What was sold can be bought again.
pub(crate) async fn take_back(tx: &mut Transaction, order: &Locked) -> Result<Vec<Line>> {
    let back = back_to(tx, order).await?;
    move_held(tx, &order.order_no, "sold", back).await
}

row! {
    struct Held { product_id: i64, quantity: i64 }
}

/// The lines of an order.
pub(crate) async fn held(tx: &mut Transaction, order_no: &str) -> Result<Vec<Line>> {
    const HELD: &str = "SELECT product_id, quantity FROM order_items WHERE order_no = ?";
    let held = tx.query::<Held>(HELD, params![order_no]).await?;
    Ok(held.into_iter().map(|held| Line { product_id: held.product_id, quantity: held.quantity }).collect())
}

async fn move_held(tx: &mut Transaction, order_no: &str, from: &str, to: &str) -> Result<Vec<Line>> {
    let lines = held(tx, order_no).await?;
    shift(tx, &lines, from, to).await?;
    Ok(lines)
}

/// Moves each line's quantity from one count of its product to another: in one statement, because all who want these
/// products wait for the end of this transaction. The primary key is walked, and so locked, in its order.
async fn shift(tx: &mut Transaction, lines: &[Line], from: &str, to: &str) -> Result<()> {
    if from == to {
        return Ok(());
    }
    let quantity = format!("CASE id {}END", "WHEN ? THEN ? ".repeat(lines.len()));
    let sql = format!(
        "UPDATE products SET {from} = {from} - {quantity}, {to} = {to} + {quantity} WHERE id IN ({})",
        marks(lines.len())
    );
    let quantities = || lines.iter().flat_map(|line| params![line.product_id, line.quantity]);
    let ids = lines.iter().map(|line| param(line.product_id));
    Ok(tx.execute(&sql, quantities().chain(quantities()).chain(ids).collect()).await?)
}
