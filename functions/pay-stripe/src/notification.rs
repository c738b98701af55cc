//! Webhook events.

use payment_protocol::{
    answer, request, secret, settings,
    wit::{Context, Error, Notice, PaymentState, Report, Request},
};
use serde::Deserialize;
use serde_json::Value;

use crate::{refund::Found, session::Session};

/// How old an event may be, which Stripe signs anew each time that it sends one.
const TOLERANCE_SECONDS: u64 = 300;
/// More than a header has, even while a secret is rolled.
const MAX_HEADER: usize = 4_096;
const MAX_SIGNATURES: usize = 10;
const MAX_SECRETS: usize = 10;

#[derive(Deserialize)]
struct Event {
    r#type: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Value,
}

/// Verifies an event, and reads it. The number and the amount are for the shop to compare.
pub fn verify(context: &Context, got: &Request) -> Result<Notice, Error> {
    authenticate(context, got)?;
    let unreadable = || Error::Forged("the event can't be read".to_owned());
    let event: Event = answer::parse(&got.body).ok_or_else(unreadable)?;
    let object = event.data.object;
    let report = match event.r#type.as_str() {
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" | "checkout.session.expired" => {
            session(serde_json::from_value(object).map_err(|_| unreadable())?, None)?
        }
        "checkout.session.async_payment_failed" => {
            let failed = PaymentState::Failed("the buyer's payment failed".to_owned());
            session(serde_json::from_value(object).map_err(|_| unreadable())?, Some(failed))?
        }
        "refund.updated" | "refund.failed" => {
            let found: Found = serde_json::from_value(object).map_err(|_| unreadable())?;
            match found.refund_no().map(str::to_owned) {
                Some(number) => Report::Refund(found.report(number)?),
                None => Report::Nothing,
            }
        }
        // A dispute among them: it is decided on Stripe's site, and the money shows in Stripe's statement.
        _ => Report::Nothing,
    };
    Ok(Notice { report, answer: answer::reply(200, "") })
}

fn session(session: Session, state: Option<PaymentState>) -> Result<Report, Error> {
    let Some(number) = session.payment_no().map(str::to_owned) else { return Ok(Report::Nothing) };
    let mut report = session.report(number)?;
    if let Some(state) = state {
        report.state = state;
    }
    Ok(Report::Payment(report))
}

/// One of the signatures must be of one of the secrets: there are several while a secret is rolled.
fn authenticate(context: &Context, got: &Request) -> Result<(), Error> {
    let forged = |what: &str| Error::Forged(format!("the signature: {what}"));
    let secrets = settings::required(context, "stripe_webhook_secret")?;
    let header = request::header_value(&got.headers, "Stripe-Signature").ok_or_else(|| forged("none"))?;
    if header.len() > MAX_HEADER || got.body.len() > answer::MAX_BODY {
        return Err(forged("too long"));
    }
    // There are other schemes, such as v0 for tests; whoever takes them can be made to take the weakest.
    let values = |name: &'static str| {
        let pairs = header.split(',').filter_map(|pair| pair.trim().split_once('='));
        pairs.filter(move |(other, _)| *other == name).map(|(_, value)| value)
    };
    let timestamp = values("t").next().unwrap_or_default();
    let seconds: i64 = timestamp.parse().map_err(|_| forged("the timestamp is no number"))?;
    if seconds.abs_diff(context.now.div_euclid(1_000)) > TOLERANCE_SECONDS {
        return Err(forged("more than five minutes off"));
    }
    let signatures: Vec<[u8; 32]> = values("v1").take(MAX_SIGNATURES).filter_map(secret::from_hex).collect();
    let mut secrets = secrets.split(',').map(str::trim).filter(|secret| !secret.is_empty()).take(MAX_SECRETS);
    let is_authentic = secrets.any(|key| {
        let expected = secret::hmac_sha256(key.as_bytes(), &[timestamp.as_bytes(), b".", &got.body]);
        signatures.iter().any(|signature| secret::equal(&expected, signature))
    });
    if is_authentic { Ok(()) } else { Err(forged("it is not Stripe's")) }
}
