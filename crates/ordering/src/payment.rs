//! Payments. A payment is pending until its provider reports what became of it; `settle` is the one place that records
//! a report.

use accounts::message::Kind;
use kit::{
    Cents, Code, OrderNo, PaymentNo, Problem, Result, Timestamp, UserId,
    mysql::{Transaction, param, placeholders},
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
    locked_order::{LockedOrder, OrderLine, lock, lock_any, order_lines},
    notification::notification_job,
    provider::{Action, Charge, Provider},
    state::{Event, invalid_state},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, EnumString, IntoStaticStr, ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum PaymentStatus {
    Pending,
    Succeeded,
    Failed,
    Canceled,
}

/// What a provider reports of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// The provider has the money.
    Captured,
    /// The customer has declined, or was refused.
    Declined,
    /// Nobody can pay it any more.
    Canceled,
}

impl PaymentStatus {
    /// The status after a report; the same if the report has been recorded before. 409 `payment_state` if it
    /// contradicts what was recorded.
    fn after(self, report: Report) -> Result<PaymentStatus> {
        let reported = match report {
            Report::Captured => PaymentStatus::Succeeded,
            Report::Declined => PaymentStatus::Failed,
            Report::Canceled => PaymentStatus::Canceled,
        };
        match self {
            PaymentStatus::Pending => Ok(reported),
            settled if settled == reported => Ok(settled),
            settled => {
                let name: &str = settled.into();
                Err(Problem::new(Code::PaymentState, format!("The payment is {name} already")))
            }
        }
    }
}

text_column!(PaymentStatus);

row! {
    /// An attempt to pay an order.
    #[derive(Debug, Serialize, ToSchema)]
    pub struct Payment {
        pub payment_no: PaymentNo as "p.payment_no",
        pub order_no: OrderNo as "p.order_no",
        pub provider: Provider as "p.provider",
        /// In which way the provider is paid, if it has several.
        #[schema(required, example = "page")]
        pub flow: Option<String> as "p.flow",
        pub status: PaymentStatus as "p.status",
        pub amount_cents: Cents as "p.amount_cents",
        /// ISO 4217.
        #[schema(pattern = "^[A-Z]{3}$", example = "CNY")]
        pub currency: String as "p.currency",
        /// What the user has to do to pay; null for nothing.
        #[schema(required)]
        pub action: Option<Action> as "p.action",
        pub created_at: Timestamp as "p.created_at",
        /// When it succeeded, failed or was canceled. Payments of earlier releases settled when they were made.
        #[schema(required)]
        pub settled_at: Option<Timestamp> as
            "CASE WHEN p.status = 'pending' THEN NULL ELSE COALESCE(p.settled_at, p.created_at) END",
    }
}

/// A request to pay an order.
#[derive(Debug)]
pub struct PayOrder<'a> {
    pub user_id: UserId,
    pub order_no: &'a OrderNo,
    pub provider: Provider,
    /// One of the provider's flows.
    pub flow: Option<&'a str>,
    /// Where the customer goes from the provider's page.
    pub return_url: Option<&'a str>,
    /// Where clients reach the shop.
    pub public_url: &'a str,
}

