//! The books, for the staff: payments, the ledger's transfers and balances.

use axum::{Json as Reply, Router, routing::get};
use kit::{
    OrderNo, Result, Timestamp,
    extract::Query,
    mysql,
    pagination::{Page, PageQuery},
    permissions::LEDGER_READ,
    staff::Staff,
    validate::Validator,
};
use ledger::{Balance, RecordedTransfer};
use ordering::payment_list::{self, StaffPayment};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

kit::function!(router);

pub fn router() -> Router {
    Router::new()
        .route("/api/admin/payment", get(payments))
        .route("/api/admin/ledger", get(transfers))
        .route("/api/admin/ledger/balance", get(balances))
}

#[derive(OpenApi)]
#[openapi(paths(payments, transfers, balances))]
pub struct Api;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only of this order.
    order_no: Option<OrderNo>,
    /// Only of this payment provider.
    #[param(max_length = 32, example = "mock")]
    provider: Option<String>,
    /// From this time on.
    from: Option<Timestamp>,
    /// Before this time.
    to: Option<Timestamp>,
    /// The maximum number of items.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
    /// `next_cursor` of the previous page.
    #[param(pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
}

impl Filter {
    fn check(&self) -> Result<()> {
        let is_name = self.provider.as_deref().is_none_or(|name| name.len() <= 32 && name.is_ascii());
        Validator::new().require(is_name, "provider", "must be at most 32 ASCII characters").finish()
    }

    fn page(&self) -> PageQuery {
        PageQuery { limit: self.limit, cursor: self.cursor.clone() }
    }
}

/// List the payments of all users
///
/// Newest first.
#[utoipa::path(
    get, operation_id = "all_payments", path = "/api/admin/payment", tag = "staff", security(("bearer" = [])),
    params(Filter),
    responses(
        (status = 200, body = Page<StaffPayment>),
        (status = 403, description = "`forbidden`"),
        (status = 422, description = "`invalid`"),
    )
)]
async fn payments(_: Staff<LEDGER_READ>, Query(filter): Query<Filter>) -> Result<Reply<Page<StaffPayment>>> {
    filter.check()?;
    let page = filter.page();
    let filter = payment_list::Filter {
        order_no: filter.order_no.as_ref(),
        provider: filter.provider.as_deref(),
        from: filter.from,
        to: filter.to,
    };
    payment_list::list_all(&mut mysql::connection().await?, &filter, &page).await.map(Reply)
}

/// List the transfers of the ledger
///
/// Newest first. With `provider`, those from or to its account.
#[utoipa::path(
    get, operation_id = "ledger", path = "/api/admin/ledger", tag = "staff", security(("bearer" = [])),
    params(Filter),
    responses(
        (status = 200, body = Page<RecordedTransfer>),
        (status = 403, description = "`forbidden`"),
        (status = 422, description = "`invalid`"),
    )
)]
async fn transfers(_: Staff<LEDGER_READ>, Query(filter): Query<Filter>) -> Result<Reply<Page<RecordedTransfer>>> {
    filter.check()?;
    let page = filter.page();
    let filter = ledger::Filter {
        order_no: filter.order_no.as_ref(),
        provider: filter.provider.as_deref(),
        from: filter.from,
        to: filter.to,
    };
    ledger::list(&mut mysql::connection().await?, &filter, &page).await.map(Reply)
}

#[derive(Serialize, ToSchema)]
struct Balances {
    items: Vec<Balance>,
}

/// Get the balances of the ledger's accounts
///
/// Their sum is zero.
#[utoipa::path(
    get, operation_id = "ledger_balances", path = "/api/admin/ledger/balance", tag = "staff",
    security(("bearer" = [])),
    responses((status = 200, body = Balances), (status = 403, description = "`forbidden`"))
)]
async fn balances(_: Staff<LEDGER_READ>) -> Result<Reply<Balances>> {
    let items = ledger::balances(&mut mysql::connection().await?).await?;
    Ok(Reply(Balances { items }))
}
