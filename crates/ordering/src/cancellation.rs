//! Cancelling unpaid orders, which releases their stock and their coupons.

use std::collections::{BTreeMap, BTreeSet};

use accounts::message::Kind;
use kit::{
    OrderNo, Problem, Result, Timestamp, UserId,
    mysql::{Transaction, param, placeholders},
    params,
};
use products::{StockCount, stock};

use crate::{
    coupon,
    history::{Actor, transition_all},
    locked_order::{LockedOrder, OrderLine, lock, lock_all, order_lines},
    notification::notification_job,
    payment,
    state::Event,
};

/// Cancels a user's pending order and releases its stock and coupon. 404 if it is another user's, 409 `order_state` if
/// it is not pending. `release_units` returns the units of flash-sale tickets, and for each the count of the product
/// that it now belongs to.
pub async fn cancel(
    tx: &mut Transaction,
    user_id: UserId,
    order_no: &OrderNo,
    reason: Option<&str>,
    release_units: impl AsyncFn(&mut Transaction, &[&str]) -> Result<Vec<StockCount>>,
) -> Result<()> {
    let order = lock(tx, user_id, order_no).await?;
    cancel_locked(tx, &[order], Event::Cancel, reason, Actor::User(user_id), release_units).await
}

/// Cancels those of the orders that are still pending, whose time to pay has passed; 404 if one of them does not exist.
/// `release_units` as for [`cancel`].
pub async fn expire(
    tx: &mut Transaction,
    order_nos: &BTreeSet<&OrderNo>,
    release_units: impl AsyncFn(&mut Transaction, &[&str]) -> Result<Vec<StockCount>>,
) -> Result<()> {
    let mut orders = lock_all(tx, order_nos).await?;
    orders.retain(|order| order.status.after(Event::Expire).is_ok());
    if orders.is_empty() {
        return Ok(());
    }
    cancel_locked(tx, &orders, Event::Expire, Some("not paid in time"), Actor::Shop, release_units).await
}

/// Cancels orders, at least one.
async fn cancel_locked(
    tx: &mut Transaction,
    orders: &[LockedOrder],
    event: Event,
    reason: Option<&str>,
    actor: Actor,
    release_units: impl AsyncFn(&mut Transaction, &[&str]) -> Result<Vec<StockCount>>,
) -> Result<()> {
    let next = transition_all(tx, orders, event, reason, actor).await?;
    let sql = format!(
        "UPDATE orders SET status = ?, cancelled_at = ?, cancel_reason = ? WHERE order_no IN ({})",
        placeholders(orders.len())
    );
    let mut values = params![next, Timestamp::now(), reason];
    values.extend(orders.iter().map(|order| param(&order.order_no)));
    tx.execute(&sql, values).await?;
    payment::cancel_pending(tx, orders).await?;
    let kind = if event == Event::Expire { Kind::OrderExpired } else { Kind::OrderCancelled };
    let notifications = orders.iter().map(|order| notification_job(order, kind)).collect::<Result<Vec<_>>>()?;
    tx.enqueue(&notifications).await?;
    coupon::release(tx, orders.iter().map(|order| &order.order_no)).await?;
    release_stock(tx, orders, StockCount::Reserved, release_units).await
}

/// Makes the units of locked orders available again. `from` is their current count.
pub(crate) async fn release_stock(
    tx: &mut Transaction,
    orders: &[LockedOrder],
    from: StockCount,
    release_units: impl AsyncFn(&mut Transaction, &[&str]) -> Result<Vec<StockCount>>,
) -> Result<()> {
    let tickets: Vec<_> = orders.iter().filter_map(|order| order.ticket.as_deref()).collect();
    let counts = if tickets.is_empty() { Vec::new() } else { release_units(tx, &tickets).await? };
    let count_of_ticket: BTreeMap<_, _> = tickets.into_iter().zip(counts).collect();
    let mut moved = BTreeMap::new();
    for order in orders {
        let to = match &order.ticket {
            None => StockCount::Available,
            Some(ticket) => *count_of_ticket
                .get(ticket.as_str())
                .ok_or_else(|| Problem::internal().because("a ticket's unit was not released"))?,
        };
        if to != from {
            moved.insert(&order.order_no, to);
        }
    }
    if moved.is_empty() {
        return Ok(());
    }
    let lines = order_lines(tx, moved.keys().copied()).await?;
    for to in [StockCount::Available, StockCount::Reserved] {
        let lines = lines.iter().filter(|line| moved.get(&line.order_no) == Some(&to));
        stock::transfer(tx, &lines.map(OrderLine::line).collect::<Vec<_>>(), from, to).await?;
    }
    Ok(())
}
