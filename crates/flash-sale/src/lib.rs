//! Flash sales: admitted in Redis ([`admission`]), booked in MySQL ([`booking`]).
//!
//! A sale's units are set aside when it is created: they move from the product's `available` to its `reserved`, so that
//! the regular shop and the sale can't both sell a unit. `booked` counts the units in orders that were not cancelled or
//! refunded; the other units return to the product when the sale closes. Every change of these counts locks the
//! activity: after the order, before the product.
// Arithmetic on money and stock must not overflow.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod activity;
pub mod admission;
pub mod booking;
mod release;
mod ticket;

pub use activity::{Activity, NewActivity, SaleState, Task, Tickets, close, create, find, list, lock, open_ids};
pub use release::release_units;
pub use ticket::{BookedTicket, TicketState, active_tickets, activity_of, booked_ticket};
