//! Refunds, which take up to three requests.

use payment_protocol::wit::Refund;

use super::*;

fn refund() -> Refund {
    Refund { payment: known(), ..payment_protocol::testing::refund() }
}

fn found(number: &str, status: &str) -> String {
    format!(
        r#"{{"id":"re_1","object":"refund","amount":1000,"status":"{status}","failure_reason":null,"metadata":{{"refund_no":"{number}"}}}}"#
    )
}

fn list(refunds: &[String], has_more: bool) -> String {
    format!(r#"{{"object":"list","data":[{}],"has_more":{has_more}}}"#, refunds.join(","))
}

/// The request for the list, after the session.
fn listed(operation: &Operation) -> Request {
    let request = sent(Provider::start(shop(), operation.clone()));
    assert_eq!(request.url, "https://api.stripe.com/v1/checkout/sessions/cs_test_a1?expand[]=payment_intent");
    let got = answer(200, &session("complete", "paid", &intent("succeeded")));
    let request = sent(receive(operation, &request, got));
    let expected = "https://api.stripe.com/v1/refunds?payment_intent=pi_1&limit=100";
    assert_eq!((request.method.as_str(), request.url.as_str()), ("GET", expected));
    request
}

#[test]
fn a_refund_needs_the_payment_intent_of_the_session() {
    let operation = Operation::Refund(refund());
    let request = listed(&operation);
    // One that was made on Stripe's site is none of ours.
    let foreign = r#"{"id":"re_0","amount":1,"status":"succeeded","metadata":{}}"#.to_owned();
    let others = list(&[foreign, found(PAYMENT_NO, "succeeded")], false);
    let request = sent(receive(&operation, &request, answer(200, &others)));
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "https://api.stripe.com/v1/refunds"));
    assert_eq!(body(&request), format!("payment_intent=pi_1&amount=1000&metadata%5Brefund_no%5D={REFUND_NO}"));
    assert_eq!(header_value(&request.headers, "Idempotency-Key"), Some(REFUND_NO));
    for (status, body, expected) in [
        (200, found(REFUND_NO, "succeeded"), "succeeded"),
        (200, found(REFUND_NO, "pending"), "pending"),
        (200, found(REFUND_NO, "requires_action"), "pending"),
        (200, found(REFUND_NO, "failed"), "failed"),
        (200, found(REFUND_NO, "canceled"), "failed"),
        (200, found(REFUND_NO, "other"), "unknown"),
        (200, found(PAYMENT_NO, "succeeded"), "forged"),
        (200, "{}".to_owned(), "unknown"),
        (400, error("charge_already_refunded"), "rejected"),
        (401, error("invalid_api_key"), "settings"),
        (500, error("api_error"), "unknown"),
    ] {
        assert_eq!(outcome(&receive(&operation, &request, answer(status, &body))), expected, "{status} {body}");
    }
}

#[test]
fn a_refund_that_is_there_is_not_made_again() {
    let operation = Operation::Refund(refund());
    let request = listed(&operation);
    let step = receive(&operation, &request, answer(200, &list(&[found(REFUND_NO, "succeeded")], true)));
    let Ok(Step::Done(Report::Refund(report))) = step else { panic!("{step:?}") };
    assert_eq!(
        (report.refund_no.as_str(), report.amount, report.reference.as_deref()),
        (REFUND_NO, Some(1000), Some("re_1"))
    );
    assert_eq!(outcome(&receive(&operation, &request, answer(200, &list(&[], true)))), "unknown");
    assert_eq!(outcome(&receive(&operation, &request, answer(500, ""))), "unknown");
}

#[test]
fn only_what_was_paid_is_refunded() {
    let operation = Operation::Refund(refund());
    let request = sent(Provider::start(shop(), operation.clone()));
    for (body, expected) in [
        (session("open", "unpaid", "null"), "rejected"),
        (session("complete", "paid", "\"pi_1\""), "get"),
        (session("complete", "paid", "\"pi_1&amount=1\""), "rejected"),
        (session("complete", "paid", "\"pi_1\"").replace(PAYMENT_NO, REFUND_NO), "forged"),
        ("{}".to_owned(), "unknown"),
    ] {
        assert_eq!(outcome(&receive(&operation, &request, answer(200, &body))), expected, "{body}");
    }
    let unknown = Refund { payment: payment("checkout"), ..refund() };
    let nothing = Refund { amount: 0, ..refund() };
    for refund in [unknown, nothing] {
        assert_eq!(outcome(&Provider::start(shop(), Operation::Refund(refund))), "rejected");
    }
}

#[test]
fn a_query_finds_the_refund() {
    let operation = Operation::QueryRefund(refund());
    let request = listed(&operation);
    for (body, expected) in [
        (list(&[found(PAYMENT_NO, "failed"), found(REFUND_NO, "succeeded")], false), "succeeded"),
        (list(&[], false), "failed"),
        (list(&[], true), "unknown"),
    ] {
        assert_eq!(outcome(&receive(&operation, &request, answer(200, &body))), expected, "{body}");
    }
    let operation = Operation::QueryRefund(Refund { reference: Some("re_1".to_owned()), ..refund() });
    let request = sent(Provider::start(shop(), operation.clone()));
    assert_eq!(request.url, "https://api.stripe.com/v1/refunds/re_1");
    assert_eq!(outcome(&receive(&operation, &request, answer(200, &found(REFUND_NO, "pending")))), "pending");
    assert_eq!(outcome(&receive(&operation, &request, answer(200, &found(PAYMENT_NO, "pending")))), "forged");
}
