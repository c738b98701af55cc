//! Every operation against every kind of answer, and notifications that are not what they seem.

mod notifications;

use payment_protocol::{
    request,
    testing::*,
    wit::{
        Action, Context, Error, Operation, PaymentReport, PaymentState, RefundReport, Report, Request, Response, Step,
    },
};

use crate::{Provider, api, page, wit::Guest};

const APP: &str = "2014072300007148";
const SELLER: &str = "2088102146225135";

fn shop() -> Context {
    context(&[
        ("alipay_url", "https://openapi.alipay.com"),
        ("alipay_app_id", APP),
        ("alipay_seller_id", SELLER),
        ("alipay_private_key", SHOP_PRIVATE),
        ("alipay_public_key", PROVIDER_PUBLIC),
    ])
}

fn signed(status: u16, body: &str) -> Response {
    let headers = vec![
        request::header("alipay-timestamp", "1793505600123".to_owned()),
        request::header("Alipay-Nonce", "n".to_owned()),
        request::header("alipay-signature", provider_signature(&format!("1793505600123\nn\n{body}\n"))),
    ];
    Response { headers, ..answer(status, body) }
}

fn receive(operation: &Operation, request: &Request, got: Response) -> Result<Step, Error> {
    Provider::receive(shop(), operation.clone(), request.clone(), got)
}

fn payment_of(step: Result<Step, Error>) -> PaymentReport {
    match step {
        Ok(Step::Done(Report::Payment(report))) => report,
        other => panic!("{other:?}"),
    }
}

