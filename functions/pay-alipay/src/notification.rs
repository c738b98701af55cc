//! Notifications: signed forms.

use payment_protocol::{
    amount, answer,
    key::PublicKey,
    settings,
    wit::{Context, Error, Notice, PaymentReport, Report, Request},
};

use crate::{page, trade};

/// More than any notification has.
const MAX_PARAMETERS: usize = 200;

/// Verifies a notification, and reads it. The number and the amount are for the shop to compare.
pub fn verify(context: &Context, got: &Request) -> Result<Notice, Error> {
    let parameters = parameters(&got.body)?;
    let find = |name: &str| parameters.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
    let value = |name: &str| find(name).ok_or_else(|| forged(&format!("the notification has no {name}")));

    let mut signed: Vec<(&str, &str)> =
        parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    signed.retain(|(name, _)| !["sign", "sign_type"].contains(name));
    let key = PublicKey::from_setting(context, "alipay_public_key")?;
    if !key.verify(page::to_sign(&mut signed).as_bytes(), value("sign")?) {
        return Err(forged("the signature of the notification"));
    }
    for (name, setting) in [("app_id", "alipay_app_id"), ("seller_id", "alipay_seller_id")] {
        if value(name)? != settings::required(context, setting)? {
            return Err(answer::other(name));
        }
    }
    // `gmt_payment` is there once it was paid.
    let report = match trade::state(value("trade_status")?, find("gmt_payment").is_some()) {
        Some(state) => Report::Payment(PaymentReport {
            payment_no: value("out_trade_no")?.to_owned(),
            state,
            amount: Some(amount::fen(value("total_amount")?).ok_or_else(|| forged("the amount"))?),
            currency: Some("CNY".to_owned()),
            reference: find("trade_no").map(str::to_owned),
        }),
        None => Report::Nothing,
    };
    // Anything else makes Alipay send it again.
    Ok(Notice { report, answer: answer::reply(200, "success") })
}

/// The form's parameters without empty ones, decoded once.
fn parameters(body: &[u8]) -> Result<Vec<(String, String)>, Error> {
    if body.len() > answer::MAX_BODY {
        return Err(forged("the notification is too long"));
    }
    let parameters: Vec<_> = form_urlencoded::parse(body).take(MAX_PARAMETERS + 1).collect();
    if parameters.len() > MAX_PARAMETERS {
        return Err(forged("the notification has too many parameters"));
    }
    let mut parameters: Vec<(String, String)> = parameters
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    parameters.sort_unstable();
    // Of two values one would be signed for and the other one read.
    let pairs = parameters.iter().zip(parameters.iter().skip(1));
    for ((name, _), (next, _)) in pairs {
        if name == next {
            return Err(forged(&format!("the notification has two {name}")));
        }
    }
    Ok(parameters)
}

fn forged(what: &str) -> Error {
    Error::Forged(what.to_owned())
}
