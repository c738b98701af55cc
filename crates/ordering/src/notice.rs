//! What a user is told of an order. `notify` makes a message of it.

use kit::{Result, Timestamp, jobs::Queue, mysql::Transaction};
use serde::{Deserialize, Serialize};

use crate::stock::Locked;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Paid,
    Shipped,
    Cancelled,
    /// Not paid in time, and so cancelled.
    Expired,
    Refunded,
    RefundRejected,
}

/// The job of `notify`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Notice {
    pub user_id: i64,
    pub order_no: String,
    pub kind: Kind,
}

/// Has the order's user told.
pub(crate) async fn tell(tx: &mut Transaction, order: &Locked, kind: Kind) -> Result<()> {
    let notice = Notice { user_id: order.user_id, order_no: order.order_no.clone(), kind };
    tx.enqueue(Queue::Notify, &notice, Timestamp::now()).await
}
