//! Reading transfers.

use kit::{
    Cents, OrderNo, Result, Timestamp,
    mysql::Connection,
    pagination::{Page, PageQuery},
    params, row,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Account;

row! {
    /// A movement of money.
    #[derive(Debug, Serialize, ToSchema)]
    pub struct RecordedTransfer {
        #[schema(minimum = 1)]
        pub transfer_id: i64,
        /// What happened, and to what.
        #[schema(example = "capture:01KAVT2QB0M3E5X7K9S1D4F6GH")]
        pub event: String,
        /// The account that is debited.
        #[schema(example = "provider:mock")]
        pub debit: String,
        /// The account that is credited.
        #[schema(example = "customer-funds")]
        pub credit: String,
        pub amount_cents: Cents,
        /// ISO 4217.
        #[schema(pattern = "^[A-Z]{3}$", example = "CNY")]
        pub currency: String,
        #[schema(required)]
        pub order_no: Option<OrderNo>,
        pub at: Timestamp as "created_at",
    }
}

/// Which transfers to list; all if nothing is set.
#[derive(Debug, Default)]
pub struct Filter<'a> {
    pub order_no: Option<&'a OrderNo>,
    /// Transfers from or to this provider's account.
    pub provider: Option<&'a str>,
    /// From this time on.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
}

/// A page of transfers, newest first.
pub async fn list(db: &mut Connection, filter: &Filter<'_>, page: &PageQuery) -> Result<Page<RecordedTransfer>> {
    let limit = page.limit()?;
    let (before, before_id) = page.cursor::<(i64, i64)>()?.unwrap_or((i64::MAX, i64::MAX));
    let mut conditions = vec!["(created_at < ? OR (created_at = ? AND transfer_id < ?))"];
    let mut values = params![before, before, before_id];
    if let Some(order_no) = filter.order_no {
        conditions.push("order_no = ?");
        values.extend(params![order_no]);
    }
    if let Some(provider) = filter.provider {
        let account = Account::Provider(provider).to_string();
        conditions.push("(debit = ? OR credit = ?)");
        values.extend(params![&account, &account]);
    }
    if let Some(from) = filter.from {
        conditions.push("created_at >= ?");
        values.extend(params![from]);
    }
    if let Some(to) = filter.to {
        conditions.push("created_at < ?");
        values.extend(params![to]);
    }
    let sql = format!(
        "SELECT {} FROM ledger_transfers WHERE {} ORDER BY created_at DESC, transfer_id DESC LIMIT ?",
        RecordedTransfer::COLUMNS,
        conditions.join(" AND ")
    );
    values.extend(params![i64::from(limit).saturating_add(1)]);
    let transfers = db.query::<RecordedTransfer>(&sql, values).await?;
    Ok(Page::new(transfers, limit, |transfer: &RecordedTransfer| (transfer.at.0, transfer.transfer_id)))
}
