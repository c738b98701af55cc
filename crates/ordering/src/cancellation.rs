//! Cancelling an unpaid order, which releases its stock and its coupon.

use accounts::message::Kind;
use kit::{OrderNo, Result, Timestamp, UserId, mysql::Transaction, params};
use products::{StockCount, stock};

use crate::{
    coupon,
    history::{Actor, transition},
    locked_order::{LockedOrder, lock, lock_any, order_lines},
    notification::notification_job,
    state::Event,
};

/// Cancels a user's pending order and releases its stock and coupon. 404 if it is another user's, 409 `order_state` if
/// it is not pending. `release_unit` returns the unit of a flash sale's ticket, and the count of the product that the
/// unit now belongs to.
pub async fn cancel(
    tx: &mut Transaction,
    user_id: UserId,
    order_no: &OrderNo,
    reason: Option<&str>,
    release_unit: impl AsyncFn(&mut Transaction, &str) -> Result<StockCount>,
) -> Result<()> {
    let order = lock(tx, user_id, order_no).await?;
    cancel_locked(tx, &order, Event::Cancel, reason, Actor::User(user_id), release_unit).await
}

/// Cancels an order if its time to pay has passed and it is still pending; `release_unit` as for [`cancel`].
pub async fn expire(
    tx: &mut Transaction,
    order_no: &OrderNo,
    release_unit: impl AsyncFn(&mut Transaction, &str) -> Result<StockCount>,
) -> Result<()> {
    let order = lock_any(tx, order_no).await?;
    match order.status.after(Event::Expire) {
        Ok(_) => cancel_locked(tx, &order, Event::Expire, Some("not paid in time"), Actor::Shop, release_unit).await,
        Err(_) => Ok(()),
    }
}

async fn cancel_locked(
    tx: &mut Transaction,
    order: &LockedOrder,
    event: Event,
    reason: Option<&str>,
    actor: Actor,
    release_unit: impl AsyncFn(&mut Transaction, &str) -> Result<StockCount>,
) -> Result<()> {
    const CANCEL: &str = "UPDATE orders SET status = ?, cancelled_at = ?, cancel_reason = ? WHERE order_no = ?";
    let next = transition(tx, order, event, reason, actor).await?;
    tx.execute(CANCEL, params![next, Timestamp::now(), reason, &order.order_no]).await?;
    let kind = if event == Event::Expire { Kind::OrderExpired } else { Kind::OrderCancelled };
    tx.enqueue(&[notification_job(order, kind)?]).await?;
    coupon::release(tx, &order.order_no).await?;
    release_stock(tx, order, StockCount::Reserved, release_unit).await
}

/// Makes the units of a locked order available again. `from` is their current count.
pub(crate) async fn release_stock(
    tx: &mut Transaction,
    order: &LockedOrder,
    from: StockCount,
    release_unit: impl AsyncFn(&mut Transaction, &str) -> Result<StockCount>,
) -> Result<()> {
    let to = match &order.ticket {
        Some(ticket) => release_unit(tx, ticket).await?,
        None => StockCount::Available,
    };
    let lines = order_lines(tx, &order.order_no).await?;
    stock::transfer(tx, &lines, from, to).await
}
