//! Payment.

use kit::{Code, Problem, Result, Timestamp, mysql::Transaction, params};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    Actor, Cents, Event,
    fulfil::after_payment,
    history::change,
    notice::{Kind, telling},
    state::refused,
    stock::{held, lock, sell},
};

/// Who takes the money. One that answers later adds a variant, and [`Provider::charge`] answers `Pending` for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Settles at once.
    Mock,
    /// Declines.
    MockFail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    Succeeded,
    Pending,
    Failed,
}

impl PaymentStatus {
    fn name(self) -> &'static str {
        match self {
            PaymentStatus::Succeeded => "succeeded",
            PaymentStatus::Pending => "pending",
            PaymentStatus::Failed => "failed",
        }
    }
}

/// What came of an attempt to pay.
#[derive(Debug, Serialize, ToSchema)]
pub struct Payment {
    pub payment_no: String,
    pub order_no: String,
    pub status: PaymentStatus,
    pub amount_cents: Cents,
    /// ISO 4217.
    pub currency: String,
    pub provider: &'static str,
}

impl Provider {
    pub fn from_name(name: &str) -> Option<Self> {
        [Provider::Mock, Provider::MockFail].into_iter().find(|provider| provider.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Provider::Mock => "mock",
            Provider::MockFail => "mock-fail",
        }
    }

    /// Asks the provider for the money. `payment_no` is what a provider recognises a repeated request by.
    async fn charge(self, _payment_no: &str, amount: Cents) -> PaymentStatus {
        match self {
            // Discounts may leave nothing to pay, which no provider takes.
            _ if amount == Cents(0) => PaymentStatus::Succeeded,
            Provider::Mock => PaymentStatus::Succeeded,
            Provider::MockFail => PaymentStatus::Failed,
        }
    }

    /// Has the provider give a payment back. `refund_no` is what it recognises a repeated request by. An error if it
    /// can't be done now.
    pub(crate) async fn refund(self, _payment_no: &str, _refund_no: &str, amount: Cents) -> Result<()> {
        match self {
            _ if amount == Cents(0) => Ok(()),
            Provider::Mock => Ok(()),
            // It never took any.
            Provider::MockFail => Err(Problem::internal()),
        }
    }
}

/// Pays a user's order: under the order's lock, so that it is paid once or cancelled, never both. Every attempt leaves
/// a payment, also one that was declined: commit then, too.
pub async fn pay(tx: &mut Transaction, user_id: i64, order_no: &str, provider: Provider) -> Result<Payment> {
    const PAYMENT: &str = "
        INSERT INTO payments (payment_no, order_no, provider, status, amount_cents, currency, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)";
    const PAID: &str = "UPDATE orders SET status = ?, paid_at = ? WHERE order_no = ?";

    let order = lock(tx, user_id, order_no).await?;
    let next = order.status.after(Event::Pay)?;
    let now = Timestamp::now();
    if now >= order.expires_at {
        return Err(refused("The time to pay is over".to_owned()));
    }
    let payment_no = ulid::Ulid::generate().to_string();
    let status = provider.charge(&payment_no, order.total_cents).await;
    let amount = order.total_cents;
    let values = params![&payment_no, order_no, provider.name(), status.name(), amount, &order.currency, now];
    tx.execute(PAYMENT, values).await?;
    if status == PaymentStatus::Succeeded {
        change(tx, &order, Event::Pay, None, Actor::User(user_id)).await?;
        tx.execute(PAID, params![next.name(), now, order_no]).await?;
        let lines = held(tx, order_no).await?;
        let mut jobs = after_payment(order_no, lines.len(), now)?;
        jobs.push(telling(&order, Kind::Paid)?);
        tx.enqueue(&jobs).await?;
        sell(tx, &lines).await?;
    }
    let (order_no, provider) = (order_no.to_owned(), provider.name());
    Ok(Payment { payment_no, order_no, status, amount_cents: amount, currency: order.currency, provider })
}

impl Payment {
    /// 402 for a payment that was declined.
    pub fn declined(&self) -> Option<Problem> {
        let declined = self.status == PaymentStatus::Failed;
        declined.then(|| Problem::new(Code::PaymentDeclined, "The provider declined; the order can still be paid"))
    }
}
