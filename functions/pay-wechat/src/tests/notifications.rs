//! What comes by itself.

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use base64::{Engine, engine::general_purpose::STANDARD};

use payment_protocol::wit::RefundState;

use super::*;

/// A notification with this resource in it.
fn notice(event: &str, resource: &str, data: &str) -> String {
    let cipher = Aes256Gcm::new_from_slice(APIV3_KEY.as_bytes()).unwrap();
    let payload = Payload { msg: resource.as_bytes(), aad: data.as_bytes() };
    let ciphertext = STANDARD.encode(cipher.encrypt(b"uluk4a9R25RW".as_slice().try_into().unwrap(), payload).unwrap());
    format!(
        r#"{{"id":"E1","event_type":"{event}","resource_type":"encrypt-resource","resource":{{"algorithm":"AEAD_AES_256_GCM","ciphertext":"{ciphertext}","associated_data":"{data}","nonce":"uluk4a9R25RW"}}}}"#
    )
}

fn got(headers: Vec<Header>, body: &str) -> Request {
    Request { headers, ..notification(&[], body) }
}

fn verify_with(context: Context, request: Request) -> Result<Step, Error> {
    let notice = Provider::verify(context, request)?;
    assert_eq!((notice.answer.status, notice.answer.body.len()), (204, 0));
    Ok(Step::Done(notice.report))
}

fn verify(body: &str) -> Result<Step, Error> {
    verify_with(shop(), got(signature(body, KEY_ID, 0), body))
}

fn refunded(status: &str) -> String {
    format!(
        r#"{{"mchid":"{MCHID}","out_trade_no":"{PAYMENT_NO}","out_refund_no":"{REFUND_NO}","refund_id":"R1","refund_status":"{status}","amount":{{"total":8888,"refund":1000}}}}"#
    )
}

#[test]
fn notifications_are_decrypted_and_read() {
    let paid = transaction(PAYMENT_NO, "SUCCESS");
    let step = verify(&notice("TRANSACTION.SUCCESS", &paid, "transaction"));
    let Ok(Step::Done(Report::Payment(report))) = step else { panic!("{step:?}") };
    assert!(matches!(report.state, PaymentState::Captured));
    assert_eq!((report.payment_no.as_str(), report.amount), (PAYMENT_NO, Some(8888)));

    let step = verify(&notice("REFUND.SUCCESS", &refunded("SUCCESS"), ""));
    let Ok(Step::Done(Report::Refund(report))) = step else { panic!("{step:?}") };
    assert!(matches!(report.state, RefundState::Succeeded));
    assert_eq!((report.refund_no.as_str(), report.amount), (REFUND_NO, Some(1000)));

    for (event, resource, expected) in [
        ("REFUND.ABNORMAL", refunded("ABNORMAL"), "failed"),
        ("REFUND.CLOSED", refunded("CLOSED"), "failed"),
        ("COUPON.USE", "{}".to_owned(), "nothing"),
        // Signed and encrypted, but about someone else's money, or not readable.
        ("TRANSACTION.SUCCESS", paid.replace(MCHID, "1900007292"), "forged"),
        ("TRANSACTION.SUCCESS", paid.replace(APPID, "wx0"), "forged"),
        ("REFUND.SUCCESS", refunded("SUCCESS").replace(MCHID, "1900007292"), "forged"),
        ("TRANSACTION.SUCCESS", "{}".to_owned(), "forged"),
        ("TRANSACTION.SUCCESS", String::new(), "forged"),
    ] {
        assert_eq!(outcome(&verify(&notice(event, &resource, ""))), expected, "{event} {resource}");
    }
}

