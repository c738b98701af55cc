//! The order's states, and the only place that says which follows which.

use kit::{Code, Problem, Result};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// Placed, its stock reserved, not paid.
    Pending,
    Paid,
    Shipped,
    Completed,
    Cancelled,
    Refunding,
    Refunded,
}

/// What happens to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Pay,
    /// By the user.
    Cancel,
    /// Not paid in time.
    Expire,
    Ship,
    /// By the user, or by itself after a while.
    Confirm,
    RequestRefund,
    /// After which the order is what it was before the request.
    RejectRefund,
    /// The money is back.
    Refund,
}

impl Event {
    /// As the order's log writes it.
    pub fn cause(self) -> &'static str {
        match self {
            Event::Pay => "paid",
            Event::Cancel => "cancelled",
            Event::Expire => "expired",
            Event::Ship => "shipped",
            Event::Confirm => "confirmed",
            Event::RequestRefund => "refund_requested",
            Event::RejectRefund => "refund_rejected",
            Event::Refund => "refunded",
        }
    }

    /// What can't be done in another state.
    fn verb(self) -> &'static str {
        match self {
            Event::Pay => "be paid",
            Event::Cancel | Event::Expire => "be cancelled",
            Event::Ship => "be shipped",
            Event::Confirm => "be confirmed",
            Event::RequestRefund | Event::Refund => "be refunded",
            Event::RejectRefund => "have a refund rejected",
        }
    }
}

impl OrderState {
    pub const ALL: [OrderState; 7] = [
        OrderState::Pending,
        OrderState::Paid,
        OrderState::Shipped,
        OrderState::Completed,
        OrderState::Cancelled,
        OrderState::Refunding,
        OrderState::Refunded,
    ];

    /// As the API and the database write it.
    pub fn name(self) -> &'static str {
        match self {
            OrderState::Pending => "pending",
            OrderState::Paid => "paid",
            OrderState::Shipped => "shipped",
            OrderState::Completed => "completed",
            OrderState::Cancelled => "cancelled",
            OrderState::Refunding => "refunding",
            OrderState::Refunded => "refunded",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// The state after the event; 409 `order_state` if the event can't happen now.
    ///
    /// A rejected refund leads back to `shipped`: one of an order that was not shipped is never put to an admin.
    pub fn after(self, event: Event) -> Result<OrderState> {
        match (self, event) {
            (OrderState::Pending, Event::Pay) => Ok(OrderState::Paid),
            (OrderState::Pending, Event::Cancel | Event::Expire) => Ok(OrderState::Cancelled),
            (OrderState::Paid, Event::Ship) => Ok(OrderState::Shipped),
            (OrderState::Shipped, Event::Confirm) => Ok(OrderState::Completed),
            (OrderState::Paid | OrderState::Shipped, Event::RequestRefund) => Ok(OrderState::Refunding),
            (OrderState::Refunding, Event::RejectRefund) => Ok(OrderState::Shipped),
            (OrderState::Refunding, Event::Refund) => Ok(OrderState::Refunded),
            (state, event) => Err(refused(format!("The order is {} and can't {}", state.name(), event.verb()))),
        }
    }
}

pub(crate) fn refused(detail: String) -> Problem {
    Problem::new(Code::OrderState, detail)
}

impl kit::mysql::Column for OrderState {
    fn from_value(value: spin_sdk::mysql::DbValue) -> Result<Self, String> {
        let name = String::from_value(value)?;
        OrderState::from_name(&name).ok_or_else(|| "is no state of an order".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every state and event: those that are not here are refused.
    #[test]
    fn states_follow_one_another_as_the_contract_says() {
        use Event::*;
        use OrderState::*;
        let allowed = [
            (Pending, Pay, Paid),
            (Pending, Cancel, Cancelled),
            (Pending, Expire, Cancelled),
            (Paid, Ship, Shipped),
            (Shipped, Confirm, Completed),
            (Paid, RequestRefund, Refunding),
            (Shipped, RequestRefund, Refunding),
            (Refunding, RejectRefund, Shipped),
            (Refunding, Refund, Refunded),
        ];
        for state in OrderState::ALL {
            for event in [Pay, Cancel, Expire, Ship, Confirm, RequestRefund, RejectRefund, Refund] {
                let expected = allowed.iter().find(|(from, by, _)| (*from, *by) == (state, event)).map(|(.., to)| *to);
                assert_eq!(state.after(event).ok(), expected, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn names_are_the_ones_of_the_api() {
        for state in OrderState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
            assert_eq!(OrderState::from_name(state.name()), Some(state));
        }
    }
}
