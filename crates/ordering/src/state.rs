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
    Cancel,
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
    pub fn after(self, event: Event) -> Result<OrderState> {
        match (self, event) {
            (OrderState::Pending, Event::Pay) => Ok(OrderState::Paid),
            (OrderState::Pending, Event::Cancel) => Ok(OrderState::Cancelled),
            (state, Event::Pay) => Err(refused(format!("The order is {} and can't be paid", state.name()))),
            (state, Event::Cancel) => Err(refused(format!("The order is {} and can't be cancelled", state.name()))),
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

    #[test]
    fn only_a_pending_order_is_paid_or_cancelled() {
        for state in OrderState::ALL {
            let pending = state == OrderState::Pending;
            assert_eq!(state.after(Event::Pay).is_ok(), pending, "{state:?}");
            assert_eq!(state.after(Event::Cancel).is_ok(), pending, "{state:?}");
        }
        assert_eq!(OrderState::Pending.after(Event::Pay).unwrap(), OrderState::Paid);
        assert_eq!(OrderState::Pending.after(Event::Cancel).unwrap(), OrderState::Cancelled);
    }

    #[test]
    fn names_are_the_ones_of_the_api() {
        for state in OrderState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
            assert_eq!(OrderState::from_name(state.name()), Some(state));
        }
    }
}
