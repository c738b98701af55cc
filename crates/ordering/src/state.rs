//! The order's state machine.

use kit::{Code, Problem, Result, text_column};
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};
use utoipa::ToSchema;

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr, VariantArray, ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
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

/// An event of an order; as text, the cause in its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
pub enum Event {
    #[strum(serialize = "paid")]
    Pay,
    /// By the user.
    #[strum(serialize = "cancelled")]
    Cancel,
    /// Not paid in time.
    #[strum(serialize = "expired")]
    Expire,
    #[strum(serialize = "shipped")]
    Ship,
    /// By the user, or automatically after a while.
    #[strum(serialize = "confirmed")]
    Confirm,
    #[strum(serialize = "refund_requested")]
    RequestRefund,
    /// The order is then what it was before the request.
    #[strum(serialize = "refund_rejected")]
    RejectRefund,
    /// The money has been returned.
    #[strum(serialize = "refunded")]
    Refund,
}

impl Event {
    /// The cause in the order's log.
    pub fn cause(self) -> &'static str {
        self.into()
    }

    /// What an order can't do in the wrong state, for the error message.
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

text_column!(OrderState);

impl OrderState {
    /// The name in the API and in the database.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The state after the event; 409 `order_state` if the event can't happen now.
    ///
    /// A rejected refund leads back to `shipped`, since only refunds of shipped orders need a decision.
    pub fn after(self, event: Event) -> Result<OrderState> {
        match (self, event) {
            (OrderState::Pending, Event::Pay) => Ok(OrderState::Paid),
            (OrderState::Pending, Event::Cancel | Event::Expire) => Ok(OrderState::Cancelled),
            (OrderState::Paid, Event::Ship) => Ok(OrderState::Shipped),
            (OrderState::Shipped, Event::Confirm) => Ok(OrderState::Completed),
            (OrderState::Paid | OrderState::Shipped, Event::RequestRefund) => Ok(OrderState::Refunding),
            (OrderState::Refunding, Event::RejectRefund) => Ok(OrderState::Shipped),
            (OrderState::Refunding, Event::Refund) => Ok(OrderState::Refunded),
            (state, event) => Err(invalid_state(format!("The order is {} and can't {}", state.name(), event.verb()))),
        }
    }
}

/// 409 `order_state`.
pub(crate) fn invalid_state(detail: String) -> Problem {
    Problem::new(Code::OrderState, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every state and event: those that are not here are refused.
    #[test]
    fn transitions_are_those_of_the_contract() {
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
        for &state in OrderState::VARIANTS {
            for event in [Pay, Cancel, Expire, Ship, Confirm, RequestRefund, RejectRefund, Refund] {
                let expected = allowed.iter().find(|(from, by, _)| (*from, *by) == (state, event)).map(|(.., to)| *to);
                assert_eq!(state.after(event).ok(), expected, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn names_are_those_of_the_api() {
        for &state in OrderState::VARIANTS {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
            assert_eq!(state.name().parse(), Ok(state));
        }
    }
}
