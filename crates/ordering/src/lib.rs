//! Carts and orders: prices, promotions and coupons, the state machine, payment, fulfilment, refunds.
// Arithmetic on money and stock must not overflow.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod best_sellers;
mod cancellation;
pub mod cart;
pub mod coupon;
mod engine;
pub mod fulfilment;
pub mod history;
mod insert;
mod locked_order;
pub mod notification;
mod order;
pub mod payment;
pub mod payment_list;
mod place;
mod pricing;
pub mod promotion;
mod provider;
pub mod refund;
mod rule;
mod state;
pub mod wallet;

pub use best_sellers::hot_products;
pub use cancellation::{cancel, expire};
pub use history::Actor;
pub use insert::{Expiry, PlacedOrder, insert};
pub use order::{Address, Order, OrderItem, count_by_status, find, find_any, list, list_all, open_orders};
pub use payment::{PayOrder, Payment, PaymentStatus, pay};
pub use place::{OffShelf, PlaceOrder, place};
pub use pricing::{Discount, Quote};
pub use provider::{Action, Provider};
pub use rule::{Effect, Rule};
pub use state::{Event, OrderState};

/// The largest quantity of a line.
pub const MAX_QUANTITY: i64 = 999;
/// The most lines of a cart or order.
pub const MAX_LINES: usize = 100;
