//! Balances. They are derived from the transfers, so no row is written by every payment. A checkpoint saves adding up all
//! transfers each time.

use kit::{
    Cents, Problem, Result, Timestamp,
    mysql::{Connection, Transaction},
    params, row,
};
use serde::Serialize;
use utoipa::ToSchema;

row! {
    /// An account's sums.
    #[derive(Debug, Serialize, ToSchema)]
    pub struct Balance {
        #[schema(example = "provider:mock")]
        pub account: String,
        /// ISO 4217.
        #[schema(pattern = "^[A-Z]{3}$", example = "CNY")]
        pub currency: String,
        pub debit_cents: Cents,
        pub credit_cents: Cents,
        /// Debits less credits.
        pub balance_cents: Cents,
    }
}

/// The balance of each account that has transfers, by account and currency. Their sum is zero.
pub async fn balances(db: &mut Connection) -> Result<Vec<Balance>> {
    // One statement, so it sees the sums and the checkpoint of the same moment.
    const BALANCES: &str = "
        SELECT account, currency, CAST(SUM(debit) AS SIGNED) AS debit_cents, CAST(SUM(credit) AS SIGNED) AS credit_cents,
               CAST(SUM(debit) - SUM(credit) AS SIGNED) AS balance_cents
        FROM (
            SELECT account, currency, debit_cents AS debit, credit_cents AS credit FROM ledger_sums
            UNION ALL
            SELECT debit, currency, amount_cents, 0 FROM ledger_transfers
            WHERE transfer_id > (SELECT summed_id FROM ledger_checkpoint)
            UNION ALL
            SELECT credit, currency, 0, amount_cents FROM ledger_transfers
            WHERE transfer_id > (SELECT summed_id FROM ledger_checkpoint)
        ) movements
        GROUP BY account, currency ORDER BY account, currency";
    Ok(db.query(BALANCES, vec![]).await?)
}

row! {
    struct Checkpoint { summed_id: i64, seen_id: i64, seen_at: Timestamp }
}

/// The ids of transfers are given before they are committed. After this time, no id is given and not committed.
const SETTLING_SECONDS: i64 = 600;
/// How many transfers are added up in a transaction, at most.
const BATCH: i64 = 20_000;

/// Adds transfers to the checkpoint's sums; returns after how many seconds there are more to add, if there are.
pub async fn advance_checkpoint(tx: &mut Transaction) -> Result<Option<i64>> {
    const LOCK: &str = "SELECT summed_id, seen_id, seen_at FROM ledger_checkpoint FOR UPDATE";
    const ADD: &str = "
        INSERT INTO ledger_sums (account, currency, debit_cents, credit_cents)
        SELECT account, currency, SUM(debit), SUM(credit)
        FROM (
            SELECT debit AS account, currency, amount_cents AS debit, 0 AS credit
            FROM ledger_transfers WHERE transfer_id > ? AND transfer_id <= ?
            UNION ALL
            SELECT credit, currency, 0, amount_cents
            FROM ledger_transfers WHERE transfer_id > ? AND transfer_id <= ?
        ) movements
        GROUP BY account, currency
        ON DUPLICATE KEY UPDATE debit_cents = ledger_sums.debit_cents + VALUES(debit_cents),
                                credit_cents = ledger_sums.credit_cents + VALUES(credit_cents)";
    const LAST: &str = "SELECT COALESCE(MAX(transfer_id), 0) FROM ledger_transfers";
    const MOVE: &str = "UPDATE ledger_checkpoint SET summed_id = ?, seen_id = ?, seen_at = ?";
    let Checkpoint { summed_id, mut seen_id, mut seen_at } =
        tx.query_one(LOCK, vec![]).await?.ok_or_else(|| Problem::internal().because("the ledger has no checkpoint"))?;
    let now = Timestamp::now();
    if now < seen_at.plus_seconds(SETTLING_SECONDS) {
        return Ok((seen_id > summed_id).then_some(SETTLING_SECONDS));
    }
    let up_to = seen_id.min(summed_id.saturating_add(BATCH));
    if up_to > summed_id {
        tx.execute(ADD, params![summed_id, up_to, summed_id, up_to]).await?;
    }
    let more = up_to < seen_id;
    if !more {
        let last = tx.query_one::<(i64,)>(LAST, vec![]).await?;
        (seen_id, seen_at) = (last.map_or(seen_id, |(last,)| last), now);
    }
    tx.execute(MOVE, params![up_to.max(summed_id), seen_id, seen_at]).await?;
    Ok(match more {
        true => Some(0),
        false => (seen_id > up_to).then_some(SETTLING_SECONDS),
    })
}
