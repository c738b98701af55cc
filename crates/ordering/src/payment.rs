//! Payments.

use accounts::message::Kind;
use kit::{
    Cents, Code, OrderNo, Problem, Result, Timestamp, UserId, config,
    mysql::{self, Connection, FromRow, Row, Transaction},
    pagination::{Page, PageQuery},
    params, row, text_column,
};
use ledger::Transfer;
use products::{StockCount, stock};
use serde::Serialize;
use strum::{EnumString, IntoStaticStr};
use utoipa::ToSchema;

use crate::{
    fulfilment::after_payment,
    history::{Actor, transition},
    locked_order::{OrderLine, lock, order_lines},
    notification::notification_job,
    state::{Event, invalid_state},
};

/// A payment provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, EnumString, IntoStaticStr, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Provider {
    /// Settles at once.
    Mock,
    /// Declines.
    MockFail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, EnumString, IntoStaticStr, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum PaymentStatus {
    Succeeded,
    Pending,
    Failed,
}

text_column!(PaymentStatus, Provider);

row! {
    /// An attempt to pay an order.
    #[derive(Debug, Serialize, ToSchema)]
    pub struct Payment {
        #[schema(max_length = 32, example = "01KAVT2QB0M3E5X7K9S1D4F6GH")]
        pub payment_no: String as "p.payment_no",
        pub order_no: OrderNo as "p.order_no",
        pub provider: Provider as "p.provider",
        /// In which way the provider is paid, if it has several.
        #[schema(required)]
        pub flow: Option<String> = None,
        pub status: PaymentStatus as "p.status",
        pub amount_cents: Cents as "p.amount_cents",
        /// ISO 4217.
        #[schema(pattern = "^[A-Z]{3}$", example = "CNY")]
        pub currency: String as "p.currency",
        /// What the user has to do to pay; null for nothing.
        #[schema(required, value_type = Object, nullable)]
        pub action: Option<()> = None,
        pub created_at: Timestamp as "p.created_at",
        /// When it succeeded or failed. Payments of earlier releases settled when they were made.
        #[schema(required)]
        pub settled_at: Option<Timestamp> as
            "CASE WHEN p.status = 'pending' THEN NULL ELSE COALESCE(p.settled_at, p.created_at) END",
    }
}

impl Provider {
    /// The name in the API and in the database.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The providers that the variable `payment_providers` names.
    pub async fn configured() -> Result<Vec<Provider>> {
        let names = config::text("payment_providers").await?;
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        names
            .map(|name| {
                let unknown = || Problem::internal().because(format!("payment_providers names an unknown one: {name}"));
                name.parse().map_err(|_| unknown())
            })
            .collect()
    }

    /// Charges the customer. The provider recognises a repeated request by `payment_no`.
    async fn charge(self, _payment_no: &str, amount: Cents) -> PaymentStatus {
        match self {
            // Discounts can make an order free, and providers accept no payments of zero.
            _ if amount == Cents(0) => PaymentStatus::Succeeded,
            Provider::Mock => PaymentStatus::Succeeded,
            Provider::MockFail => PaymentStatus::Failed,
        }
    }

    /// Refunds a payment. The provider recognises a repeated request by `refund_no`. An error if the refund has to be
    /// retried later.
    pub(crate) async fn refund(self, _payment_no: &str, _refund_no: &str, amount: Cents) -> Result<()> {
        match self {
            _ if amount == Cents(0) => Ok(()),
            Provider::Mock => Ok(()),
            Provider::MockFail => Err(Problem::internal().because("mock-fail never captures a payment")),
        }
    }
}