/// Pays a user's order, or begins to. The order's lock ensures that it is either paid once or cancelled. Every attempt
/// is recorded, even a declined one, for which the transaction is committed, too. While a payment is pending, the same
/// request gives that payment again, and one for another provider or flow cancels it. 404 if the order is another
/// user's, 409 `order_state` if it is not pending or its time to pay has passed.
pub async fn pay(tx: &mut Transaction, request: &PayOrder<'_>) -> Result<Payment> {
    const INSERT: &str = "
        INSERT INTO payments (payment_no, order_no, provider, flow, status, amount_cents, currency, action, return_url,
                              created_at, settled_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let PayOrder { order_no, provider, flow, return_url, .. } = *request;
    let order = lock(tx, request.user_id, order_no).await?;
    order.status.after(Event::Pay)?;
    let now = Timestamp::now();
    if now >= order.expires_at {
        return Err(invalid_state("The time to pay has passed".to_owned()));
    }
    if let Some(pending) = find_pending(tx, order_no).await? {
        if pending.provider == provider && pending.flow.as_deref() == flow {
            return Ok(pending);
        }
        record(tx, &order, pending, Report::Canceled).await?;
    }
    let payment_no = PaymentNo::generate();
    let (status, action) = match provider.charge(&payment_no, order.total_cents, request.public_url) {
        Charge::Succeeded => (PaymentStatus::Succeeded, None),
        Charge::Declined => (PaymentStatus::Failed, None),
        Charge::Pending(action) => (PaymentStatus::Pending, Some(action)),
    };
    let json = action.as_ref().map(serde_json::to_string).transpose();
    let json = json.map_err(|error| Problem::internal().because(error))?;
    let payment = Payment {
        payment_no,
        order_no: order_no.clone(),
        provider,
        flow: flow.map(str::to_owned),
        status,
        amount_cents: order.total_cents,
        currency: order.currency.clone(),
        action,
        created_at: now,
        settled_at: (status != PaymentStatus::Pending).then_some(now),
    };
    let (amount, settled_at) = (payment.amount_cents, payment.settled_at);
    let values = params![
        &payment.payment_no,
        order_no,
        provider,
        flow,
        status,
        amount,
        &order.currency,
        json,
        return_url,
        now,
        settled_at
    ];
    tx.execute(INSERT, values).await?;
    if status == PaymentStatus::Succeeded {
        mark_paid(tx, &order, &payment).await?;
    }
    Ok(payment)
}

/// Records what a provider reports of a payment, once. 404 if there is no such payment, 409 `payment_state` if it has
/// settled otherwise.
pub async fn settle(tx: &mut Transaction, payment_no: &PaymentNo, report: Report) -> Result<Payment> {
    let (order, payment) = lock_payment(tx, payment_no).await?;
    record(tx, &order, payment, report).await
}

/// Cancels a user's pending payment; their order can still be paid. 404 if the payment is another user's, 409
/// `payment_state` if it has settled.
pub async fn cancel(tx: &mut Transaction, user_id: UserId, payment_no: &PaymentNo) -> Result<Payment> {
    let (order, payment) = lock_payment(tx, payment_no).await?;
    if order.user_id != user_id {
        return Err(Problem::not_found("payment"));
    }
    record(tx, &order, payment, Report::Canceled).await
}

/// Cancels the pending payments of locked orders, at least one, that end unpaid.
pub(crate) async fn cancel_pending(tx: &mut Transaction, orders: &[LockedOrder]) -> Result<()> {
    let sql = format!(
        "UPDATE payments SET status = ?, settled_at = ?, action = NULL WHERE order_no IN ({}) AND status = ?",
        placeholders(orders.len())
    );
    let mut values = params![PaymentStatus::Canceled, Timestamp::now()];
    values.extend(orders.iter().map(|order| param(&order.order_no)));
    values.extend(params![PaymentStatus::Pending]);
    Ok(tx.execute(&sql, values).await?)
}

/// Locks a payment's order, which protects the payment, too. 404 if there is no such payment.
async fn lock_payment(tx: &mut Transaction, payment_no: &PaymentNo) -> Result<(LockedOrder, Payment)> {
    const ORDER: &str = "SELECT order_no FROM payments WHERE payment_no = ?";
    let found = tx.query_one::<(OrderNo,)>(ORDER, params![payment_no]).await?;
    let (order_no,) = found.ok_or_else(|| Problem::not_found("payment"))?;
    let order = lock_any(tx, &order_no).await?;
    let sql = format!("SELECT {} FROM payments p WHERE p.payment_no = ?", Payment::COLUMNS);
    let payment = tx.query_one(&sql, params![payment_no]).await?;
    Ok((order, payment.ok_or_else(|| Problem::not_found("payment"))?))
}

async fn find_pending(tx: &mut Transaction, order_no: &OrderNo) -> Result<Option<Payment>> {
    let sql = format!("SELECT {} FROM payments p WHERE p.order_no = ? AND p.status = 'pending'", Payment::COLUMNS);
    Ok(tx.query_one(&sql, params![order_no]).await?)
}

/// Records a report of a payment whose order is locked.
async fn record(tx: &mut Transaction, order: &LockedOrder, payment: Payment, report: Report) -> Result<Payment> {
    const SETTLED: &str = "UPDATE payments SET status = ?, settled_at = ?, action = NULL WHERE payment_no = ?";
    let status = payment.status.after(report)?;
    if status == payment.status {
        return Ok(payment);
    }
    let now = Timestamp::now();
    tx.execute(SETTLED, params![status, now, &payment.payment_no]).await?;
    if status == PaymentStatus::Succeeded {
        mark_paid(tx, order, &payment).await?;
    }
    Ok(Payment { status, action: None, settled_at: Some(now), ..payment })
}

/// Marks a locked order as paid, by a payment that succeeded.
async fn mark_paid(tx: &mut Transaction, order: &LockedOrder, payment: &Payment) -> Result<()> {
    const PAID: &str = "UPDATE orders SET status = ?, paid_at = ? WHERE order_no = ?";
    let (order_no, now) = (&order.order_no, Timestamp::now());
    let next = transition(tx, order, Event::Pay, None, Actor::User(order.user_id)).await?;
    tx.execute(PAID, params![next, now, order_no]).await?;
    let (provider, amount) = (payment.provider.name(), payment.amount_cents);
    let capture = Transfer::capture(&payment.payment_no, provider, amount, &payment.currency, order_no);
    ledger::record(tx, &[capture]).await?;
    let lines: Vec<_> = order_lines(tx, [order_no].into_iter()).await?.iter().map(OrderLine::line).collect();
    let mut jobs = after_payment(order_no, lines.len(), now)?;
    jobs.push(notification_job(order, Kind::OrderPaid)?);
    tx.enqueue(&jobs).await?;
    stock::transfer(tx, &lines, StockCount::Reserved, StockCount::Sold).await
}

impl Payment {
    /// 402 `payment_declined` if the payment was declined.
    pub fn declined(&self) -> Option<Problem> {
        let declined = self.status == PaymentStatus::Failed;
        declined.then(|| Problem::new(Code::PaymentDeclined, "The payment was declined; the order can still be paid"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every status and report.
    #[test]
    fn a_payment_settles_once() {
        use PaymentStatus::*;
        for (report, settled) in
            [(Report::Captured, Succeeded), (Report::Declined, Failed), (Report::Canceled, Canceled)]
        {
            assert_eq!(Pending.after(report).ok(), Some(settled), "{report:?}");
            for status in [Succeeded, Failed, Canceled] {
                let expected = if status == settled { Ok(settled) } else { Err(Code::PaymentState) };
                assert_eq!(status.after(report).map_err(|problem| problem.code), expected, "{status:?} {report:?}");
            }
        }
    }
}
