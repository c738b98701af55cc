//! What is answered.

use payment_protocol::{request::header, wit::Action};

use super::*;

fn refunded(number: &str, refund: &str, status: &str) -> String {
    format!(
        r#"{{"out_trade_no":"{number}","out_refund_no":"{refund}","refund_id":"R1","status":"{status}","amount":{{"total":8888,"refund":1000}}}}"#
    )
}

#[test]
fn answers_are_read() {
    let charge = Operation::Charge(payment("native"));
    let jsapi = Operation::Charge(payment("jsapi"));
    let query = Operation::Query(payment("native"));
    let close = Operation::Close(payment("native"));
    let refund = Operation::Refund(refund());
    let query_refund = Operation::QueryRefund(payment_protocol::testing::refund());
    let error = |code: &str| format!(r#"{{"code":"{code}","message":"m"}}"#);
    let code = r#"{"code_url":"weixin://wxpay/bizpayurl?pr=J"}"#;
    let state = |state: &str| transaction(PAYMENT_NO, state);
    let status = |status: &str| refunded(PAYMENT_NO, REFUND_NO, status);
    for (operation, number, body, expected) in [
        (&charge, 200, code.to_owned(), "action"),
        (&charge, 200, r#"{"prepay_id":"x"}"#.to_owned(), "unknown"),
        (&charge, 200, "<html>".to_owned(), "unknown"),
        (&jsapi, 200, r#"{"prepay_id":"x"}"#.to_owned(), "action"),
        (&jsapi, 200, code.to_owned(), "unknown"),
        (&charge, 400, error("ORDER_PAID"), "get"),
        (&charge, 403, error("OUT_TRADE_NO_USED"), "get"),
        (&charge, 400, error("ORDER_CLOSED"), "get"),
        (&charge, 400, error("PARAM_ERROR"), "rejected"),
        (&charge, 401, error("SIGN_ERROR"), "settings"),
        (&charge, 403, error("SYSTEM_ERROR"), "unknown"),
        (&charge, 429, error("FREQUENCY_LIMITED"), "unknown"),
        (&charge, 500, error("SYSTEM_ERROR"), "unknown"),
        (&charge, 502, "<html>".to_owned(), "unknown"),
        (&charge, 404, "<html>".to_owned(), "unknown"),
        (&charge, 301, String::new(), "unknown"),
        (&query, 200, state("NOTPAY"), "pending"),
        (&query, 200, state("USERPAYING"), "pending"),
        (&query, 200, state("SUCCESS"), "captured"),
        (&query, 200, state("REFUND"), "captured"),
        (&query, 200, state("CLOSED"), "canceled"),
        (&query, 200, state("REVOKED"), "canceled"),
        (&query, 200, state("PAYERROR"), "failed"),
        (&query, 200, state("OTHER"), "unknown"),
        (&query, 200, transaction(REFUND_NO, "SUCCESS"), "forged"),
        (&query, 200, state("SUCCESS").replace(MCHID, "1900007292"), "forged"),
        (&query, 200, state("SUCCESS").replace(APPID, "wx0"), "forged"),
        (&query, 404, error("ORDER_NOT_EXIST"), "pending"),
        (&query, 500, String::new(), "unknown"),
        (&close, 204, String::new(), "canceled"),
        (&close, 400, error("ORDER_PAID"), "get"),
        (&close, 400, error("ORDERPAID"), "get"),
        (&close, 400, error("ORDER_CLOSED"), "get"),
        (&close, 404, error("ORDER_NOT_EXIST"), "canceled"),
        (&close, 400, error("PARAM_ERROR"), "rejected"),
        (&close, 500, error("SYSTEM_ERROR"), "unknown"),
        (&refund, 200, status("PROCESSING"), "pending"),
        (&refund, 200, status("SUCCESS"), "succeeded"),
        (&refund, 200, refunded(PAYMENT_NO, PAYMENT_NO, "SUCCESS"), "forged"),
        (&refund, 403, error("NOT_ENOUGH"), "rejected"),
        (&refund, 500, error("SYSTEM_ERROR"), "unknown"),
        (&query_refund, 200, status("PROCESSING"), "pending"),
        (&query_refund, 200, status("SUCCESS"), "succeeded"),
        (&query_refund, 200, status("CLOSED"), "failed"),
        (&query_refund, 200, status("ABNORMAL"), "failed"),
        (&query_refund, 200, status("OTHER"), "unknown"),
        (&query_refund, 200, refunded(REFUND_NO, REFUND_NO, "SUCCESS"), "forged"),
        (&query_refund, 404, error("RESOURCE_NOT_EXISTS"), "failed"),
        (&query_refund, 503, String::new(), "unknown"),
    ] {
        let request = sent(Provider::start(shop(), operation.clone()));
        let got = if number < 300 { signed(number, &body) } else { answer(number, &body) };
        assert_eq!(outcome(&receive(operation, &request, got)), expected, "{operation:?} {number} {body}");
    }
}

#[test]
fn reports_have_what_wechat_says() {
    let charge = Operation::Charge(payment("native"));
    let request = sent(Provider::start(shop(), charge.clone()));
    let step = receive(&charge, &request, signed(200, r#"{"code_url":"weixin://x"}"#));
    let Ok(Step::Done(Report::Payment(report))) = step else { panic!("{step:?}") };
    assert!(matches!(report.state, PaymentState::RequiresAction(Action::QrCode(code)) if code == "weixin://x"));

    // Closed too late: the query that follows finds it paid.
    let close = Operation::Close(payment("native"));
    let request = sent(Provider::start(shop(), close.clone()));
    let query = sent(receive(&close, &request, answer(400, r#"{"code":"ORDER_PAID","message":"m"}"#)));
    let step = receive(&close, &query, signed(200, &transaction(PAYMENT_NO, "SUCCESS")));
    let Ok(Step::Done(Report::Payment(report))) = step else { panic!("{step:?}") };
    assert!(matches!(report.state, PaymentState::Captured));
    assert_eq!((report.amount, report.currency.as_deref()), (Some(8888), Some("CNY")));
    assert_eq!((report.payment_no.as_str(), report.reference.as_deref()), (PAYMENT_NO, Some("T1")));

    let refund = Operation::QueryRefund(refund());
    let request = sent(Provider::start(shop(), refund.clone()));
    let step = receive(&refund, &request, signed(200, &refunded(PAYMENT_NO, REFUND_NO, "SUCCESS")));
    let Ok(Step::Done(Report::Refund(report))) = step else { panic!("{step:?}") };
    assert_eq!((report.refund_no.as_str(), report.amount), (REFUND_NO, Some(1000)));
    assert_eq!(report.reference.as_deref(), Some("R1"));
}

#[test]
fn an_answer_of_the_real_service_is_verified() {
    let vectors: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
    let case = &vectors["wechat_response"];
    let text = |name: &str| case[name].as_str().unwrap();
    let headers = vec![
        header("Wechatpay-Timestamp", text("timestamp").to_owned()),
        header("Wechatpay-Nonce", text("nonce").to_owned()),
        header("Wechatpay-Serial", KEY_ID.to_owned()),
        header("Wechatpay-Signature", text("signature").to_owned()),
    ];
    let got = Response { headers, ..answer(200, text("body")) };
    let mut context = with_setting(shop(), "wechat_public_key", text("public_key"));
    context.now = text("timestamp").parse::<i64>().unwrap() * 1_000;
    let charge = Operation::Charge(payment("native"));
    let request = sent(Provider::start(context.clone(), charge.clone()));
    let receive =
        |context: &Context, got: Response| Provider::receive(context.clone(), charge.clone(), request.clone(), got);
    assert_eq!(outcome(&receive(&context, got.clone())), "action");
    let altered = Response { body: text("body").replace("JyC", "JyD").into_bytes(), ..got.clone() };
    assert_eq!(outcome(&receive(&context, altered)), "forged");
    context.now += 301_000;
    assert_eq!(outcome(&receive(&context, got)), "forged");
}

#[test]
fn a_success_that_wechat_has_not_signed_is_forged() {
    let query = Operation::Query(payment("native"));
    let request = sent(Provider::start(shop(), query.clone()));
    let paid = transaction(PAYMENT_NO, "SUCCESS");
    assert_eq!(outcome(&receive(&query, &request, answer(200, &paid))), "forged");
    for at in 0..4 {
        let mut got = signed(200, &paid);
        got.headers[at].value.push('1');
        assert_eq!(outcome(&receive(&query, &request, got)), "forged");
        let mut got = signed(200, &paid);
        got.headers.remove(at);
        assert_eq!(outcome(&receive(&query, &request, got)), "forged");
    }
    let close = Operation::Close(payment("native"));
    let request = sent(Provider::start(shop(), close.clone()));
    assert_eq!(outcome(&receive(&close, &request, answer(204, ""))), "forged");
}
