//! Adds to the ledger what it lacks.

use mysql_async::{Conn, prelude::Queryable};

/// Adds what the ledger lacks: the transfers of payments, refunds and orders from before there was a ledger, and of those
/// that functions of such a release have made since.
pub async fn add_missing(connection: &mut Conn) -> anyhow::Result<()> {
    const ADDITIONS: [&str; 4] = [
        "INSERT IGNORE INTO ledger_transfers (event, leg, debit, credit, currency, amount_cents, order_no, created_at)
         SELECT CONCAT('capture:', p.payment_no), 0, CONCAT('provider:', p.provider), 'customer-funds', p.currency,
                p.amount_cents, p.order_no, p.created_at
         FROM payments p LEFT JOIN ledger_transfers t ON t.event = CONCAT('capture:', p.payment_no)
         WHERE p.status = 'succeeded' AND p.amount_cents > 0 AND t.transfer_id IS NULL",
        "INSERT IGNORE INTO ledger_transfers (event, leg, debit, credit, currency, amount_cents, order_no, created_at)
         SELECT CONCAT('complete:', o.order_no), 0, 'customer-funds', 'revenue', o.currency, o.total_cents, o.order_no,
                o.completed_at
         FROM orders o LEFT JOIN ledger_transfers t ON t.event = CONCAT('complete:', o.order_no)
         WHERE o.status = 'completed' AND o.total_cents > 0 AND t.transfer_id IS NULL",
        "INSERT IGNORE INTO ledger_transfers (event, leg, debit, credit, currency, amount_cents, order_no, created_at)
         SELECT CONCAT('refund:', r.refund_no), 0, 'customer-funds', 'refunds-due', p.currency, r.amount_cents,
                r.order_no, r.created_at
         FROM refunds r JOIN payments p ON p.payment_no = r.payment_no
         LEFT JOIN ledger_transfers t ON t.event = CONCAT('refund:', r.refund_no)
         WHERE r.status IN ('approved', 'succeeded') AND r.amount_cents > 0 AND t.transfer_id IS NULL",
        "INSERT IGNORE INTO ledger_transfers (event, leg, debit, credit, currency, amount_cents, order_no, created_at)
         SELECT CONCAT('refunded:', r.refund_no), 0, 'refunds-due', CONCAT('provider:', p.provider), p.currency,
                r.amount_cents, r.order_no, r.settled_at
         FROM refunds r JOIN payments p ON p.payment_no = r.payment_no
         LEFT JOIN ledger_transfers t ON t.event = CONCAT('refunded:', r.refund_no)
         WHERE r.status = 'succeeded' AND r.amount_cents > 0 AND t.transfer_id IS NULL",
    ];
    // Without locks on what is read: the shop may be in use.
    connection.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
    for addition in ADDITIONS {
        connection.query_drop(addition).await?;
    }
    Ok(())
}
