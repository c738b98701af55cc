//! Refunds. Stripe wants the payment intent, so the session comes first; and it forgets an Idempotency-Key after a day, so
//! the refunds that there are come second.

use payment_protocol::{
    amount, answer, request,
    wit::{Context, Error, Refund, RefundReport, RefundState, Request, Response, Step},
};
use serde::Deserialize;

use crate::{
    api,
    session::{self, Session},
};

const REFUNDS: &str = "/v1/refunds";

/// A refund as Stripe shows it, in answers and in events.
#[derive(Deserialize)]
pub struct Found {
    id: String,
    amount: i64,
    status: Option<String>,
    failure_reason: Option<String>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    refund_no: Option<String>,
}

#[derive(Deserialize)]
struct List {
    data: Vec<Found>,
    has_more: bool,
}

/// Begins with the session.
pub fn start(context: &Context, refund: &Refund) -> Result<Step, Error> {
    amount::positive(refund.amount)?;
    let Some(session) = &refund.payment.reference else {
        return Err(Error::Rejected("the payment has no session".to_owned()));
    };
    Ok(Step::Send(session::get(context, session)?))
}

pub fn query(context: &Context, refund: &Refund) -> Result<Step, Error> {
    match &refund.reference {
        Some(id) => Ok(Step::Send(api::get(context, &format!("{REFUNDS}/{}", request::path_segment(id)?))?)),
        None => start(context, refund),
    }
}

/// Goes on with a refund, which is `asked` for only if there is none with its number yet, or with the query of one.
pub fn answered(
    context: &Context,
    refund: &Refund,
    sent: &Request,
    got: &Response,
    asked: bool,
) -> Result<Step, Error> {
    let path = request::path_and_query(&sent.url);
    if path.contains("/v1/checkout/sessions/") {
        let session: Session = api::read(got)?;
        session.check(&refund.payment)?;
        let intent = session.payment_intent().ok_or_else(|| Error::Rejected("nothing was paid".to_owned()))?;
        let intent = request::path_segment(intent)?;
        return Ok(Step::Send(api::get(context, &format!("{REFUNDS}?payment_intent={intent}&limit=100"))?));
    }
    let Some((_, query)) = path.split_once("/refunds?payment_intent=") else {
        return Ok(answer::refund(api::read::<Found>(got)?.checked(refund)?));
    };
    let list: List = api::read(got)?;
    let found = list.data.into_iter().find(|found| found.refund_no() == Some(&refund.refund_no));
    if let Some(found) = found {
        return Ok(answer::refund(found.checked(refund)?));
    }
    if list.has_more {
        return Err(Error::Unknown("more than a hundred refunds of one payment".to_owned()));
    }
    if !asked {
        let state = RefundState::Failed("Stripe has no such refund".to_owned());
        return Ok(answer::refund(answer::refund_state(&refund.refund_no, state)));
    }
    let intent = query.split('&').next().unwrap_or_default();
    let fields = [
        ("payment_intent", intent),
        ("amount", &refund.amount.to_string()),
        ("metadata[refund_no]", &refund.refund_no),
    ];
    Ok(Step::Send(api::post(context, REFUNDS, &fields, Some(&refund.refund_no))?))
}

impl Found {
    /// The shop's number of the refund; none for one that was made on Stripe's site.
    pub fn refund_no(&self) -> Option<&str> {
        self.metadata.as_ref()?.refund_no.as_deref()
    }

    fn checked(self, refund: &Refund) -> Result<RefundReport, Error> {
        if self.refund_no() == Some(&refund.refund_no) {
            self.report(refund.refund_no.clone())
        } else {
            Err(answer::other("the refund"))
        }
    }

    pub fn report(self, refund_no: String) -> Result<RefundReport, Error> {
        let state = match self.status.as_deref() {
            Some("succeeded") => RefundState::Succeeded,
            Some("pending" | "requires_action") => RefundState::Pending,
            Some(status @ ("failed" | "canceled")) => {
                RefundState::Failed(self.failure_reason.unwrap_or_else(|| status.to_owned()))
            }
            _ => return Err(Error::Unknown("an unknown status of a refund".to_owned())),
        };
        Ok(RefundReport { refund_no, state, amount: Some(self.amount), reference: Some(self.id) })
    }
}
