//! `cargo mall ledger`: checks that the books are right.

use std::process::ExitCode;

use mysql_async::{Conn, prelude::Queryable};

use crate::{database, database_urls::DatabaseUrls, project::Project};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Prints the balances and verifies that the ledger says what payments, refunds and orders say
    Check(DatabaseUrls),
}

/// A law of the books, and a query for what breaks it.
struct Law {
    law: &'static str,
    /// Selects the numbers of what breaks the law.
    violations: &'static str,
}

const LAWS: [Law; 9] = [
    Law {
        law: "each payment that succeeded has a capture of its amount from its provider",
        violations: "
            SELECT p.payment_no FROM payments p
            LEFT JOIN ledger_transfers t ON t.event = CONCAT('capture:', p.payment_no)
            WHERE p.status = 'succeeded' AND p.amount_cents > 0
              AND NOT (t.amount_cents <=> p.amount_cents AND t.debit <=> CONCAT('provider:', p.provider)
                       AND t.credit <=> 'customer-funds' AND t.currency <=> p.currency
                       AND t.order_no <=> p.order_no)",
    },
    Law {
        law: "each order that was paid has captures of its total, and no other order has any",
        violations: "
            SELECT o.order_no FROM orders o
            LEFT JOIN (SELECT order_no, SUM(amount_cents) AS cents FROM ledger_transfers
                       WHERE event LIKE 'capture:%' GROUP BY order_no) c ON c.order_no = o.order_no
            WHERE COALESCE(c.cents, 0) <> CASE WHEN o.paid_at IS NULL THEN 0 ELSE o.total_cents END",
    },
    Law {
        law: "each completed order's total is revenue",
        violations: "
            SELECT o.order_no FROM orders o
            LEFT JOIN ledger_transfers t ON t.event = CONCAT('complete:', o.order_no)
            WHERE o.status = 'completed' AND o.total_cents > 0
              AND NOT (t.amount_cents <=> o.total_cents AND t.debit <=> 'customer-funds' AND t.credit <=> 'revenue'
                       AND t.currency <=> o.currency AND t.order_no <=> o.order_no)",
    },
    Law {
        law: "each refund that was approved is due",
        violations: "
            SELECT r.refund_no FROM refunds r JOIN payments p ON p.payment_no = r.payment_no
            LEFT JOIN ledger_transfers t ON t.event = CONCAT('refund:', r.refund_no)
            WHERE r.status IN ('approved', 'succeeded') AND r.amount_cents > 0
              AND NOT (t.amount_cents <=> r.amount_cents AND t.debit <=> 'customer-funds'
                       AND t.credit <=> 'refunds-due' AND t.currency <=> p.currency AND t.order_no <=> r.order_no)",
    },
    Law {
        law: "each refund that succeeded was paid back by the provider of its payment",
        violations: "
            SELECT r.refund_no FROM refunds r JOIN payments p ON p.payment_no = r.payment_no
            LEFT JOIN ledger_transfers t ON t.event = CONCAT('refunded:', r.refund_no)
            WHERE r.status = 'succeeded' AND r.amount_cents > 0
              AND NOT (t.amount_cents <=> r.amount_cents AND t.debit <=> 'refunds-due'
                       AND t.credit <=> CONCAT('provider:', p.provider) AND t.currency <=> p.currency
                       AND t.order_no <=> r.order_no)",
    },
    Law {
        law: "each transfer belongs to a payment that succeeded, a completed order, or a refund that was approved or succeeded",
        violations: "
            SELECT t.event FROM ledger_transfers t
            LEFT JOIN payments p
                   ON t.event LIKE 'capture:%' AND p.payment_no = SUBSTRING(t.event, 9) AND p.status = 'succeeded'
            LEFT JOIN orders o
                   ON t.event LIKE 'complete:%' AND o.order_no = SUBSTRING(t.event, 10) AND o.status = 'completed'
            LEFT JOIN refunds d
                   ON t.event LIKE 'refund:%' AND d.refund_no = SUBSTRING(t.event, 8)
                      AND d.status IN ('approved', 'succeeded')
            LEFT JOIN refunds b
                   ON t.event LIKE 'refunded:%' AND b.refund_no = SUBSTRING(t.event, 10) AND b.status = 'succeeded'
            WHERE COALESCE(p.payment_no, o.order_no, d.refund_no, b.refund_no) IS NULL",
    },
    Law {
        law: "no payment is pending whose order has ended",
        violations: "
            SELECT p.payment_no FROM payments p JOIN orders o ON o.order_no = p.order_no
            WHERE p.status = 'pending' AND o.status <> 'pending'",
    },
    Law {
        law: "the shop holds for each order what was paid for it and neither earned nor promised back, never less than nothing",
        violations: "
            SELECT o.order_no FROM orders o
            LEFT JOIN refunds r ON r.refund_no = o.refund_no
            LEFT JOIN (SELECT order_no, SUM(CASE WHEN credit = 'customer-funds' THEN amount_cents
                                                 WHEN debit = 'customer-funds' THEN -amount_cents ELSE 0 END) AS cents
                       FROM ledger_transfers GROUP BY order_no) f ON f.order_no = o.order_no
            WHERE COALESCE(f.cents, 0)
                  <> CASE WHEN o.status IN ('paid', 'shipped')
                            OR (o.status = 'refunding' AND r.status = 'requested') THEN o.total_cents ELSE 0 END",
    },
    Law {
        law: "the sums at the checkpoint are those of the transfers",
        violations: "
            SELECT CONCAT(account, ' ', currency) FROM (
                SELECT account, currency, debit_cents AS debit, credit_cents AS credit FROM ledger_sums
                UNION ALL
                SELECT debit, currency, -amount_cents, 0 FROM ledger_transfers
                WHERE transfer_id <= (SELECT summed_id FROM ledger_checkpoint)
                UNION ALL
                SELECT credit, currency, 0, -amount_cents FROM ledger_transfers
                WHERE transfer_id <= (SELECT summed_id FROM ledger_checkpoint)
            ) movements
            GROUP BY account, currency HAVING SUM(debit) <> 0 OR SUM(credit) <> 0",
    },
];

