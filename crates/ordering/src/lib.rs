//! The cart and the order: what they come to, what they do to the stock, and which state follows which.
// Money and stock are counted here.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod cart;
mod categories;
pub mod coupon;
pub mod facts;
pub mod fulfil;
pub mod history;
mod money;
pub mod notice;
mod order;
mod pay;
mod place;
mod pricing;
mod promotion;
pub mod refund;
pub mod related;
mod rule;
pub mod sale;
mod state;
mod stock;

pub use cart::CartView;
pub use history::Actor;
pub use money::Cents;
pub use order::{Address, Order, OrderItem, find, find_any, list, list_all, parse_order_no};
pub use pay::{Payment, PaymentStatus, Provider, pay};
pub use place::{Line, OffShelf, Purchase, place};
pub use pricing::{Discount, Quote};
pub use rule::{Effect, Rule};
pub use state::{Event, OrderState};
pub use stock::{Expiry, cancel, expire};

/// One line of a cart or order takes 1 to so many pieces.
pub const MAX_QUANTITY: i64 = 999;
/// A cart or order has at most so many lines.
pub const MAX_LINES: usize = 100;
