//! What is sent.

use payment_protocol::{request::header_value, wit::Action};
use serde_json::Value;

use super::*;
use crate::{api, order};

#[test]
fn strings_to_sign_are_those_of_the_documentation() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let case = &vectors["wechat_request"];
    let (timestamp, nonce) = (case["timestamp"].as_str().unwrap(), case["nonce"].as_str().unwrap());
    for request in case["cases"].as_array().unwrap() {
        let text = |name: &str| request[name].as_str().unwrap();
        let signed = if request["package"].is_string() {
            order::pay_sign(text("appid"), timestamp, nonce, text("package"))
        } else {
            api::to_sign(text("method"), text("path"), timestamp.parse().unwrap(), nonce, text("body"))
        };
        assert_eq!(signed, text("signed"));
    }
}

/// The signature in `Authorization` is that of the request, and of no other.
fn is_signed(request: &Request, path: &str) {
    let authorization = header_value(&request.headers, "Authorization").unwrap();
    let fields = authorization.strip_prefix("WECHATPAY2-SHA256-RSA2048 ").unwrap();
    let field = |name: &str| {
        let (_, rest) = fields.split_once(&format!("{name}=\"")).unwrap();
        rest.split_once('"').unwrap().0
    };
    assert_eq!(field("mchid"), MCHID);
    assert_eq!(field("serial_no"), "5157F09EFDC096DE15EBE81A47057A72");
    assert_eq!(field("timestamp"), "1793505600");
    let text = format!("{}\n{path}\n1793505600\n{}\n{}\n", request.method, field("nonce_str"), body(request));
    assert!(shop_signed(&text, field("signature")), "{text}");
    assert!(!shop_signed(&text.replace("1793505600", "1793505601"), field("signature")));
    assert!(!shop_signed(&format!("{text}\n"), field("signature")));
}

#[test]
fn operations_send_what_wechat_expects() {
    let order = format!(
        r#"{{"appid":"{APPID}","mchid":"{MCHID}","description":"咖啡杯","out_trade_no":"{PAYMENT_NO}","time_expire":"2026-11-01T12:30:00+08:00","notify_url":"https://shop.example/notify","amount":{{"total":8888,"currency":"CNY"}}"#
    );
    let by_number = format!("/v3/pay/transactions/out-trade-no/{PAYMENT_NO}");
    for (operation, method, path, expected) in [
        (Operation::Charge(payment("native")), "POST", "/v3/pay/transactions/native".to_owned(), format!("{order}}}")),
        (
            Operation::Charge(payment("jsapi")),
            "POST",
            "/v3/pay/transactions/jsapi".to_owned(),
            format!(r#"{order},"payer":{{"openid":"oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"}}}}"#),
        ),
        (Operation::Query(payment("native")), "GET", format!("{by_number}?mchid={MCHID}"), String::new()),
        (
            Operation::Close(payment("native")),
            "POST",
            format!("{by_number}/close"),
            format!(r#"{{"mchid":"{MCHID}"}}"#),
        ),
        (
            Operation::Refund(refund()),
            "POST",
            "/v3/refund/domestic/refunds".to_owned(),
            format!(
                r#"{{"out_trade_no":"{PAYMENT_NO}","out_refund_no":"{REFUND_NO}","reason":"damaged","notify_url":"https://shop.example/notify","amount":{{"refund":1000,"total":8888,"currency":"CNY"}}}}"#
            ),
        ),
        (Operation::QueryRefund(refund()), "GET", format!("/v3/refund/domestic/refunds/{REFUND_NO}"), String::new()),
    ] {
        let request = sent(Provider::start(shop(), operation));
        assert_eq!((request.method.as_str(), &request.url), (method, &format!("https://api.mch.weixin.qq.com{path}")));
        assert_eq!(body(&request), expected);
        is_signed(&request, &path);
        assert_eq!(header_value(&request.headers, "Wechatpay-Serial"), Some(KEY_ID));
        assert_eq!(header_value(&request.headers, "Accept"), Some("application/json"));
        assert!(header_value(&request.headers, "User-Agent").is_some());
    }
}

#[test]
fn a_base_url_with_a_path_is_signed_with_it() {
    let context = with_setting(shop(), "wechat_url", "http://127.0.0.1:9000/wechat/");
    let request = sent(Provider::start(context, Operation::QueryRefund(refund())));
    assert_eq!(request.url, format!("http://127.0.0.1:9000/wechat/v3/refund/domestic/refunds/{REFUND_NO}"));
    is_signed(&request, &format!("/wechat/v3/refund/domestic/refunds/{REFUND_NO}"));
}

#[test]
fn a_description_is_what_wechat_takes() {
    let mut payment = payment("native");
    payment.subject = format!("\u{1F381}{}", "杯".repeat(200));
    let request = sent(Provider::start(shop(), Operation::Charge(payment)));
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["description"].as_str().unwrap(), "杯".repeat(127));
}

#[test]
fn what_wechat_does_not_take_is_rejected() {
    let change = |change: fn(&mut payment_protocol::wit::Payment)| {
        let mut payment = payment("jsapi");
        change(&mut payment);
        Operation::Charge(payment)
    };
    for operation in [
        change(|payment| payment.currency = "USD".to_owned()),
        change(|payment| payment.amount = 0),
        change(|payment| payment.openid = None),
        change(|payment| payment.flow = "app/../native".to_owned()),
    ] {
        assert_eq!(outcome(&Provider::start(shop(), operation)), "rejected");
    }
    let mut hostile = payment("native");
    hostile.payment_no = "../../refund".to_owned();
    for operation in [Operation::Query(hostile.clone()), Operation::Close(hostile)] {
        assert_eq!(outcome(&Provider::start(shop(), operation)), "rejected");
    }
}

#[test]
fn missing_settings_are_named() {
    for name in ["wechat_url", "wechat_appid", "wechat_mchid", "wechat_serial", "wechat_private_key"] {
        let context = with_setting(shop(), name, "");
        let Err(Error::Settings(text)) = Provider::start(context, Operation::Charge(payment("native"))) else {
            panic!("{name}");
        };
        assert!(text.starts_with(name), "{text}");
    }
}

#[test]
fn the_sdk_gets_signed_parameters() {
    let charge = Operation::Charge(payment("jsapi"));
    let request = sent(Provider::start(shop(), charge.clone()));
    let step = receive(&charge, &request, signed(200, r#"{"prepay_id":"wx2016"}"#));
    let Ok(Step::Done(Report::Payment(report))) = step else { panic!("{step:?}") };
    let PaymentState::RequiresAction(Action::Sdk(parameters)) = report.state else { panic!() };
    let parameters: Value = serde_json::from_str(&parameters).unwrap();
    let text = |name: &str| parameters[name].as_str().unwrap();
    assert_eq!((text("appId"), text("package"), text("signType")), (APPID, "prepay_id=wx2016", "RSA"));
    let expected = format!("{APPID}\n1793505600\n{}\nprepay_id=wx2016\n", text("nonceStr"));
    assert_eq!(text("timeStamp"), "1793505600");
    assert!(shop_signed(&expected, text("paySign")));
    assert!(!shop_signed(&expected.replace("wx2016", "wx2017"), text("paySign")));
}
