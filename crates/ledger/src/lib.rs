//! The ledger: every movement of money, by double entry (<https://en.wikipedia.org/wiki/Double-entry_bookkeeping>).
//!
//! A transfer is one debit and one credit of the same amount. It is inserted in the transaction of its cause and never
//! changed, so the books balance at every commit.
// Arithmetic on money must not overflow.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod account;
mod balance;
mod list;
mod transfer;

pub use account::Account;
pub use balance::{Balance, advance_checkpoint, balances};
pub use list::{Filter, RecordedTransfer, list};
pub use transfer::{Transfer, record};
