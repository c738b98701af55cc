//! Notifications about orders. The worker `notify` sends them as messages.

use accounts::message::Kind;
use i18n::Message;
use kit::{
    OrderNo, Result, Timestamp, UserId,
    jobs::{NewJob, Queue},
};
use serde::{Deserialize, Serialize, Serializer};

use crate::locked_order::LockedOrder;

/// The payload of a `notify` job.
#[derive(Debug, Serialize, Deserialize)]
pub struct Notification {
    pub user_id: UserId,
    pub order_no: OrderNo,
    #[serde(serialize_with = "as_before")]
    pub kind: Kind,
}

/// As the version before this one reads it: both may run during a rollout. `Kind` reads both names.
fn as_before<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    let name: &str = kind.into();
    serializer.serialize_str(name.strip_prefix("order_").unwrap_or(name))
}

impl Notification {
    /// None if the kind is not one about orders.
    pub fn message(&self) -> Option<Message<'_>> {
        let order_no = self.order_no.as_str();
        Some(match self.kind {
            Kind::OrderPaid => Message::OrderPaid { order_no },
            Kind::OrderShipped => Message::OrderShipped { order_no },
            Kind::OrderCancelled => Message::OrderCancelled { order_no },
            Kind::OrderExpired => Message::OrderExpired { order_no },
            Kind::OrderRefunded => Message::OrderRefunded { order_no },
            Kind::RefundRejected => Message::RefundRejected { order_no },
            Kind::PasswordChanged
            | Kind::PasswordReset
            | Kind::EmailChanged
            | Kind::IdentityLinked
            | Kind::IdentityUnlinked => return None,
        })
    }
}

/// A job that notifies the order's user.
pub(crate) fn notification_job(order: &LockedOrder, kind: Kind) -> Result<NewJob> {
    let notification = Notification { user_id: order.user_id, order_no: order.order_no.clone(), kind };
    Queue::Notify.job(&notification, Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_of_an_earlier_version_are_read() {
        let old = r#"{"user_id":1,"order_no":"01X","kind":"paid"}"#;
        let notification = serde_json::from_str::<Notification>(old).unwrap();
        assert_eq!(notification.kind, Kind::OrderPaid);
        assert_eq!(serde_json::to_string(&notification).unwrap(), old);
    }
}