fn refund_of(step: Result<Step, Error>) -> RefundReport {
    match step {
        Ok(Step::Done(Report::Refund(report))) => report,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_page_is_a_signed_url() {
    let report = payment_of(Provider::start(shop(), Operation::Charge(payment("page"))));
    let PaymentState::RequiresAction(Action::Redirect(url)) = report.state else { panic!("{report:?}") };
    let query = url.strip_prefix("https://openapi.alipay.com/gateway.do?").unwrap();
    let mut parameters: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let at = parameters.iter().position(|(name, _)| name == "sign").unwrap();
    let (_, signature) = parameters.remove(at);
    // The string of the documentation, written out: sorted, with `sign_type`, not encoded.
    let expected = format!(
        "app_id={APP}&biz_content={{\"out_trade_no\":\"{PAYMENT_NO}\",\"total_amount\":\"88.88\",\"subject\":\"咖啡杯\",\
         \"product_code\":\"FAST_INSTANT_TRADE_PAY\",\"time_expire\":\"2026-11-01 12:30:00\"}}&charset=utf-8&format=JSON&\
         method=alipay.trade.page.pay&notify_url=https://shop.example/notify&return_url=https://shop.example/return&\
         sign_type=RSA2&timestamp=2026-11-01 12:00:00&version=1.0"
    );
    assert_eq!(page::to_sign(&mut parameters), expected);
    assert!(shop_signed(&expected, &signature));
    assert!(!shop_signed(&expected.replace("88.88", "0.01"), &signature));
}

#[test]
fn a_page_without_return_url_does_not_sign_one() {
    let mut payment = payment("page");
    payment.return_url = None;
    let report = payment_of(Provider::start(shop(), Operation::Charge(payment)));
    let PaymentState::RequiresAction(Action::Redirect(url)) = report.state else { panic!("{report:?}") };
    assert!(!url.contains("return_url"));
}

#[test]
fn requests_are_signed_as_alipay_signs_them() {
    let request = sent(Provider::start(shop(), Operation::Query(payment("qr"))));
    assert_eq!(
        (request.method.as_str(), request.url.as_str()),
        ("POST", "https://openapi.alipay.com/v3/alipay/trade/query")
    );
    let authorization = request::header_value(&request.headers, "Authorization").unwrap();
    let (claims, signature) = authorization.split_once(",sign=").unwrap();
    let claims = claims.strip_prefix("ALIPAY-SHA256withRSA ").unwrap();
    let string = api::to_sign(claims, "POST", "/v3/alipay/trade/query", body(&request));
    let vectors: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
    assert_eq!(string, vectors["alipay_v3_request"]["signed"].as_str().unwrap());
    assert!(shop_signed(&string, signature));
    assert!(!shop_signed(&string.replace("POST", "GET"), signature));
    assert!(request::header_value(&request.headers, "User-Agent").is_some());
}

#[test]
fn operations_send_what_alipay_expects() {
    for (operation, path, expected) in [
        (
            Operation::Charge(payment("qr")),
            "precreate",
            format!(
                r#"{{"out_trade_no":"{PAYMENT_NO}","total_amount":"88.88","subject":"咖啡杯","product_code":"QR_CODE_OFFLINE","time_expire":"2026-11-01 12:30:00","notify_url":"https://shop.example/notify"}}"#
            ),
        ),
        (Operation::Close(payment("qr")), "close", format!(r#"{{"out_trade_no":"{PAYMENT_NO}"}}"#)),
        (
            Operation::Refund(refund()),
            "refund",
            format!(
                r#"{{"out_trade_no":"{PAYMENT_NO}","refund_amount":"10.00","out_request_no":"{REFUND_NO}","refund_reason":"damaged"}}"#
            ),
        ),
        (
            Operation::QueryRefund(refund()),
            "fastpay/refund/query",
            format!(r#"{{"out_trade_no":"{PAYMENT_NO}","out_request_no":"{REFUND_NO}"}}"#),
        ),
    ] {
        let request = sent(Provider::start(shop(), operation));
        assert_eq!(request.url, format!("https://openapi.alipay.com/v3/alipay/trade/{path}"));
        assert_eq!(body(&request), expected);
    }
}

#[test]
fn answers_are_read() {
    let charge = Operation::Charge(payment("qr"));
    let query = Operation::Query(payment("qr"));
    let close = Operation::Close(payment("qr"));
    let refund = Operation::Refund(refund());
    let query_refund = Operation::QueryRefund(payment_protocol::testing::refund());
    let trade = |fields: &str| format!(r#"{{"out_trade_no":"{PAYMENT_NO}","trade_no":"T1",{fields}}}"#);
    let status = |status: &str| trade(&format!(r#""trade_status":"{status}","total_amount":"88.88""#));
    let error = |code: &str| format!(r#"{{"code":"{code}","message":"m","links":[]}}"#);
    let other = |fields: &str| format!(r#"{{"out_trade_no":"{REFUND_NO}",{fields}}}"#);
    let cases = [
        (&charge, 200, trade(r#""qr_code":"https://qr.alipay.com/x""#), "action"),
        (&charge, 200, other(r#""qr_code":"https://qr.alipay.com/x""#), "forged"),
        (&charge, 200, "{}".to_owned(), "unknown"),
        (&charge, 400, error("ACQ.TRADE_HAS_SUCCESS"), "post"),
        (&charge, 400, error("ACQ.TRADE_HAS_CLOSE"), "post"),
        (&charge, 400, error("ACQ.INVALID_PARAMETER"), "rejected"),
        (&charge, 400, error("ACQ.SYSTEM_ERROR"), "unknown"),
        (&charge, 401, error("invalid-signature"), "settings"),
        (&charge, 429, error("too-many"), "unknown"),
        (&charge, 500, error("SYSTEM_ERROR"), "unknown"),
        (&charge, 302, String::new(), "unknown"),
        (&charge, 404, "<html>".to_owned(), "unknown"),
        (&query, 200, status("WAIT_BUYER_PAY"), "pending"),
        (&query, 200, status("TRADE_SUCCESS"), "captured"),
        (&query, 200, status("TRADE_FINISHED"), "captured"),
        (&query, 200, status("TRADE_CLOSED"), "canceled"),
        (&query, 200, trade(r#""trade_status":"TRADE_CLOSED","send_pay_date":"2026-11-01 12:01:00""#), "captured"),
        (&query, 200, status("TRADE_NEW"), "unknown"),
        (&query, 200, trade(r#""trade_status":"TRADE_SUCCESS","total_amount":"1e9""#), "unknown"),
        (&query, 200, other(r#""trade_status":"TRADE_SUCCESS""#), "forged"),
        (&query, 404, error("ACQ.TRADE_NOT_EXIST"), "pending"),
        (&query, 503, String::new(), "unknown"),
        (&close, 200, trade(r#""x":1"#), "canceled"),
        (&close, 200, other(r#""x":1"#), "forged"),
        (&close, 400, error("ACQ.TRADE_STATUS_ERROR"), "post"),
        (&close, 404, error("ACQ.TRADE_NOT_EXIST"), "canceled"),
        (&close, 400, error("ACQ.REASON_ILLEGAL_STATUS"), "rejected"),
        (&close, 502, String::new(), "unknown"),
        (&refund, 200, trade(r#""fund_change":"Y","refund_fee":"20.00""#), "succeeded"),
        (&refund, 200, trade(r#""fund_change":"N","refund_fee":"20.00""#), "pending"),
        (&refund, 200, trade(r#""refund_fee":"20.00""#), "pending"),
        (&refund, 200, other(r#""fund_change":"Y""#), "forged"),
        (&refund, 400, error("ACQ.SELLER_BALANCE_NOT_ENOUGH"), "rejected"),
        (&refund, 504, String::new(), "unknown"),
        (
            &query_refund,
            200,
            trade(&format!(r#""out_request_no":"{REFUND_NO}","refund_status":"REFUND_SUCCESS""#)),
            "succeeded",
        ),
        (&query_refund, 200, trade(r#""out_request_no":"X","refund_status":"REFUND_SUCCESS""#), "forged"),
        (&query_refund, 200, trade(&format!(r#""out_request_no":"{REFUND_NO}""#)), "failed"),
        (&query_refund, 200, trade(r#""refund_status":"REFUND_PROCESSING""#), "pending"),
        (&query_refund, 200, other(r#""refund_status":"REFUND_SUCCESS""#), "forged"),
        (&query_refund, 404, error("ACQ.TRADE_NOT_EXIST"), "rejected"),
    ];
    for (operation, status, body, expected) in cases {
        let request = sent(Provider::start(shop(), operation.clone()));
        let got = if status == 200 { signed(status, &body) } else { answer(status, &body) };
        assert_eq!(outcome(&receive(operation, &request, got)), expected, "{operation:?} {status} {body}");
    }
}

#[test]
fn a_close_that_finds_a_paid_trade_says_so() {
    let close = Operation::Close(payment("qr"));
    let request = sent(Provider::start(shop(), close.clone()));
    let refused = answer(400, r#"{"code":"ACQ.TRADE_STATUS_ERROR","message":"m"}"#);
    let query = sent(receive(&close, &request, refused));
    let paid = format!(
        r#"{{"out_trade_no":"{PAYMENT_NO}","trade_no":"T1","trade_status":"TRADE_SUCCESS","total_amount":"88.88"}}"#
    );
    let report = payment_of(receive(&close, &query, signed(200, &paid)));
    assert!(matches!(report.state, PaymentState::Captured));
    assert_eq!(
        (report.amount, report.currency.as_deref(), report.reference.as_deref()),
        (Some(8888), Some("CNY"), Some("T1"))
    );
    // Not opened, not paid: there is nothing left to close.
    let missing = answer(404, r#"{"code":"ACQ.TRADE_NOT_EXIST","message":"m"}"#);
    assert_eq!(outcome(&receive(&close, &query, missing)), "canceled");
}

#[test]
fn a_success_that_alipay_has_not_signed_is_forged() {
    let query = Operation::Query(payment("qr"));
    let request = sent(Provider::start(shop(), query.clone()));
    let paid = format!(r#"{{"out_trade_no":"{PAYMENT_NO}","trade_status":"TRADE_SUCCESS","total_amount":"88.88"}}"#);
    assert_eq!(outcome(&receive(&query, &request, signed(200, &paid))), "captured");
    assert_eq!(outcome(&receive(&query, &request, answer(200, &paid))), "forged");
    let altered = Response { body: paid.replace("88.88", "88.89").into_bytes(), ..signed(200, &paid) };
    assert_eq!(outcome(&receive(&query, &request, altered)), "forged");
    for at in 0..3 {
        let mut got = signed(200, &paid);
        got.headers[at].value.push('1');
        assert_eq!(outcome(&receive(&query, &request, got)), "forged");
        let mut got = signed(200, &paid);
        got.headers.remove(at);
        assert_eq!(outcome(&receive(&query, &request, got)), "forged");
    }
    // Signed with the shop's own key.
    let context = with_setting(shop(), "alipay_public_key", SHOP_PUBLIC);
    assert_eq!(outcome(&Provider::receive(context, query, request, signed(200, &paid))), "forged");
}

#[test]
fn an_answer_that_is_too_long_is_not_read() {
    let query = Operation::Query(payment("qr"));
    let request = sent(Provider::start(shop(), query.clone()));
    assert_eq!(outcome(&receive(&query, &request, signed(200, &" ".repeat(300_000)))), "forged");
    assert_eq!(outcome(&receive(&query, &request, answer(400, &" ".repeat(300_000)))), "unknown");
    let elsewhere = Request { url: "https://openapi.alipay.com/".to_owned(), ..request };
    assert_eq!(outcome(&receive(&query, &elsewhere, signed(200, "{}"))), "unknown");
}

#[test]
fn what_alipay_does_not_take_is_rejected() {
    let mut dollars = payment("page");
    dollars.currency = "USD".to_owned();
    let mut nothing = payment("qr");
    nothing.amount = 0;
    let mut owed = payment("page");
    owed.amount = -1;
    for payment in [dollars, nothing, owed, payment("wap")] {
        assert_eq!(outcome(&Provider::start(shop(), Operation::Charge(payment))), "rejected");
    }
    let mut hostile = payment("qr");
    hostile.subject = "a/b=c&d\u{0}\"".to_owned();
    let request = sent(Provider::start(shop(), Operation::Charge(hostile)));
    assert!(body(&request).contains(r#""subject":"a b c d \"""#), "{}", body(&request));
}

#[test]
fn missing_settings_are_named() {
    for (name, operation) in [
        ("alipay_url", Operation::Charge(payment("page"))),
        ("alipay_app_id", Operation::Charge(payment("page"))),
        ("alipay_private_key", Operation::Query(payment("page"))),
    ] {
        let Err(Error::Settings(text)) = Provider::start(with_setting(shop(), name, ""), operation) else {
            panic!("{name}");
        };
        assert!(text.starts_with(name), "{text}");
    }
    let context = with_setting(shop(), "alipay_seller_id", "");
    let got = Provider::verify(context, notification(&[], &notifications::paid_form(&[])));
    assert!(matches!(got, Err(Error::Settings(text)) if text.starts_with("alipay_seller_id")));
}

#[test]
fn refund_reports_name_the_refund() {
    let query = Operation::QueryRefund(refund());
    let request = sent(Provider::start(shop(), query.clone()));
    let body = format!(
        r#"{{"out_trade_no":"{PAYMENT_NO}","out_request_no":"{REFUND_NO}","refund_amount":"10.00","refund_status":"REFUND_SUCCESS"}}"#
    );
    let report = refund_of(receive(&query, &request, signed(200, &body)));
    assert_eq!((report.refund_no.as_str(), report.amount), (REFUND_NO, Some(1000)));
}
