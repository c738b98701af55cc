//! Giving money back. Before an order was shipped the worker does it by itself, after that an admin decides.

use kit::{Problem, Result, Timestamp, mysql::Transaction, params, row};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Actor, Cents, Event, Line, OrderState, Provider,
    fulfil::Task,
    history::change,
    notice::{Kind, telling},
    state::refused,
    stock::{Locked, lock, lock_any, take_back},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    /// Waits for an admin.
    Requested,
    /// The worker is about to give the money back.
    Approved,
    Succeeded,
    Rejected,
}

impl RefundStatus {
    fn name(self) -> &'static str {
        match self {
            RefundStatus::Requested => "requested",
            RefundStatus::Approved => "approved",
            RefundStatus::Succeeded => "succeeded",
            RefundStatus::Rejected => "rejected",
        }
    }
}

impl kit::mysql::Column for RefundStatus {
    fn from_value(value: spin_sdk::mysql::DbValue) -> Result<Self, String> {
        let name = String::from_value(value)?;
        let all = [RefundStatus::Requested, RefundStatus::Approved, RefundStatus::Succeeded, RefundStatus::Rejected];
        all.into_iter().find(|status| status.name() == name).ok_or_else(|| "is no state of a refund".to_owned())
    }
}

/// An order's last refund.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Refund {
    pub refund_no: String,
    pub status: RefundStatus,
    pub amount_cents: Cents,
    /// The user's.
    pub reason: String,
    /// The admin's who rejected it.
    #[schema(required)]
    pub reject_reason: Option<String>,
}

row! {
    struct RefundRow { refund_no: String, payment_no: String, status: RefundStatus, amount_cents: Cents, provider: String }
}

row! {
    struct Paid { payment_no: String, amount_cents: Cents }
}

/// Asks for a user's money back. 409 `order_state` unless the order is paid or shipped.
pub async fn request(tx: &mut Transaction, user_id: i64, order_no: &str, reason: &str) -> Result<()> {
    const PAID: &str = "
        SELECT payment_no, amount_cents FROM payments WHERE order_no = ? AND status = 'succeeded' LIMIT 1";
    const INSERT: &str = "
        INSERT INTO refunds (refund_no, order_no, payment_no, status, amount_cents, reason, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)";
    const REFUNDING: &str = "UPDATE orders SET status = ?, refund_no = ? WHERE order_no = ?";
    let order = lock(tx, user_id, order_no).await?;
    let next = change(tx, &order, Event::RequestRefund, Some(reason), Actor::User(user_id)).await?;
    let paid = tx.query_one::<Paid>(PAID, params![order_no]).await?.ok_or_else(Problem::internal)?;
    let status = if order.status == OrderState::Paid { RefundStatus::Approved } else { RefundStatus::Requested };
    let refund_no = ulid::Ulid::generate().to_string();
    let now = Timestamp::now();
    let values = params![&refund_no, order_no, &paid.payment_no, status.name(), paid.amount_cents, reason, now];
    tx.execute(INSERT, values).await?;
    tx.execute(REFUNDING, params![next.name(), &refund_no, order_no]).await?;
    if status == RefundStatus::Approved {
        tx.enqueue(&[Task::Refund { order_no: order_no.to_owned() }.job(now)?]).await?;
    }
    Ok(())
}

/// Has the worker give the money back. 409 `order_state` unless a refund waits for an admin.
pub async fn approve(tx: &mut Transaction, order_no: &str) -> Result<()> {
    const APPROVED: &str = "UPDATE refunds SET status = ? WHERE refund_no = ?";
    let (_, refund) = waiting(tx, order_no).await?;
    tx.execute(APPROVED, params![RefundStatus::Approved.name(), &refund.refund_no]).await?;
    tx.enqueue(&[Task::Refund { order_no: order_no.to_owned() }.job(Timestamp::now())?]).await
}

/// Leaves the order shipped, to complete by itself after so many seconds from then. 409 `order_state` unless a refund
/// waits for an admin.
pub async fn reject(
    tx: &mut Transaction,
    order_no: &str,
    reason: &str,
    auto_confirm_seconds: i64,
    actor: Actor,
) -> Result<()> {
    const REJECTED: &str = "UPDATE refunds SET status = ?, reject_reason = ?, settled_at = ? WHERE refund_no = ?";
    const BACK: &str = "UPDATE orders SET status = ? WHERE order_no = ?";
    let (order, refund) = waiting(tx, order_no).await?;
    let next = change(tx, &order, Event::RejectRefund, Some(reason), actor).await?;
    let now = Timestamp::now();
    tx.execute(REJECTED, params![RefundStatus::Rejected.name(), reason, now, &refund.refund_no]).await?;
    tx.execute(BACK, params![next.name(), order_no]).await?;
    // The job that waited for this may have come while there was nothing to complete.
    let due = order.shipped_at.unwrap_or(now).plus_seconds(auto_confirm_seconds).max(now);
    let complete = Task::Complete { order_no: order_no.to_owned() };
    tx.enqueue(&[complete.job(due)?, telling(&order, Kind::RefundRejected)?]).await
}

/// Gives money and stock back, if that is still to be done; the products whose stock changed. The provider recognises a
/// repeated request by the refund's number.
pub async fn settle(tx: &mut Transaction, order_no: &str) -> Result<Vec<Line>> {
    const SETTLED: &str = "UPDATE refunds SET status = ?, settled_at = ? WHERE refund_no = ?";
    const REFUNDED: &str = "UPDATE orders SET status = ? WHERE order_no = ?";
    let order = lock_any(tx, order_no).await?;
    let refund = match find(tx, &order).await? {
        Some(refund) if order.status == OrderState::Refunding && refund.status == RefundStatus::Approved => refund,
        _ => return Ok(Vec::new()),
    };
    let provider = Provider::from_name(&refund.provider).ok_or_else(Problem::internal)?;
    provider.refund(&refund.payment_no, &refund.refund_no, refund.amount_cents).await?;
    let next = change(tx, &order, Event::Refund, None, Actor::Shop).await?;
    tx.execute(SETTLED, params![RefundStatus::Succeeded.name(), Timestamp::now(), &refund.refund_no]).await?;
    tx.execute(REFUNDED, params![next.name(), order_no]).await?;
    tx.enqueue(&[telling(&order, Kind::Refunded)?]).await?;
    take_back(tx, &order).await
}

/// The order, locked, and its refund that waits for an admin.
async fn waiting(tx: &mut Transaction, order_no: &str) -> Result<(Locked, RefundRow)> {
    let order = lock_any(tx, order_no).await?;
    match find(tx, &order).await? {
        Some(refund) if order.status == OrderState::Refunding && refund.status == RefundStatus::Requested => {
            Ok((order, refund))
        }
        _ => Err(refused("No refund of the order waits for a decision".to_owned())),
    }
}

async fn find(tx: &mut Transaction, order: &Locked) -> Result<Option<RefundRow>> {
    const FIND: &str = "
        SELECT r.refund_no, r.payment_no, r.status, r.amount_cents, p.provider
        FROM refunds r JOIN payments p ON p.payment_no = r.payment_no WHERE r.refund_no = ?";
    match &order.refund_no {
        Some(refund_no) => Ok(tx.query_one(FIND, params![refund_no]).await?),
        None => Ok(None),
    }
}
