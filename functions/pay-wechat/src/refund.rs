//! Refunds.

use payment_protocol::{
    amount, answer, request, text,
    wit::{Context, Error, Refund, RefundReport, RefundState, Step},
};
use serde::{Deserialize, Serialize};

use crate::api::{self, Answer, Refusal};

/// A refund as WeChat shows it.
#[derive(Deserialize)]
struct Found {
    out_refund_no: String,
    out_trade_no: String,
    refund_id: Option<String>,
    status: String,
    amount: Amount,
}

#[derive(Deserialize)]
struct Amount {
    refund: i64,
}

pub fn refund(context: &Context, refund: &Refund) -> Result<Step, Error> {
    #[derive(Serialize)]
    struct Content<'a> {
        out_trade_no: &'a str,
        out_refund_no: &'a str,
        reason: String,
        notify_url: &'a str,
        amount: Amounts<'a>,
    }
    #[derive(Serialize)]
    struct Amounts<'a> {
        refund: i64,
        total: i64,
        currency: &'a str,
    }
    let content = Content {
        out_trade_no: &refund.payment.payment_no,
        out_refund_no: &refund.refund_no,
        // At most 80 bytes.
        reason: text::plain(&refund.reason, 26, |c| c.len_utf8() < 4),
        notify_url: &refund.notify_url,
        amount: Amounts {
            refund: amount::positive(refund.amount)?,
            total: refund.payment.amount,
            currency: &refund.payment.currency,
        },
    };
    let body = serde_json::to_string(&content).map_err(|e| Error::Rejected(e.to_string()))?;
    api::call(context, "POST", "/v3/refund/domestic/refunds", body)
}

pub fn query(context: &Context, refund: &Refund) -> Result<Step, Error> {
    let number = request::path_segment(&refund.refund_no)?;
    api::call(context, "GET", &format!("/v3/refund/domestic/refunds/{number}"), String::new())
}

/// Goes on with a refund or its query: both are answered with the refund.
pub fn answered(refund: &Refund, result: Result<Answer, Refusal>) -> Result<Step, Error> {
    let found: Found = match result {
        Ok(answer) => answer.read()?,
        Err(refusal) if refusal.code == "RESOURCE_NOT_EXISTS" => {
            let state = RefundState::Failed("WeChat has no such order or refund".to_owned());
            return Ok(answer::refund(answer::refund_state(&refund.refund_no, state)));
        }
        Err(refusal) => return Err(refusal.into()),
    };
    if found.out_refund_no != refund.refund_no || found.out_trade_no != refund.payment.payment_no {
        return Err(answer::other("the refund"));
    }
    let state = state(&found.status)?;
    let reference = found.refund_id;
    let amount = Some(found.amount.refund);
    Ok(answer::refund(RefundReport { refund_no: found.out_refund_no, state, amount, reference }))
}

/// The state by WeChat's name of it.
pub fn state(status: &str) -> Result<RefundState, Error> {
    match status {
        "PROCESSING" => Ok(RefundState::Pending),
        "SUCCESS" => Ok(RefundState::Succeeded),
        // The account that it was paid from can't be paid to. The merchant decides on WeChat's site where the money goes.
        "ABNORMAL" => Ok(RefundState::Failed("the buyer's account takes no refund".to_owned())),
        "CLOSED" => Ok(RefundState::Failed("the refund was closed".to_owned())),
        _ => Err(Error::Unknown("an unknown status of a refund".to_owned())),
    }
}
