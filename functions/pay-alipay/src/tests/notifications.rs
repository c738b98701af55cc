//! What comes by itself.

use payment_protocol::amount;

use super::*;

/// A notification of the payment with some parameters changed, signed after that.
pub fn paid_form(changes: &[(&str, &str)]) -> String {
    let mut parameters = vec![
        ("app_id", APP),
        ("seller_id", SELLER),
        ("out_trade_no", PAYMENT_NO),
        ("total_amount", "88.88"),
        ("trade_no", "T1"),
        ("trade_status", "TRADE_SUCCESS"),
        ("subject", "a+b %26 杯"),
        ("passback_params", ""),
        ("sign_type", "RSA2"),
    ];
    parameters.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    parameters.extend(changes.iter().filter(|(_, value)| *value != "(none)"));
    let mut signed: Vec<_> =
        parameters.iter().copied().filter(|(name, value)| *name != "sign_type" && !value.is_empty()).collect();
    let signature = provider_signature(&page::to_sign(&mut signed));
    parameters.push(("sign", &signature));
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

fn verify(body: &str) -> Result<Report, Error> {
    let notice = Provider::verify(shop(), notification(&[], body))?;
    assert_eq!((notice.answer.status, notice.answer.body.as_slice()), (200, b"success".as_slice()));
    Ok(notice.report)
}

#[test]
fn notifications_are_verified_and_read() {
    let Ok(Report::Payment(report)) = verify(&paid_form(&[])) else { panic!() };
    assert!(matches!(report.state, PaymentState::Captured));
    assert_eq!((report.payment_no.as_str(), report.amount), (PAYMENT_NO, Some(8888)));
    assert_eq!((report.currency.as_deref(), report.reference.as_deref()), (Some("CNY"), Some("T1")));
    for (changes, expected) in [
        (&[("trade_status", "TRADE_FINISHED")][..], "captured"),
        (&[("trade_status", "WAIT_BUYER_PAY")], "pending"),
        (&[("trade_status", "TRADE_CLOSED")], "canceled"),
        (&[("trade_status", "TRADE_CLOSED"), ("gmt_payment", "2026-11-01 12:01:00")], "captured"),
        (&[("trade_status", "OTHER")], "nothing"),
        // Signed, but about someone else's trade, or not readable.
        (&[("app_id", "2014072300007149")], "forged"),
        (&[("app_id", "(none)")], "forged"),
        (&[("seller_id", "2088102146225136")], "forged"),
        (&[("seller_id", "(none)")], "forged"),
        (&[("out_trade_no", "(none)")], "forged"),
        (&[("trade_status", "(none)")], "forged"),
        (&[("total_amount", "0.01"), ("total_amount", "88.88")], "forged"),
        (&[("total_amount", "(none)")], "forged"),
        (&[("total_amount", "-88.88")], "forged"),
    ] {
        assert_eq!(outcome(&verify(&paid_form(changes)).map(Step::Done)), expected, "{changes:?}");
    }
}

#[test]
fn altered_notifications_are_forged() {
    let form = paid_form(&[]);
    let sign = form.find("sign=").unwrap();
    for altered in [
        form.replace("88.88", "0.01"),
        form.replace("TRADE_SUCCESS", "TRADE_CLOSED"),
        format!("{form}&extra=1"),
        format!("total_amount=0.01&{form}"),
        form[..form.len() - 8].to_owned(),
        form[..sign].to_owned(),
        form[sign..].to_owned(),
        form.replace("sign=", "sign=AAAA"),
        String::new(),
        "%".repeat(1_000),
        "a=1&".repeat(100_000),
        (0..300).map(|n| format!("a{n}=1&")).collect(),
    ] {
        assert_eq!(outcome(&verify(&altered).map(Step::Done)), "forged", "{altered:.200}");
    }
    for length in 0..form.len() {
        assert_eq!(outcome(&verify(&form[..length]).map(Step::Done)), "forged", "{length}");
    }
    let mut bytes = notification(&[], "");
    bytes.body = vec![0xff; 1_000];
    assert!(matches!(Provider::verify(shop(), bytes), Err(Error::Forged(_))));
}

#[test]
fn a_notification_of_the_real_service_is_verified() {
    let vectors: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
    let case = &vectors["alipay_notification"];
    let text = |name: &str| case[name].as_str().unwrap();
    let mut parameters: Vec<(&str, &str)> =
        text("verified_string").split('&').map(|pair| pair.split_once('=').unwrap()).collect();
    parameters.reverse();
    parameters.extend([("sign_type", "RSA2"), ("sign", text("signature"))]);
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    let context = with_setting(shop(), "alipay_public_key", text("public_key"));
    let context = with_setting(context, "alipay_app_id", "2019073166072302");
    let context = with_setting(context, "alipay_seller_id", "2088531891668739");
    let notice = Provider::verify(context.clone(), notification(&[], &form)).unwrap();
    let Report::Payment(report) = notice.report else { panic!() };
    assert_eq!((report.payment_no.as_str(), report.amount), ("20190815155618536-564-57", amount::fen("0.10")));
    let altered = form.replace("total_amount=0.10", "total_amount=9.10");
    assert!(matches!(Provider::verify(context, notification(&[], &altered)), Err(Error::Forged(_))));
}
