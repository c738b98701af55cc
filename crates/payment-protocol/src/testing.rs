//! For the tests of providers: keys, a context, a payment.
// A test that can't go on may say so by panicking.
#![allow(clippy::expect_used, clippy::panic)]

use crate::{
    key::{PrivateKey, PublicKey},
    request::header,
    wit::{
        Context, Error, Header, Payment, PaymentState, Refund, RefundState, Report, Request, Response, Setting, Step,
    },
};

/// The key with which the shop signs in tests.
pub const SHOP_PRIVATE: &str = include_str!("../testdata/shop-private.pem");
/// Its public part.
pub const SHOP_PUBLIC: &str = include_str!("../testdata/shop-public.pem");
/// The key with which providers sign in tests.
pub const PROVIDER_PRIVATE: &str = include_str!("../testdata/provider-private.pem");
/// Its public part.
pub const PROVIDER_PUBLIC: &str = include_str!("../testdata/provider-public.pem");
/// A certificate of that key, with the serial number `CERTIFICATE_SERIAL`.
pub const PROVIDER_CERTIFICATE: &str = include_str!("../testdata/provider-certificate.pem");
/// The serial number of the certificate.
pub const CERTIFICATE_SERIAL: &str = "A1B2C3D4E5F60718293A4B5C6D7E8F9001020304";
/// Answers as the payment services give them, with their signatures.
pub const VECTORS: &str = include_str!("../tests/vectors/payments.json");

/// Noon of 1 November 2026 in China.
pub const NOW: i64 = 1_793_505_600_000;
/// The number of `payment()`.
pub const PAYMENT_NO: &str = "01J0000000000000000000000A";
/// The number of `refund()`.
pub const REFUND_NO: &str = "01J0000000000000000000000R";

/// A context with these settings.
pub fn context(settings: &[(&str, &str)]) -> Context {
    let settings =
        settings.iter().map(|(name, value)| Setting { name: (*name).to_owned(), value: (*value).to_owned() });
    Context { settings: settings.collect(), now: NOW, nonce: "593BEC0C930BF1AFEB40B4A08C8FB242".to_owned() }
}

/// The context with another value of a setting.
pub fn with_setting(mut context: Context, name: &str, value: &str) -> Context {
    context.settings.retain(|setting| setting.name != name);
    context.settings.push(Setting { name: name.to_owned(), value: value.to_owned() });
    context
}

/// A payment of 88.88 yuan.
pub fn payment(flow: &str) -> Payment {
    Payment {
        payment_no: PAYMENT_NO.to_owned(),
        order_no: "1001".to_owned(),
        amount: 8888,
        currency: "CNY".to_owned(),
        flow: flow.to_owned(),
        subject: "咖啡杯".to_owned(),
        created_at: NOW - 1_000,
        expires_at: NOW + 1_800_000,
        return_url: Some("https://shop.example/return".to_owned()),
        notify_url: "https://shop.example/notify".to_owned(),
        openid: Some("oUpF8uMuAJO_M2pxb1Q9zNjWeS6o".to_owned()),
        reference: None,
    }
}

/// A refund of 10 yuan of it.
pub fn refund() -> Refund {
    Refund {
        refund_no: REFUND_NO.to_owned(),
        payment: payment("page"),
        amount: 1000,
        reason: "damaged".to_owned(),
        notify_url: "https://shop.example/notify".to_owned(),
        reference: None,
    }
}

/// An answer without a signature.
pub fn answer(status: u16, body: &str) -> Response {
    Response { status, headers: Vec::new(), body: body.as_bytes().to_vec() }
}

/// The signature of the provider.
pub fn provider_signature(text: &str) -> String {
    let context = context(&[("key", PROVIDER_PRIVATE)]);
    PrivateKey::from_setting(&context, "key").expect("a key").sign(text).expect("a signature")
}

/// Whether the shop has signed this text.
pub fn shop_signed(text: &str, signature: &str) -> bool {
    let context = context(&[("key", SHOP_PUBLIC)]);
    PublicKey::from_setting(&context, "key").expect("a key").verify(text.as_bytes(), signature)
}

/// A notification.
pub fn notification(headers: &[(&str, &str)], body: &str) -> Request {
    let headers: Vec<Header> = headers.iter().map(|(name, value)| header(name, (*value).to_owned())).collect();
    Request {
        method: "POST".to_owned(),
        url: "https://shop.example/notify".to_owned(),
        headers,
        body: body.as_bytes().to_vec(),
    }
}

/// The body as text.
pub fn body(request: &Request) -> &str {
    std::str::from_utf8(&request.body).expect("UTF-8")
}

/// The request of a step that must be one.
pub fn sent(step: Result<Step, Error>) -> Request {
    match step {
        Ok(Step::Send(request)) => request,
        other => panic!("not a request: {other:?}"),
    }
}

/// The outcome in a word.
pub fn outcome(step: &Result<Step, Error>) -> &'static str {
    match step {
        Ok(Step::Send(request)) if request.method == "GET" => "get",
        Ok(Step::Send(_)) => "post",
        Ok(Step::Done(Report::Payment(report))) => match report.state {
            PaymentState::Pending => "pending",
            PaymentState::RequiresAction(_) => "action",
            PaymentState::Captured => "captured",
            PaymentState::Failed(_) => "failed",
            PaymentState::Canceled => "canceled",
        },
        Ok(Step::Done(Report::Refund(report))) => match report.state {
            RefundState::Pending => "pending",
            RefundState::Succeeded => "succeeded",
            RefundState::Failed(_) => "failed",
        },
        Ok(Step::Done(Report::Nothing)) => "nothing",
        Err(Error::Settings(_)) => "settings",
        Err(Error::Rejected(_)) => "rejected",
        Err(Error::Unknown(_)) => "unknown",
        Err(Error::Forged(_)) => "forged",
    }
}
