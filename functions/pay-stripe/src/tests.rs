//! Every operation against every kind of answer, and notifications that are not what they seem.

mod notifications;
mod refunds;

use payment_protocol::{
    request::header_value,
    testing::*,
    wit::{Action, Context, Error, Operation, Payment, PaymentState, Report, Request, Response, Step},
};

use crate::{Provider, wit::Guest};

const SESSION: &str = "cs_test_a1";

fn shop() -> Context {
    context(&[
        ("stripe_url", "https://api.stripe.com"),
        ("stripe_key", "sk_test_1"),
        ("stripe_webhook_secret", "whsec_old, whsec_test_secret"),
    ])
}

/// The payment, once its session is known.
fn known() -> Payment {
    Payment { reference: Some(SESSION.to_owned()), ..payment("checkout") }
}

fn receive(operation: &Operation, request: &Request, got: Response) -> Result<Step, Error> {
    Provider::receive(shop(), operation.clone(), request.clone(), got)
}

/// A session of the payment; `intent` is JSON.
fn session(status: &str, payment_status: &str, intent: &str) -> String {
    format!(
        r#"{{"id":"{SESSION}","object":"checkout.session","client_reference_id":"{PAYMENT_NO}","status":"{status}","payment_status":"{payment_status}","url":"https://checkout.stripe.com/c/pay/x","amount_total":8888,"currency":"cny","payment_intent":{intent}}}"#
    )
}

