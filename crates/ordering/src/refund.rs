//! Refunds. Before an order is shipped, the worker refunds it automatically; after that, an admin decides.

use accounts::message::Kind;
use kit::{Cents, OrderNo, Problem, Result, Timestamp, UserId, mysql::Transaction, params, row, text_column};
use ledger::Transfer;
use products::StockCount;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};
use utoipa::ToSchema;

use crate::{
    cancellation::release_stock,
    fulfilment::Task,
    history::{Actor, transition},
    locked_order::{LockedOrder, lock, lock_any},
    notification::notification_job,
    provider::Provider,
    state::{Event, OrderState, invalid_state},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum RefundStatus {
    /// An admin has to decide.
    Requested,
    /// The worker is about to refund it.
    Approved,
    Succeeded,
    Rejected,
}

text_column!(RefundStatus);

/// An order's last refund.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Refund {
    #[schema(max_length = 32, example = "01KAVT2QB0M3E5X7K9S1D4F6GH")]
    pub refund_no: String,
    pub status: RefundStatus,
    pub amount_cents: Cents,
    /// Given by the user.
    #[schema(example = "It does not fit")]
    pub reason: String,
    /// Given by the admin who rejected it.
    #[schema(required)]
    pub reject_reason: Option<String>,
}

row! {
    struct RefundRow {
        refund_no: String as "r.refund_no",
        payment_no: String as "r.payment_no",
        status: RefundStatus as "r.status",
        amount_cents: Cents as "r.amount_cents",
        provider: Provider as "p.provider",
    }
}

row! {
    struct PaymentRow { payment_no: String, amount_cents: Cents }
}

/// Requests a refund of a user's order. 404 if it is another user's, 409 `order_state` unless it is paid or shipped.
pub async fn request(tx: &mut Transaction, user_id: UserId, order_no: &OrderNo, reason: &str) -> Result<()> {
    const PAID: &str = "
        SELECT payment_no, amount_cents FROM payments WHERE order_no = ? AND status = 'succeeded' LIMIT 1";
    const INSERT: &str = "
        INSERT INTO refunds (refund_no, order_no, payment_no, status, amount_cents, reason, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)";
    const REFUNDING: &str = "UPDATE orders SET status = ?, refund_no = ? WHERE order_no = ?";
    let order = lock(tx, user_id, order_no).await?;
    let next = transition(tx, &order, Event::RequestRefund, Some(reason), Actor::User(user_id)).await?;
    let paid = tx
        .query_one::<PaymentRow>(PAID, params![order_no])
        .await?
        .ok_or_else(|| Problem::internal().because("a paid order has no payment"))?;
    let status = if order.status == OrderState::Paid { RefundStatus::Approved } else { RefundStatus::Requested };
    let refund_no = ulid::Ulid::generate().to_string();
    let now = Timestamp::now();
    let values = params![&refund_no, order_no, &paid.payment_no, status, paid.amount_cents, reason, now];
    tx.execute(INSERT, values).await?;
    tx.execute(REFUNDING, params![next, &refund_no, order_no]).await?;
    if status == RefundStatus::Approved {
        let due = Transfer::refund(&refund_no, paid.amount_cents, &order.currency, order_no);
        ledger::record(tx, &[due]).await?;
        tx.enqueue(&[Task::Refund { order_no: order_no.clone() }.job(now)?]).await?;
    }
    Ok(())
}

/// Approves a refund, which the worker then carries out. 409 `order_state` unless one is waiting for a decision.
pub async fn approve(tx: &mut Transaction, order_no: &OrderNo) -> Result<()> {
    const APPROVED: &str = "UPDATE refunds SET status = ? WHERE refund_no = ?";
    let (order, refund) = lock_requested(tx, order_no).await?;
    tx.execute(APPROVED, params![RefundStatus::Approved, &refund.refund_no]).await?;
    let due = Transfer::refund(&refund.refund_no, refund.amount_cents, &order.currency, order_no);
    ledger::record(tx, &[due]).await?;
    tx.enqueue(&[Task::Refund { order_no: order_no.clone() }.job(Timestamp::now())?]).await
}

