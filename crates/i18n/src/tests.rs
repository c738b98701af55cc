use std::collections::{BTreeMap, BTreeSet};

use fluent_bundle::FluentArgs;
use fluent_syntax::{ast::Entry, parser};
use strum::IntoEnumIterator;

use super::*;

const ORDER_NO: &str = "01JZX3V9Q2M7N4T8W6Y5A1B0CD";
const LINK: &str = "https://shop.example/reset?token=abc";

const PROVIDER: &str = "a-provider";

const MESSAGES: [Message<'static>; 14] = [
    Message::OrderPaid { order_no: ORDER_NO },
    Message::OrderShipped { order_no: ORDER_NO },
    Message::OrderCancelled { order_no: ORDER_NO },
    Message::OrderExpired { order_no: ORDER_NO },
    Message::OrderRefunded { order_no: ORDER_NO },
    Message::RefundRejected { order_no: ORDER_NO },
    Message::PasswordReset { link: LINK, minutes: 30, linked: &[] },
    Message::EmailVerification { link: LINK, hours: 24 },
    Message::PasswordChanged,
    Message::PasswordWasReset { linked: &[] },
    Message::EmailChanged,
    Message::EmailReplaced,
    Message::IdentityLinked { provider: PROVIDER },
    Message::IdentityUnlinked { provider: PROVIDER },
];

/// Each text's id, or id and attribute.
type Key = (String, Option<String>);

fn keys(texts: &str) -> Vec<Key> {
    let resource = parser::parse(texts).expect("valid Fluent");
    let messages = resource.body.iter().filter_map(|entry| match entry {
        Entry::Message(message) => Some(message),
        Entry::Junk { content } => panic!("{content}"),
        _ => None,
    });
    let keys = messages.flat_map(|message| {
        let id = message.id.name.to_owned();
        let value = message.value.is_some().then(|| (id.clone(), None));
        let attributes = message.attributes.iter().map(move |at| (id.clone(), Some(at.id.name.to_owned())));
        value.into_iter().chain(attributes)
    });
    keys.collect()
}

fn texts(locale: Locale) -> &'static str {
    match locale {
        Locale::En => catalog::EN,
        Locale::ZhCn => catalog::ZH_CN,
    }
}

/// The texts that the enums need.
fn needed() -> BTreeSet<Key> {
    let messages = MESSAGES.iter().flat_map(|message| {
        let id: &str = message.into();
        [(id.to_owned(), None), (id.to_owned(), Some("subject".to_owned()))]
    });
    let refusals = CouponRefusal::iter().map(|refusal| (<&str>::from(refusal).to_owned(), None));
    messages.chain(refusals).collect()
}