/// How many violations of a law are printed.
const SHOWN: usize = 10;

pub async fn run(project: &Project, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Command::Check(databases) = arguments.command;
    let mut connection = database::connect(&project.mysql(&databases)?).await?;
    database::expect_tables(&mut connection).await?;
    // One moment for all laws, since the shop may be in use.
    connection.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
    connection.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await?;
    print_balances(&mut connection).await?;
    let mut broken = 0;
    for Law { law, violations } in LAWS {
        let numbers: Vec<String> = connection.query(violations).await?;
        if numbers.is_empty() {
            println!("ok      {law}");
            continue;
        }
        broken += 1;
        let more = if numbers.len() > SHOWN { ", …" } else { "" };
        println!("BROKEN  {law}: {} times", numbers.len());
        println!("        {}{more}", numbers.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", "));
    }
    database::close(connection).await?;
    match broken {
        0 => Ok(ExitCode::SUCCESS),
        _ => {
            println!(
                "\nWhat functions from before the ledger did not record, `cargo mall migrate` adds. Anything else is an error."
            );
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn print_balances(connection: &mut Conn) -> anyhow::Result<()> {
    const BALANCES: &str = "
        SELECT account, currency, CAST(SUM(debit) AS SIGNED), CAST(SUM(credit) AS SIGNED)
        FROM (SELECT debit AS account, currency, amount_cents AS debit, 0 AS credit FROM ledger_transfers
              UNION ALL SELECT credit, currency, 0, amount_cents FROM ledger_transfers) movements
        GROUP BY account, currency ORDER BY account, currency";
    let balances: Vec<(String, String, i64, i64)> = connection.query(BALANCES).await?;
    println!("{:<24} {:>18} {:>18} {:>18}", "account", "debits", "credits", "balance");
    for (account, currency, debit, credit) in balances {
        println!(
            "{account:<24} {:>18} {:>18} {:>18} {currency}",
            decimal(debit),
            decimal(credit),
            decimal(debit - credit)
        );
    }
    println!();
    Ok(())
}

/// An amount of hundredths.
fn decimal(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.unsigned_abs() / 100, cents.unsigned_abs() % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_two_decimals_and_a_sign() {
        for (cents, text) in [(0, "0.00"), (5, "0.05"), (-5, "-0.05"), (-12_345, "-123.45"), (100, "1.00")] {
            assert_eq!(decimal(cents), text);
        }
    }
}