/// Rejects a refund. The order is `shipped` again, and completes automatically `auto_confirm_seconds` after it was
/// shipped. 409 `order_state` unless a refund is waiting for a decision.
pub async fn reject(
    tx: &mut Transaction,
    order_no: &OrderNo,
    reason: &str,
    auto_confirm_seconds: i64,
    actor: Actor,
) -> Result<()> {
    const REJECTED: &str = "UPDATE refunds SET status = ?, reject_reason = ?, settled_at = ? WHERE refund_no = ?";
    const SHIPPED_AGAIN: &str = "UPDATE orders SET status = ? WHERE order_no = ?";
    let (order, refund) = lock_requested(tx, order_no).await?;
    let next = transition(tx, &order, Event::RejectRefund, Some(reason), actor).await?;
    let now = Timestamp::now();
    tx.execute(REJECTED, params![RefundStatus::Rejected, reason, now, &refund.refund_no]).await?;
    tx.execute(SHIPPED_AGAIN, params![next, order_no]).await?;
    // The job that completes the order may have run in the meantime, without effect.
    let due = order.shipped_at.unwrap_or(now).plus_seconds(auto_confirm_seconds).max(now);
    let complete = Task::Complete { order_no: order_no.clone() };
    tx.enqueue(&[complete.job(due)?, notification_job(&order, Kind::RefundRejected)?]).await
}

/// Refunds an order and releases its stock, unless that has been done; `release_units` as for [`crate::cancel`]. The
/// provider recognises a repeated request by the number of the refund.
pub async fn settle(
    tx: &mut Transaction,
    order_no: &OrderNo,
    release_units: impl AsyncFn(&mut Transaction, &[&str]) -> Result<Vec<StockCount>>,
) -> Result<()> {
    const SETTLED: &str = "UPDATE refunds SET status = ?, settled_at = ? WHERE refund_no = ?";
    const REFUNDED: &str = "UPDATE orders SET status = ? WHERE order_no = ?";
    let order = lock_any(tx, order_no).await?;
    let refund = match find(tx, &order).await? {
        Some(refund) if order.status == OrderState::Refunding && refund.status == RefundStatus::Approved => refund,
        _ => return Ok(()),
    };
    refund.provider.refund(&refund.payment_no, &refund.refund_no, refund.amount_cents).await?;
    let next = transition(tx, &order, Event::Refund, None, Actor::Shop).await?;
    tx.execute(SETTLED, params![RefundStatus::Succeeded, Timestamp::now(), &refund.refund_no]).await?;
    tx.execute(REFUNDED, params![next, order_no]).await?;
    let (provider, amount) = (refund.provider.into(), refund.amount_cents);
    let refunded = Transfer::refunded(&refund.refund_no, provider, amount, &order.currency, order_no);
    ledger::record(tx, &[refunded]).await?;
    tx.enqueue(&[notification_job(&order, Kind::OrderRefunded)?]).await?;
    release_stock(tx, &[order], StockCount::Sold, release_units).await
}

/// Locks an order and reads its refund, which must be waiting for a decision.
async fn lock_requested(tx: &mut Transaction, order_no: &OrderNo) -> Result<(LockedOrder, RefundRow)> {
    let order = lock_any(tx, order_no).await?;
    match find(tx, &order).await? {
        Some(refund) if order.status == OrderState::Refunding && refund.status == RefundStatus::Requested => {
            Ok((order, refund))
        }
        _ => Err(invalid_state("No refund of this order is waiting for a decision".to_owned())),
    }
}

async fn find(tx: &mut Transaction, order: &LockedOrder) -> Result<Option<RefundRow>> {
    let Some(refund_no) = &order.refund_no else { return Ok(None) };
    let sql = format!(
        "SELECT {} FROM refunds r JOIN payments p ON p.payment_no = r.payment_no WHERE r.refund_no = ?",
        RefundRow::COLUMNS
    );
    Ok(tx.query_one(&sql, params![refund_no]).await?)
}