#[test]
fn altered_notifications_are_forged() {
    let body = notice("TRANSACTION.SUCCESS", &transaction(PAYMENT_NO, "SUCCESS"), "transaction");
    // Signed by WeChat, altered inside the encryption.
    for altered in [
        body.replace("AEAD_AES_256_GCM", "AEAD_SM4_GCM"),
        body.replace("uluk4a9R25RW", "uluk4a9R25RX"),
        body.replace("uluk4a9R25RW", "short"),
        body.replace("\"transaction\"", "\"refund\""),
        body.replace("\"ciphertext\":\"", "\"ciphertext\":\"AAAA"),
        body[..body.len() - 2].to_owned(),
        String::new(),
        "{}".to_owned(),
        "[".repeat(10_000),
    ] {
        assert_eq!(outcome(&verify(&altered)), "forged", "{altered:.200}");
    }
    // Altered after it was signed.
    let headers = || signature(&body, KEY_ID, 0);
    assert_eq!(outcome(&verify_with(shop(), got(headers(), &body.replace("E1", "E2")))), "forged");
    assert_eq!(outcome(&verify_with(shop(), got(headers(), &format!("{body}\n")))), "forged");
    assert_eq!(outcome(&verify_with(shop(), got(Vec::new(), &body))), "forged");
    for length in 0..body.len() {
        assert_eq!(outcome(&verify_with(shop(), got(headers(), &body[..length]))), "forged", "{length}");
    }
    let mut twice = headers();
    twice.extend(headers());
    assert_eq!(outcome(&verify_with(shop(), got(twice, &body))), "forged");
    let long = " ".repeat(300_000);
    assert_eq!(outcome(&verify_with(shop(), got(signature(&long, KEY_ID, 0), &long))), "forged");
}

#[test]
fn a_probe_is_refused() {
    let body = notice("TRANSACTION.SUCCESS", &transaction(PAYMENT_NO, "SUCCESS"), "");
    let mut headers = signature(&body, KEY_ID, 0);
    let real = headers.pop().unwrap().value;
    for probe in [
        format!("WECHATPAY/SIGNTEST/{real}"),
        format!("WECHATPAY/SIGNTEST/{}", &real[19..]),
        "WECHATPAY/SIGNTEST/".to_owned(),
    ] {
        let mut headers = headers.clone();
        headers.push(header("Wechatpay-Signature", probe));
        assert_eq!(outcome(&verify_with(shop(), got(headers, &body))), "forged");
    }
}

#[test]
fn five_minutes_are_the_tolerance() {
    let body = notice("TRANSACTION.SUCCESS", &transaction(PAYMENT_NO, "SUCCESS"), "");
    for (off, expected) in
        [(-301, "forged"), (-300, "captured"), (300, "captured"), (301, "forged"), (i64::MAX / 2_000, "forged")]
    {
        let request = got(signature(&body, KEY_ID, off), &body);
        assert_eq!(outcome(&verify_with(shop(), request)), expected, "{off}");
    }
    for timestamp in ["", "x", "-9223372036854775808", "99999999999999999999"] {
        let mut headers = signature(&body, KEY_ID, 0);
        headers[0].value = timestamp.to_owned();
        assert_eq!(outcome(&verify_with(shop(), got(headers, &body))), "forged", "{timestamp}");
    }
}

#[test]
fn the_serial_number_chooses_the_key() {
    let body = notice("TRANSACTION.SUCCESS", &transaction(PAYMENT_NO, "SUCCESS"), "");
    let old = with_setting(shop(), "wechat_public_key_id", "");
    let old = with_setting(old, "wechat_platform_certificate", PROVIDER_CERTIFICATE);
    let both = with_setting(shop(), "wechat_platform_certificate", PROVIDER_CERTIFICATE);
    // The right key under the wrong name would be found out by this one, which is not WeChat's.
    let both = with_setting(both, "wechat_public_key", SHOP_PUBLIC);
    let neither = with_setting(shop(), "wechat_public_key_id", "");
    for (context, serial, expected) in [
        (&old, CERTIFICATE_SERIAL, "captured"),
        (&old, KEY_ID, "forged"),
        (&both, CERTIFICATE_SERIAL, "captured"),
        (&both, KEY_ID, "forged"),
        (&both, "", "forged"),
        (&shop(), CERTIFICATE_SERIAL, "forged"),
        (&neither, KEY_ID, "settings"),
    ] {
        let request = got(signature(&body, serial, 0), &body);
        assert_eq!(outcome(&verify_with(context.clone(), request)), expected, "{serial}");
    }
}

#[test]
fn settings_that_are_wrong_are_named() {
    let body = notice("TRANSACTION.SUCCESS", &transaction(PAYMENT_NO, "SUCCESS"), "");
    for (name, value) in [("wechat_apiv3_key", "short"), ("wechat_apiv3_key", ""), ("wechat_public_key", "x")] {
        let context = with_setting(shop(), name, value);
        let Err(Error::Settings(text)) = verify_with(context, got(signature(&body, KEY_ID, 0), &body)) else {
            panic!("{name}");
        };
        assert!(text.starts_with(name), "{text}");
    }
}
