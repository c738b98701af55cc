//! The accounts.

use std::fmt;

/// An account of the ledger. As text, its name in the API and in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account<'a> {
    /// What a payment provider holds for the shop.
    Provider(&'a str),
    /// What customers have paid for orders that are not completed.
    CustomerFunds,
    /// What the shop has earned by completed orders.
    Revenue,
    /// What the shop owes to customers for refunds that it has approved.
    RefundsDue,
}

impl fmt::Display for Account<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Account::Provider(name) => write!(f, "provider:{name}"),
            Account::CustomerFunds => f.write_str("customer-funds"),
            Account::Revenue => f.write_str("revenue"),
            Account::RefundsDue => f.write_str("refunds-due"),
        }
    }
}
