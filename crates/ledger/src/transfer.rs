//! Recording transfers.

use kit::{Cents, OrderNo, PaymentNo, Result, Timestamp, mysql::Transaction, params};

use crate::Account;

/// A movement of money, caused by an event that happens once.
#[derive(Debug)]
pub struct Transfer<'a> {
    event: String,
    debit: Account<'a>,
    credit: Account<'a>,
    amount: Cents,
    currency: &'a str,
    order_no: &'a OrderNo,
}

impl<'a> Transfer<'a> {
    /// A provider has the money of a payment.
    pub fn capture(
        payment_no: &PaymentNo,
        provider: &'a str,
        amount: Cents,
        currency: &'a str,
        order_no: &'a OrderNo,
    ) -> Self {
        let (debit, credit) = (Account::Provider(provider), Account::CustomerFunds);
        Self::new(format!("capture:{payment_no}"), debit, credit, amount, currency, order_no)
    }

    /// An order is completed: what was paid for it is earned.
    pub fn complete(order_no: &'a OrderNo, amount: Cents, currency: &'a str) -> Self {
        Self::new(format!("complete:{order_no}"), Account::CustomerFunds, Account::Revenue, amount, currency, order_no)
    }

    /// A refund is approved: the shop owes the money to the customer.
    pub fn refund(refund_no: &str, amount: Cents, currency: &'a str, order_no: &'a OrderNo) -> Self {
        Self::new(
            format!("refund:{refund_no}"),
            Account::CustomerFunds,
            Account::RefundsDue,
            amount,
            currency,
            order_no,
        )
    }

    /// The provider has given the money of a refund back.
    pub fn refunded(
        refund_no: &str,
        provider: &'a str,
        amount: Cents,
        currency: &'a str,
        order_no: &'a OrderNo,
    ) -> Self {
        let (debit, credit) = (Account::RefundsDue, Account::Provider(provider));
        Self::new(format!("refunded:{refund_no}"), debit, credit, amount, currency, order_no)
    }

    fn new(
        event: String,
        debit: Account<'a>,
        credit: Account<'a>,
        amount: Cents,
        currency: &'a str,
        order_no: &'a OrderNo,
    ) -> Self {
        Transfer { event, debit, credit, amount, currency, order_no }
    }
}

/// Records transfers, in the transaction of their cause. A transfer of nothing (of an order that costs nothing) is left
/// out. An error if one of the events has been recorded before.
pub async fn record(tx: &mut Transaction, transfers: &[Transfer<'_>]) -> Result<()> {
    let transfers: Vec<_> = transfers.iter().filter(|transfer| transfer.amount != Cents(0)).collect();
    if transfers.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO ledger_transfers (event, leg, debit, credit, currency, amount_cents, order_no, created_at) VALUES {}",
        vec!["(?, 0, ?, ?, ?, ?, ?, ?)"; transfers.len()].join(", ")
    );
    let now = Timestamp::now();
    let values = transfers.into_iter().flat_map(|transfer| {
        let Transfer { event, debit, credit, amount, currency, order_no } = transfer;
        params![event, debit.to_string(), credit.to_string(), *currency, *amount, *order_no, now]
    });
    Ok(tx.execute(&sql, values.collect()).await?)
}
