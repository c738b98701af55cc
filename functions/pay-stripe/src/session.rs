//! Checkout sessions.

use payment_protocol::{
    amount, answer, request, text,
    wit::{Action, Context, Error, Payment, PaymentReport, PaymentState, Request, Response, Step},
};
use serde::Deserialize;

use crate::api::{self, Expandable};

type Result<T, E = Error> = std::result::Result<T, E>;

/// How long Stripe remembers an Idempotency-Key.
const KEY_LIFETIME: i64 = 24 * 3_600 * 1_000;

/// A session as Stripe shows it, in answers and in events.
#[derive(Deserialize)]
pub struct Session {
    id: String,
    client_reference_id: Option<String>,
    status: Option<String>,
    payment_status: String,
    url: Option<String>,
    amount_total: Option<i64>,
    currency: Option<String>,
    payment_intent: Option<Expandable<PaymentIntent>>,
}

#[derive(Deserialize)]
pub struct PaymentIntent {
    id: String,
    status: Option<String>,
}

pub fn create(context: &Context, payment: &Payment) -> Result<Step> {
    if payment.flow != "checkout" {
        return Err(Error::Rejected(format!("Stripe has no flow {}", payment.flow)));
    }
    let Some(return_url) = &payment.return_url else {
        return Err(Error::Rejected("Stripe needs a return-url".to_owned()));
    };
    let amount = amount::positive(payment.amount)?.to_string();
    let fields = [
        ("mode", "payment"),
        ("success_url", return_url),
        ("cancel_url", return_url),
        ("client_reference_id", &payment.payment_no),
        ("line_items[0][quantity]", "1"),
        ("line_items[0][price_data][currency]", &payment.currency.to_ascii_lowercase()),
        ("line_items[0][price_data][unit_amount]", &amount),
        ("line_items[0][price_data][product_data][name]", &text::plain(&payment.subject, 250, |_| true)),
        ("payment_intent_data[metadata][payment_no]", &payment.payment_no),
        // No `expires_at`, which must be at least 30 minutes ahead: the shop closes the session when its own time is up.
    ];
    Ok(Step::Send(api::post(context, "/v1/checkout/sessions", &fields, Some(&payment.payment_no))?))
}

/// Asks for the session. Whoever does not know its id did not get the answer to its creation, and neither did the buyer get
/// the URL: then it is created again, which gives the same one.
pub fn query(context: &Context, payment: &Payment) -> Result<Step> {
    match &payment.reference {
        Some(id) => Ok(Step::Send(get(context, id)?)),
        None if context.now.saturating_sub(payment.created_at) < KEY_LIFETIME => create(context, payment),
        None => Ok(answer::payment(answer::payment_state(&payment.payment_no, PaymentState::Canceled))),
    }
}

/// Expires the session. One whose id is not known can't be paid, since nobody got its URL.
pub fn close(context: &Context, payment: &Payment) -> Result<Step> {
    let Some(id) = &payment.reference else {
        return Ok(answer::payment(answer::payment_state(&payment.payment_no, PaymentState::Canceled)));
    };
    let path = format!("/v1/checkout/sessions/{}/expire", request::path_segment(id)?);
    // Without a key: to expire a session twice does no harm, but to be told for a day of an error that is over does.
    Ok(Step::Send(api::post(context, &path, &[], None)?))
}

/// The request for a session, and the payment intent in it, which tells whether a payment that takes days has failed.
pub fn get(context: &Context, id: &str) -> Result<Request> {
    api::get(context, &format!("/v1/checkout/sessions/{}?expand[]=payment_intent", request::path_segment(id)?))
}

/// Ends a charge or a query: both are answered with the session.
pub fn answered(payment: &Payment, got: &Response) -> Result<Step> {
    let session: Session = api::read(got)?;
    session.check(payment)?;
    Ok(answer::payment(session.report(payment.payment_no.clone())?))
}

/// Goes on with a close. A session that is not open can't be expired, so it is asked what it is.
pub fn closed(context: &Context, payment: &Payment, sent: &Request, got: &Response) -> Result<Step> {
    match (&payment.reference, got.status) {
        (Some(id), 400) if sent.method == "POST" => Ok(Step::Send(get(context, id)?)),
        _ => answered(payment, got),
    }
}

impl Session {
    /// It must be the session of this payment.
    pub fn check(&self, payment: &Payment) -> Result<()> {
        let is_same_id = payment.reference.as_ref().is_none_or(|id| *id == self.id);
        if is_same_id && self.client_reference_id.as_ref() == Some(&payment.payment_no) {
            Ok(())
        } else {
            Err(answer::other("the session"))
        }
    }

    /// The shop's number of the payment; none for a session that the shop did not create.
    pub fn payment_no(&self) -> Option<&str> {
        self.client_reference_id.as_deref()
    }

    pub fn payment_intent(&self) -> Option<&str> {
        match self.payment_intent.as_ref()? {
            Expandable::Id(id) => Some(id),
            Expandable::Object(intent) => Some(&intent.id),
        }
    }

    pub fn report(self, payment_no: String) -> Result<PaymentReport> {
        let state = self.state()?;
        Ok(PaymentReport {
            payment_no,
            state,
            amount: self.amount_total,
            currency: self.currency.map(|currency| currency.to_ascii_uppercase()),
            reference: Some(self.id),
        })
    }

    fn state(&self) -> Result<PaymentState> {
        let intent = match &self.payment_intent {
            Some(Expandable::Object(intent)) => intent.status.as_deref(),
            _ => None,
        };
        match (self.status.as_deref(), self.payment_status.as_str(), intent) {
            (_, "paid" | "no_payment_required", _) => Ok(PaymentState::Captured),
            (Some("expired"), "unpaid", _) => Ok(PaymentState::Canceled),
            (Some("open"), "unpaid", _) => Ok(match &self.url {
                Some(url) => PaymentState::RequiresAction(Action::Redirect(url.clone())),
                None => PaymentState::Pending,
            }),
            // The buyer has done his part, and the money did not come.
            (Some("complete"), "unpaid", Some("requires_payment_method" | "canceled")) => {
                Ok(PaymentState::Failed("the buyer's payment failed".to_owned()))
            }
            (Some("complete"), "unpaid", _) => Ok(PaymentState::Pending),
            _ => Err(Error::Unknown("an unknown status of a session".to_owned())),
        }
    }
}