/// The variables of a text: without arguments, Fluent reports each as an error.
fn variables(locale: Locale, (id, attribute): &Key) -> BTreeSet<String> {
    let bundle = catalog::bundle(locale);
    let message = bundle.get_message(id).unwrap();
    let pattern = match attribute {
        Some(name) => message.get_attribute(name).unwrap().value(),
        None => message.value().unwrap(),
    };
    let mut errors = vec![];
    bundle.format_pattern(pattern, None, &mut errors);
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn each_file_has_exactly_the_needed_texts() {
    for locale in Locale::iter() {
        let keys = keys(texts(locale));
        let distinct: BTreeSet<_> = keys.iter().cloned().collect();
        assert_eq!(distinct.len(), keys.len(), "{locale}: a text occurs twice");
        assert_eq!(distinct, needed(), "{locale}");
    }
}

#[test]
fn a_text_has_the_same_variables_in_every_language() {
    let of = |locale| needed().into_iter().map(|key| (variables(locale, &key), key)).collect::<Vec<_>>();
    let en = of(Locale::En);
    assert_eq!(
        en.iter().filter(|(variables, _)| !variables.is_empty()).count(),
        13,
        "eight subjects and five bodies have variables"
    );
    for locale in Locale::iter() {
        assert_eq!(of(locale), en, "{locale}");
    }
}

#[test]
fn every_text_exists_in_every_language_and_differs() {
    let mut seen = BTreeMap::new();
    for locale in Locale::iter() {
        let bundle = catalog::bundle(locale);
        for message in MESSAGES {
            let (id, args) = (message.into(), message.args());
            // Without the fallback, and without an error.
            let subject = catalog::format(bundle, id, Some("subject"), &args).unwrap();
            let body = catalog::format(bundle, id, None, &args).unwrap();
            assert_eq!(message.render(locale), RenderedMessage { subject: subject.clone(), body: body.clone() });
            assert_eq!(seen.insert(subject.clone(), id), None, "{subject}");
            assert_eq!(seen.insert(body.clone(), id), None, "{body}");
        }
        for refusal in CouponRefusal::iter() {
            let text = catalog::format(bundle, refusal.into(), None, &FluentArgs::new()).unwrap();
            assert_eq!(refusal.render(locale), text);
            assert_eq!(seen.insert(text.clone(), refusal.into()), None, "{text}");
        }
    }
}

#[test]
fn a_subject_names_the_order_and_fits_its_column() {
    for (locale, message) in Locale::iter().flat_map(|locale| MESSAGES.map(|message| (locale, message))) {
        let subject = message.render(locale).subject;
        assert!(subject.len() <= 200 && !subject.contains('\n'), "{subject}");
        let id: &str = message.into();
        let is_about_an_order = id.starts_with("order-") || id.starts_with("refund-");
        assert_eq!(subject.contains(ORDER_NO), is_about_an_order, "{subject}");
    }
}

#[test]
fn a_paragraph_is_one_line() {
    for (locale, message) in Locale::iter().flat_map(|locale| MESSAGES.map(|message| (locale, message))) {
        let body = message.render(locale).body;
        assert!(!body.replace("\n\n", "").contains('\n'), "{locale}: {body}");
    }
}

#[test]
fn messages_are_rendered() {
    let paid = Message::OrderPaid { order_no: ORDER_NO };
    assert_eq!(paid.render(Locale::En).subject, format!("Payment received for order {ORDER_NO}"));
    assert_eq!(paid.render(Locale::ZhCn).subject, format!("订单 {ORDER_NO} 支付成功"));
    let reset = |locale, minutes| Message::PasswordReset { link: LINK, minutes, linked: &[] }.render(locale).body;
    assert_eq!(
        reset(Locale::En, 30),
        format!(
            "We received a request to reset your password. Open this link within 30 minutes to choose a new one; \
             it works once:\n\n{LINK}\n\nIf you did not ask for this, you can ignore this mail."
        )
    );
    assert!(reset(Locale::En, 1).contains("within 1 minute to"));
    assert_eq!(
        reset(Locale::ZhCn, 30),
        format!(
            "我们收到了重置您账户密码的请求。请在 30 分钟内打开以下链接设置新密码，该链接仅可使用一次：\n\n{LINK}\n\n\
             如非本人操作，请忽略本邮件。"
        )
    );
    let linked = ["one".to_owned(), "another".to_owned()];
    let after_reset = |locale, linked| Message::PasswordWasReset { linked }.render(locale).body;
    assert!(!after_reset(Locale::En, &[]).contains("linked"));
    assert!(after_reset(Locale::En, &linked).contains("Still linked to your account: one, another. Unlink"));
    assert!(after_reset(Locale::ZhCn, &linked).contains("您的账户仍关联：one, another。"));
    let reset = Message::PasswordReset { link: LINK, minutes: 30, linked: &linked }.render(Locale::En).body;
    assert!(reset.ends_with("Signing in with one, another works as before."), "{reset}");
    assert_eq!(CouponRefusal::FullyClaimed.render(Locale::ZhCn), "该优惠券已被领完");
}

#[test]
fn a_missing_text_falls_back_to_english_then_to_its_id() {
    let nothing = FluentArgs::new();
    assert_eq!(catalog::value(Locale::ZhCn, "no-such-text", &nothing), "no-such-text");
    assert_eq!(catalog::attribute(Locale::ZhCn, "coupon-ended", "subject", &nothing), "coupon-ended");
    // With a missing argument the text is not used, rather than shown with a gap.
    assert_eq!(catalog::attribute(Locale::ZhCn, "order-paid", "subject", &nothing), "order-paid");
}
