//! Payments.

use accounts::message::Kind;
use kit::{Cents, Code, OrderNo, Problem, Result, Timestamp, UserId, mysql::Transaction, params, text_column};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr)]
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

/// The result of an attempt to pay.
#[derive(Debug, Serialize, ToSchema)]
pub struct Payment {
    #[schema(max_length = 32, example = "01KAVT2QB0M3E5X7K9S1D4F6GH")]
    pub payment_no: String,
    pub order_no: OrderNo,
    pub status: PaymentStatus,
    pub amount_cents: Cents,
    /// ISO 4217.
    #[schema(pattern = "^[A-Z]{3}$", example = "CNY")]
    pub currency: String,
    #[schema(example = "mock")]
    pub provider: &'static str,
}

impl Provider {
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
        INSERT INTO payments (payment_no, order_no, provider, status, amount_cents, currency, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)";
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
    let values = params![&payment_no, order_no, provider, status, amount, &order.currency, now];
    tx.execute(PAYMENT, values).await?;
    if status == PaymentStatus::Succeeded {
        transition(tx, &order, Event::Pay, None, Actor::User(user_id)).await?;
        tx.execute(PAID, params![next, now, order_no]).await?;
        let lines: Vec<_> = order_lines(tx, [order_no].into_iter()).await?.iter().map(OrderLine::line).collect();
        let mut jobs = after_payment(order_no, lines.len(), now)?;
        jobs.push(notification_job(&order, Kind::OrderPaid)?);
        tx.enqueue(&jobs).await?;
        stock::transfer(tx, &lines, StockCount::Reserved, StockCount::Sold).await?;
    }
    Ok(Payment {
        payment_no,
        order_no: order_no.clone(),
        status,
        amount_cents: amount,
        currency: order.currency,
        provider: provider.into(),
    })
}

impl Payment {
    /// 402 `payment_declined` if the payment was declined.
    pub fn declined(&self) -> Option<Problem> {
        let declined = self.status == PaymentStatus::Failed;
        declined.then(|| Problem::new(Code::PaymentDeclined, "The payment was declined; the order can still be paid"))
    }
}
