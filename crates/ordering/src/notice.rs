//! What a user is told of an order. `notify` makes a message of it.

use kit::{
    Result, Timestamp,
    jobs::{NewJob, Queue},
};
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

/// The job of telling the order's user.
pub(crate) fn telling(order: &Locked, kind: Kind) -> Result<NewJob> {
    let notice = Notice { user_id: order.user_id, order_no: order.order_no.clone(), kind };
    Queue::Notify.job(&notice, Timestamp::now())
}
