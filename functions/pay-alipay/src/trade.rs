//! Trades and their refunds.

use payment_protocol::{
    amount, answer, text, time,
    wit::{Action, Context, Error, Payment, PaymentReport, PaymentState, Refund, RefundReport, RefundState, Step},
};
use serde::{Deserialize, Serialize};

use crate::api::{self, Answer, Method, Refusal};

type Result<T, E = Error> = std::result::Result<T, E>;

/// The order that the buyer is to pay.
#[derive(Serialize)]
pub struct Order<'a> {
    out_trade_no: &'a str,
    total_amount: String,
    subject: String,
    product_code: &'static str,
    time_expire: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    notify_url: Option<&'a str>,
}

impl<'a> Order<'a> {
    /// The page has its `notify_url` beside the order.
    pub fn new(payment: &'a Payment, product_code: &'static str, notify_url: Option<&'a str>) -> Result<Self> {
        Ok(Order {
            out_trade_no: &payment.payment_no,
            total_amount: amount::yuan(payment.amount)?,
            subject: text::plain(&payment.subject, 256, |c| !"/=&".contains(c)),
            product_code,
            time_expire: time::beijing(payment.expires_at),
            notify_url,
        })
    }
}

#[derive(Deserialize)]
struct Precreated {
    out_trade_no: String,
    qr_code: String,
}

#[derive(Deserialize)]
struct Trade {
    out_trade_no: String,
    trade_no: Option<String>,
    trade_status: String,
    total_amount: Option<String>,
    /// When it was paid.
    send_pay_date: Option<String>,
}

#[derive(Deserialize)]
struct Closed {
    out_trade_no: Option<String>,
}

#[derive(Deserialize)]
struct Refunded {
    out_trade_no: String,
    /// `Y` if this very call has moved the money.
    fund_change: Option<String>,
}

#[derive(Deserialize)]
struct RefundFound {
    out_trade_no: Option<String>,
    out_request_no: Option<String>,
    refund_amount: Option<String>,
    refund_status: Option<String>,
}

#[derive(Serialize)]
struct TradeNumber<'a> {
    out_trade_no: &'a str,
}

pub fn precreate(context: &Context, payment: &Payment) -> Result<Step> {
    api::call(context, Method::Precreate, &Order::new(payment, "QR_CODE_OFFLINE", Some(&payment.notify_url))?)
}

pub fn query(context: &Context, payment_no: &str) -> Result<Step> {
    api::call(context, Method::Query, &TradeNumber { out_trade_no: payment_no })
}

pub fn close(context: &Context, payment_no: &str) -> Result<Step> {
    api::call(context, Method::Close, &TradeNumber { out_trade_no: payment_no })
}

pub fn refund(context: &Context, refund: &Refund) -> Result<Step> {
    #[derive(Serialize)]
    struct Content<'a> {
        out_trade_no: &'a str,
        refund_amount: String,
        out_request_no: &'a str,
        refund_reason: String,
    }
    let content = Content {
        out_trade_no: &refund.payment.payment_no,
        refund_amount: amount::yuan(refund.amount)?,
        out_request_no: &refund.refund_no,
        refund_reason: text::plain(&refund.reason, 256, |_| true),
    };
    api::call(context, Method::Refund, &content)
}

pub fn query_refund(context: &Context, refund: &Refund) -> Result<Step> {
    #[derive(Serialize)]
    struct Content<'a> {
        out_trade_no: &'a str,
        out_request_no: &'a str,
    }
    let content = Content { out_trade_no: &refund.payment.payment_no, out_request_no: &refund.refund_no };
    api::call(context, Method::QueryRefund, &content)
}

/// Goes on with a charge.
pub fn charged(context: &Context, payment: &Payment, method: Method, result: Result<Answer, Refusal>) -> Result<Step> {
    match (method, result) {
        (Method::Precreate, Ok(answer)) => {
            let created: Precreated = answer.read()?;
            same_trade(payment, &created.out_trade_no)?;
            let state = PaymentState::RequiresAction(Action::QrCode(created.qr_code));
            Ok(answer::payment(answer::payment_state(&payment.payment_no, state)))
        }
        // An earlier attempt was paid or closed.
        (Method::Precreate, Err(refusal))
            if ["ACQ.TRADE_HAS_SUCCESS", "ACQ.TRADE_HAS_CLOSE"].contains(&refusal.code.as_str()) =>
        {
            query(context, &payment.payment_no)
        }
        (Method::Precreate, Err(refusal)) => Err(refusal.into()),
        (method, result) => queried(payment, method, result, PaymentState::Pending),
    }
}

