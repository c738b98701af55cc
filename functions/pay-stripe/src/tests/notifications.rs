//! What comes by itself.

use payment_protocol::secret;

use super::*;

fn v1(secret: &str, timestamp: &str, body: &str) -> String {
    let mac = secret::hmac_sha256(secret.as_bytes(), &[timestamp.as_bytes(), b".", body.as_bytes()]);
    mac.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn event(kind: &str, object: &str) -> String {
    format!(r#"{{"id":"evt_1","object":"event","type":"{kind}","data":{{"object":{object}}}}}"#)
}

fn verify_with(signature: &str, body: &str) -> Result<Step, Error> {
    let notice = Provider::verify(shop(), notification(&[("stripe-signature", signature)], body))?;
    assert_eq!((notice.answer.status, notice.answer.body.len()), (200, 0));
    Ok(Step::Done(notice.report))
}

fn now() -> String {
    (NOW / 1_000).to_string()
}

fn verify(body: &str) -> Result<Step, Error> {
    verify_with(&format!("t={},v1={}", now(), v1("whsec_test_secret", &now(), body)), body)
}

#[test]
fn events_are_read() {
    let refund = |number: &str, status: &str| {
        format!(r#"{{"id":"re_1","amount":1000,"status":"{status}","metadata":{{{number}}}}}"#)
    };
    let ours = format!(r#""refund_no":"{REFUND_NO}""#);
    let foreign = session("complete", "paid", "\"pi_1\"").replace(&format!("\"{PAYMENT_NO}\""), "null");
    for (kind, object, expected) in [
        ("checkout.session.completed", session("complete", "paid", "\"pi_1\""), "captured"),
        ("checkout.session.completed", session("complete", "unpaid", "\"pi_1\""), "pending"),
        ("checkout.session.async_payment_succeeded", session("complete", "paid", "\"pi_1\""), "captured"),
        ("checkout.session.async_payment_failed", session("complete", "unpaid", "\"pi_1\""), "failed"),
        ("checkout.session.expired", session("expired", "unpaid", "null"), "canceled"),
        ("checkout.session.completed", foreign, "nothing"),
        ("checkout.session.completed", "{}".to_owned(), "forged"),
        ("checkout.session.completed", session("other", "unpaid", "null"), "unknown"),
        ("refund.updated", refund(&ours, "succeeded"), "succeeded"),
        ("refund.updated", refund(&ours, "pending"), "pending"),
        ("refund.failed", refund(&ours, "failed"), "failed"),
        ("refund.updated", refund("", "succeeded"), "nothing"),
        ("refund.updated", "[]".to_owned(), "forged"),
        ("charge.dispute.created", r#"{"id":"dp_1"}"#.to_owned(), "nothing"),
        ("customer.created", "null".to_owned(), "nothing"),
    ] {
        assert_eq!(outcome(&verify(&event(kind, &object))), expected, "{kind} {object}");
    }
    let step = verify(&event("checkout.session.completed", &session("complete", "paid", "\"pi_1\"")));
    let Ok(Step::Done(Report::Payment(report))) = step else { panic!("{step:?}") };
    assert_eq!((report.payment_no.as_str(), report.reference.as_deref()), (PAYMENT_NO, Some(SESSION)));
    assert_eq!((report.amount, report.currency.as_deref()), (Some(8888), Some("CNY")));
}

#[test]
fn any_secret_and_any_v1_may_match() {
    let (body, t) = (event("customer.created", "null"), now());
    let (old, new, other) =
        (v1("whsec_old", &t, &body), v1("whsec_test_secret", &t, &body), v1("whsec_other", &t, &body));
    for (signature, expected) in [
        (format!("t={t},v1={old}"), "nothing"),
        (format!("t={t},v1={new}"), "nothing"),
        (format!("t={t},v1={other},v1={new}"), "nothing"),
        (format!("t={t},v1=zz,v1={new},v0=x"), "nothing"),
        (format!("v1={new}, t={t}"), "nothing"),
        (format!("t={t},v1={other}"), "forged"),
        (format!("t={t},v0={new}"), "forged"),
        (format!("t={t},v2={new}"), "forged"),
        (format!("t={t},V1={new}"), "forged"),
        (format!("t={t},v1={}", &new[..62]), "forged"),
        (format!("t={t}"), "forged"),
        (format!("v1={new}"), "forged"),
        (String::new(), "forged"),
        (format!("t={t},{}", "v1=0,".repeat(2_000)), "forged"),
        (format!("t={t},{}v1={new}", format!("v1={other},").repeat(10)), "forged"),
    ] {
        assert_eq!(outcome(&verify_with(&signature, &body)), expected, "{signature:.300}");
    }
    let twice = [("Stripe-Signature", format!("t={t},v1={new}")), ("stripe-signature", format!("t={t},v1={new}"))];
    let twice = twice.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert!(matches!(Provider::verify(shop(), notification(&twice, &body)), Err(Error::Forged(_))));
    assert!(matches!(Provider::verify(shop(), notification(&[], &body)), Err(Error::Forged(_))));
}

#[test]
fn five_minutes_are_the_tolerance() {
    let body = event("customer.created", "null");
    for (off, expected) in [(-301, "forged"), (-300, "nothing"), (300, "nothing"), (301, "forged")] {
        let t = (NOW / 1_000 + off).to_string();
        let signature = format!("t={t},v1={}", v1("whsec_old", &t, &body));
        assert_eq!(outcome(&verify_with(&signature, &body)), expected, "{off}");
    }
    for t in ["", "x", "-9223372036854775808", "99999999999999999999"] {
        let signature = format!("t={t},v1={}", v1("whsec_old", t, &body));
        assert_eq!(outcome(&verify_with(&signature, &body)), "forged", "{t}");
    }
}

#[test]
fn altered_events_are_forged() {
    let body = event("checkout.session.completed", &session("complete", "paid", "\"pi_1\""));
    let signature = format!("t={},v1={}", now(), v1("whsec_old", &now(), &body));
    assert_eq!(outcome(&verify_with(&signature, &body)), "captured");
    for altered in [body.replace("8888", "1"), format!("{body} "), body[1..].to_owned(), String::new()] {
        assert_eq!(outcome(&verify_with(&signature, &altered)), "forged", "{altered}");
    }
    for length in 0..body.len() {
        assert_eq!(outcome(&verify_with(&signature, &body[..length])), "forged", "{length}");
        // Rightly signed, but cut.
        assert_eq!(outcome(&verify(&body[..length])), "forged", "{length}");
    }
    // Rightly signed, and no event.
    for body in ["", "null", "{}", &"[".repeat(10_000), &" ".repeat(300_000)] {
        assert_eq!(outcome(&verify(body)), "forged", "{body:.100}");
    }
}

#[test]
fn an_event_of_the_documentation_is_authentic() {
    let vectors: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
    let case = &vectors["stripe_webhook"];
    let (payload, v1) = (case["payload"].as_str().unwrap(), case["v1"].as_str().unwrap());
    let verify = |now: i64, payload: &str| {
        let signature = format!("t=1495999758,v1={v1}");
        let context = Context { now, ..shop() };
        let Err(Error::Forged(text)) =
            Provider::verify(context, notification(&[("Stripe-Signature", &signature)], payload))
        else {
            panic!("it has no type");
        };
        text
    };
    // It is authentic, only not an event with a type.
    assert_eq!(verify(1_495_999_758_000, payload), "the event can't be read");
    assert_eq!(verify(1_495_999_758_000, &payload.replace("evt", "evu")), "the signature: it is not Stripe's");
    assert_eq!(verify(NOW, payload), "the signature: more than five minutes off");
}

#[test]
fn a_missing_secret_is_named() {
    let context = with_setting(shop(), "stripe_webhook_secret", " ");
    let got = Provider::verify(context, notification(&[("Stripe-Signature", "t=1,v1=0")], "{}"));
    assert!(matches!(got, Err(Error::Settings(text)) if text == "stripe_webhook_secret is missing"));
    // Commas alone are no secret that an empty key could match.
    let context = with_setting(shop(), "stripe_webhook_secret", " , ,");
    let body = event("customer.created", "null");
    let signature = format!("t={},v1={}", now(), v1("", &now(), &body));
    let got = Provider::verify(context, notification(&[("Stripe-Signature", &signature)], &body));
    assert!(matches!(got, Err(Error::Forged(_))));
}