/// Pays a user's order. The order's lock ensures that it is either paid once or cancelled. Every attempt is recorded,
/// even a declined one, for which the transaction is committed, too. 404 if the order is another user's, 409
/// `order_state` if it is not pending or its time to pay has passed.
pub async fn pay(tx: &mut Transaction, user_id: UserId, order_no: &OrderNo, provider: Provider) -> Result<Payment> {
    const PAYMENT: &str = "
        INSERT INTO payments (payment_no, order_no, provider, status, amount_cents, currency, created_at, settled_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    const PAID: &str = "UPDATE orders SET status = ?, paid_at = ? WHERE order_no = ?";

    let order = lock(tx, user_id, order_no).await?;
    let next = order.status.after(Event::Pay)?;
    let now = Timestamp::now();
    if now >= order.expires_at {
        return Err(invalid_state("The time to pay has passed".to_owned()));
    }
    let payment_no = ulid::Ulid::generate().to_string();
    let status = provider.charge(&payment_no, order.total_cents).await;
    let amount = order.total_cents;
    let settled_at = (status != PaymentStatus::Pending).then_some(now);
    let values = params![&payment_no, order_no, provider, status, amount, &order.currency, now, settled_at];
    tx.execute(PAYMENT, values).await?;
    if status == PaymentStatus::Succeeded {
        transition(tx, &order, Event::Pay, None, Actor::User(user_id)).await?;
        tx.execute(PAID, params![next, now, order_no]).await?;
        let capture = Transfer::capture(&payment_no, provider.into(), amount, &order.currency, order_no);
        ledger::record(tx, &[capture]).await?;
        let lines: Vec<_> = order_lines(tx, [order_no].into_iter()).await?.iter().map(OrderLine::line).collect();
        let mut jobs = after_payment(order_no, lines.len(), now)?;
        jobs.push(notification_job(&order, Kind::OrderPaid)?);
        tx.enqueue(&jobs).await?;
        stock::transfer(tx, &lines, StockCount::Reserved, StockCount::Sold).await?;
    }
    Ok(Payment {
        payment_no,
        order_no: order_no.clone(),
        provider,
        flow: None,
        status,
        amount_cents: amount,
        currency: order.currency,
        action: None,
        created_at: now,
        settled_at,
    })
}

/// The payments of a user's order, newest first; 404 if the order is another user's.
pub async fn list(db: &mut Connection, user_id: UserId, order_no: &OrderNo) -> Result<Vec<Payment>> {
    // The order's row is there even if it has no payment.
    const OWNED: &str = "SELECT 1 FROM orders WHERE order_no = ? AND user_id = ?";
    let owned = db.query_one::<(i64,)>(OWNED, params![order_no, user_id]).await?;
    owned.ok_or_else(|| Problem::not_found("order"))?;
    let sql = format!("SELECT {} FROM payments p WHERE p.order_no = ? ORDER BY p.payment_no DESC", Payment::COLUMNS);
    Ok(db.query(&sql, params![order_no]).await?)
}

/// A user's payment; 404 if it is another user's.
pub async fn find(db: &mut Connection, user_id: UserId, payment_no: &str) -> Result<Payment> {
    let sql = format!(
        "SELECT {} FROM payments p JOIN orders o ON o.order_no = p.order_no
         WHERE p.payment_no = ? AND o.user_id = ?",
        Payment::COLUMNS
    );
    let payment = db.query_one(&sql, params![payment_no, user_id]).await?;
    payment.ok_or_else(|| Problem::not_found("payment"))
}

/// Which payments to list; all if nothing is set.
#[derive(Debug, Default)]
pub struct Filter<'a> {
    pub order_no: Option<&'a OrderNo>,
    pub provider: Option<&'a str>,
    /// Made at this time or later.
    pub from: Option<Timestamp>,
    /// Made before this time.
    pub to: Option<Timestamp>,
}

/// A payment as the staff see it.
#[derive(Debug, Serialize, ToSchema)]
pub struct StaffPayment {
    pub user_id: UserId,
    #[serde(flatten)]
    pub payment: Payment,
}

impl FromRow for StaffPayment {
    fn from_row(row: &mut Row) -> std::result::Result<Self, mysql::Error> {
        Ok(StaffPayment { user_id: row.take("user_id")?, payment: Payment::from_row(row)? })
    }
}

/// A page of the payments of all users, newest first.
pub async fn list_all(db: &mut Connection, filter: &Filter<'_>, page: &PageQuery) -> Result<Page<StaffPayment>> {
    let limit = page.limit()?;
    let (before, before_no) = page.cursor::<(i64, String)>()?.unwrap_or((i64::MAX, String::new()));
    let mut conditions = vec!["(p.created_at < ? OR (p.created_at = ? AND p.payment_no < ?))"];
    let mut values = params![before, before, before_no];
    if let Some(order_no) = filter.order_no {
        conditions.push("p.order_no = ?");
        values.extend(params![order_no]);
    }
    if let Some(provider) = filter.provider {
        conditions.push("p.provider = ?");
        values.extend(params![provider]);
    }
    if let Some(from) = filter.from {
        conditions.push("p.created_at >= ?");
        values.extend(params![from]);
    }
    if let Some(to) = filter.to {
        conditions.push("p.created_at < ?");
        values.extend(params![to]);
    }
    let sql = format!(
        "SELECT o.user_id, {} FROM payments p JOIN orders o ON o.order_no = p.order_no
         WHERE {} ORDER BY p.created_at DESC, p.payment_no DESC LIMIT ?",
        Payment::COLUMNS,
        conditions.join(" AND ")
    );
    values.extend(params![i64::from(limit).saturating_add(1)]);
    let payments = db.query::<StaffPayment>(&sql, values).await?;
    Ok(Page::new(payments, limit, |one: &StaffPayment| (one.payment.created_at.0, one.payment.payment_no.clone())))
}

impl Payment {
    /// 402 `payment_declined` if the payment was declined.
    pub fn declined(&self) -> Option<Problem> {
        let declined = self.status == PaymentStatus::Failed;
        declined.then(|| Problem::new(Code::PaymentDeclined, "The payment was declined; the order can still be paid"))
    }
}