/// Goes on with a query. A trade that Alipay does not know is `unopened`: the buyer has not been on the page.
pub fn queried(
    payment: &Payment,
    method: Method,
    result: Result<Answer, Refusal>,
    unopened: PaymentState,
) -> Result<Step> {
    if method != Method::Query {
        return Err(Error::Unknown("an answer to something else".to_owned()));
    }
    let trade: Trade = match result {
        Ok(answer) => answer.read()?,
        Err(refusal) if refusal.code == "ACQ.TRADE_NOT_EXIST" => {
            return Ok(answer::payment(answer::payment_state(&payment.payment_no, unopened)));
        }
        Err(refusal) => return Err(refusal.into()),
    };
    same_trade(payment, &trade.out_trade_no)?;
    let amount = trade.total_amount.map(|yuan| amount::fen(&yuan).ok_or_else(unreadable)).transpose()?;
    Ok(answer::payment(PaymentReport {
        payment_no: trade.out_trade_no,
        state: state(&trade.trade_status, trade.send_pay_date.is_some()).ok_or_else(unreadable)?,
        amount,
        currency: amount.is_some().then(|| "CNY".to_owned()),
        reference: trade.trade_no,
    }))
}

/// Goes on with a close.
pub fn closed(context: &Context, payment: &Payment, method: Method, result: Result<Answer, Refusal>) -> Result<Step> {
    let canceled = || Ok(answer::payment(answer::payment_state(&payment.payment_no, PaymentState::Canceled)));
    match (method, result) {
        (Method::Close, Ok(answer)) => {
            let closed: Closed = answer.read()?;
            closed.out_trade_no.map_or(Ok(()), |number| same_trade(payment, &number))?;
            canceled()
        }
        (Method::Close, Err(refusal)) => match refusal.code.as_str() {
            "ACQ.TRADE_NOT_EXIST" => canceled(),
            // It is not waiting for the buyer any more.
            "ACQ.TRADE_STATUS_ERROR" => query(context, &payment.payment_no),
            _ => Err(refusal.into()),
        },
        (method, result) => queried(payment, method, result, PaymentState::Canceled),
    }
}

/// Goes on with a refund.
pub fn refunded(refund: &Refund, method: Method, result: Result<Answer, Refusal>) -> Result<Step> {
    if method != Method::Refund {
        return Err(Error::Unknown("an answer to something else".to_owned()));
    }
    let answer: Refunded = result?.read()?;
    same_trade(&refund.payment, &answer.out_trade_no)?;
    let done = answer.fund_change.as_deref() == Some("Y");
    let state = if done { RefundState::Succeeded } else { RefundState::Pending };
    Ok(answer::refund(answer::refund_state(&refund.refund_no, state)))
}

/// Goes on with the query of a refund.
pub fn refund_queried(refund: &Refund, method: Method, result: Result<Answer, Refusal>) -> Result<Step> {
    if method != Method::QueryRefund {
        return Err(Error::Unknown("an answer to something else".to_owned()));
    }
    let found: RefundFound = result?.read()?;
    if found.out_trade_no.as_ref().is_some_and(|number| *number != refund.payment.payment_no) {
        return Err(answer::other("the payment"));
    }
    if found.out_request_no.as_ref().is_some_and(|number| *number != refund.refund_no) {
        return Err(answer::other("the refund"));
    }
    let state = match found.refund_status.as_deref() {
        Some("REFUND_SUCCESS") => RefundState::Succeeded,
        None | Some("") => RefundState::Failed("Alipay has no such refund, or it failed".to_owned()),
        Some(_) => RefundState::Pending,
    };
    let amount = found.refund_amount.map(|yuan| amount::fen(&yuan).ok_or_else(unreadable)).transpose()?;
    Ok(answer::refund(RefundReport { refund_no: refund.refund_no.clone(), state, amount, reference: None }))
}

/// The state by Alipay's name of it. `TRADE_CLOSED` is a trade that timed out, or was paid and wholly refunded.
pub fn state(status: &str, was_paid: bool) -> Option<PaymentState> {
    match status {
        "WAIT_BUYER_PAY" => Some(PaymentState::Pending),
        "TRADE_SUCCESS" | "TRADE_FINISHED" => Some(PaymentState::Captured),
        "TRADE_CLOSED" if was_paid => Some(PaymentState::Captured),
        "TRADE_CLOSED" => Some(PaymentState::Canceled),
        _ => None,
    }
}

fn same_trade(payment: &Payment, number: &str) -> Result<()> {
    if payment.payment_no == number { Ok(()) } else { Err(answer::other("the payment")) }
}

fn unreadable() -> Error {
    Error::Unknown("Alipay's answer has an unknown status or a wrong amount".to_owned())
}