fn intent(status: &str) -> String {
    format!(r#"{{"id":"pi_1","object":"payment_intent","status":"{status}"}}"#)
}

fn error(code: &str) -> String {
    format!(r#"{{"error":{{"type":"invalid_request_error","code":"{code}","message":"m"}}}}"#)
}

#[test]
fn a_charge_creates_a_session() {
    let request = sent(Provider::start(shop(), Operation::Charge(payment("checkout"))));
    assert_eq!(
        (request.method.as_str(), request.url.as_str()),
        ("POST", "https://api.stripe.com/v1/checkout/sessions")
    );
    let fields: Vec<_> = form_urlencoded::parse(&request.body).into_owned().collect();
    let expected = [
        ("mode", "payment"),
        ("success_url", "https://shop.example/return"),
        ("cancel_url", "https://shop.example/return"),
        ("client_reference_id", PAYMENT_NO),
        ("line_items[0][quantity]", "1"),
        ("line_items[0][price_data][currency]", "cny"),
        ("line_items[0][price_data][unit_amount]", "8888"),
        ("line_items[0][price_data][product_data][name]", "咖啡杯"),
        ("payment_intent_data[metadata][payment_no]", PAYMENT_NO),
    ];
    assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for (name, value) in [
        ("Authorization", "Bearer sk_test_1"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Idempotency-Key", PAYMENT_NO),
        ("Stripe-Version", "2025-03-31.basil"),
    ] {
        assert_eq!(header_value(&request.headers, name), Some(value));
    }
    assert!(header_value(&request.headers, "User-Agent").is_some());
}

#[test]
fn the_same_charge_is_the_same_request() {
    let first = sent(Provider::start(shop(), Operation::Charge(payment("checkout"))));
    let later = Context { now: NOW + 600_000, nonce: "0".repeat(32), ..shop() };
    let second = sent(Provider::start(later, Operation::Charge(payment("checkout"))));
    assert_eq!(body(&first), body(&second));
}

#[test]
fn answers_are_read() {
    let charge = Operation::Charge(payment("checkout"));
    let query = Operation::Query(known());
    let close = Operation::Close(known());
    let other = session("open", "unpaid", "null").replace(PAYMENT_NO, REFUND_NO);
    let another = session("open", "unpaid", "null").replace(SESSION, "cs_test_b2");
    for (operation, status, body, expected) in [
        (&charge, 200, session("open", "unpaid", "null"), "action"),
        (&charge, 200, other.clone(), "forged"),
        (&charge, 200, "{}".to_owned(), "unknown"),
        (&charge, 200, "<html>".to_owned(), "unknown"),
        (&charge, 400, error("amount_too_small"), "rejected"),
        (&charge, 401, error("invalid_api_key"), "settings"),
        (&charge, 402, error("card_declined"), "rejected"),
        (&charge, 409, error("idempotency_key_in_use"), "unknown"),
        (&charge, 429, error("rate_limit"), "unknown"),
        (&charge, 500, error("api_error"), "unknown"),
        (&charge, 503, "<html>".to_owned(), "unknown"),
        (&charge, 302, String::new(), "unknown"),
        (&query, 200, session("open", "unpaid", "null"), "action"),
        (&query, 200, session("complete", "paid", &intent("succeeded")), "captured"),
        (&query, 200, session("complete", "no_payment_required", "null"), "captured"),
        (&query, 200, session("complete", "unpaid", &intent("processing")), "pending"),
        (&query, 200, session("complete", "unpaid", "\"pi_1\""), "pending"),
        (&query, 200, session("complete", "unpaid", &intent("requires_payment_method")), "failed"),
        (&query, 200, session("expired", "unpaid", "null"), "canceled"),
        (&query, 200, session("other", "unpaid", "null"), "unknown"),
        (&query, 200, other, "forged"),
        (&query, 200, another, "forged"),
        (&query, 404, error("resource_missing"), "rejected"),
        (&query, 500, String::new(), "unknown"),
        (&close, 200, session("expired", "unpaid", "null"), "canceled"),
        (&close, 400, error(""), "get"),
        (&close, 404, error("resource_missing"), "rejected"),
        (&close, 500, String::new(), "unknown"),
    ] {
        let request = sent(Provider::start(shop(), operation.clone()));
        let step = receive(operation, &request, answer(status, &body));
        assert_eq!(outcome(&step), expected, "{operation:?} {status} {body}");
    }
}

#[test]
fn reports_have_what_stripe_says() {
    let charge = Operation::Charge(payment("checkout"));
    let request = sent(Provider::start(shop(), charge.clone()));
    let step = receive(&charge, &request, answer(200, &session("open", "unpaid", "null")));
    let Ok(Step::Done(Report::Payment(report))) = step else { panic!("{step:?}") };
    let PaymentState::RequiresAction(Action::Redirect(url)) = report.state else { panic!() };
    assert_eq!(url, "https://checkout.stripe.com/c/pay/x");
    assert_eq!((report.payment_no.as_str(), report.reference.as_deref()), (PAYMENT_NO, Some(SESSION)));
    assert_eq!((report.amount, report.currency.as_deref()), (Some(8888), Some("CNY")));
}

#[test]
fn a_query_asks_for_the_session() {
    let request = sent(Provider::start(shop(), Operation::Query(known())));
    let expected = "https://api.stripe.com/v1/checkout/sessions/cs_test_a1?expand[]=payment_intent";
    assert_eq!((request.method.as_str(), request.url.as_str()), ("GET", expected));
    assert!(request.body.is_empty());
    assert_eq!(header_value(&request.headers, "Stripe-Version"), Some("2025-03-31.basil"));
    assert_eq!(header_value(&request.headers, "Idempotency-Key"), None);
}

#[test]
fn a_session_whose_id_never_came_is_created_again_with_its_key() {
    let operation = Operation::Query(payment("checkout"));
    let request = sent(Provider::start(shop(), operation.clone()));
    assert_eq!(header_value(&request.headers, "Idempotency-Key"), Some(PAYMENT_NO));
    assert_eq!(outcome(&receive(&operation, &request, answer(200, &session("open", "unpaid", "null")))), "action");
    // After a day Stripe does not know the key any more.
    let forgotten = payment("checkout").created_at + 86_400_000;
    for (now, expected) in [(forgotten - 1, "post"), (forgotten, "canceled"), (i64::MAX, "canceled")] {
        assert_eq!(outcome(&Provider::start(Context { now, ..shop() }, operation.clone())), expected);
    }
    assert_eq!(outcome(&Provider::start(shop(), Operation::Close(payment("checkout")))), "canceled");
}

#[test]
fn a_close_that_comes_too_late_finds_the_payment() {
    let close = Operation::Close(known());
    let request = sent(Provider::start(shop(), close.clone()));
    assert_eq!(request.url, "https://api.stripe.com/v1/checkout/sessions/cs_test_a1/expire");
    assert_eq!(header_value(&request.headers, "Idempotency-Key"), None);
    let query = sent(receive(&close, &request, answer(400, &error(""))));
    let paid = session("complete", "paid", &intent("succeeded"));
    assert_eq!(outcome(&receive(&close, &query, answer(200, &paid))), "captured");
    // A refusal of the query does not lead to another one.
    assert_eq!(outcome(&receive(&close, &query, answer(400, &error("")))), "rejected");
}

#[test]
fn what_stripe_does_not_take_is_rejected() {
    let charge = |payment: Payment| outcome(&Provider::start(shop(), Operation::Charge(payment)));
    assert_eq!(charge(Payment { amount: 0, ..payment("checkout") }), "rejected");
    assert_eq!(charge(Payment { return_url: None, ..payment("checkout") }), "rejected");
    assert_eq!(charge(payment("page")), "rejected");
    for id in ["../refunds", "cs?x=1", "", "cs/1/expire"] {
        let hostile = Payment { reference: Some(id.to_owned()), ..payment("checkout") };
        assert_eq!(outcome(&Provider::start(shop(), Operation::Query(hostile.clone()))), "rejected", "{id}");
        assert_eq!(outcome(&Provider::start(shop(), Operation::Close(hostile))), "rejected", "{id}");
    }
}

#[test]
fn missing_settings_are_named() {
    for name in ["stripe_url", "stripe_key"] {
        let context = with_setting(shop(), name, "");
        let Err(Error::Settings(text)) = Provider::start(context, Operation::Query(known())) else { panic!("{name}") };
        assert!(text.starts_with(name), "{text}");
    }
}
