//! Signatures and ciphertexts that the payment services' own libraries made.

// What a test calls is a test, too.
#![allow(clippy::unwrap_used)]

use payment_protocol::{
    key::{PrivateKey, PublicKey},
    secret,
    testing::*,
    wit::Error,
};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(VECTORS).unwrap()
}

fn verify(key: &str, signed: &str, signature: &str) -> bool {
    PublicKey::from_setting(&context(&[("key", key)]), "key").unwrap().verify(signed.as_bytes(), signature)
}

/// The signature is good for the text, and for nothing else.
fn both_ways(key: &str, signed: &str, signature: &str) {
    assert!(verify(key, signed, signature), "{signed}");
    for altered in [signed.trim_end().to_owned(), format!("{signed}\n"), signed.replacen('0', "1", 1), String::new()] {
        assert!(altered == signed || !verify(key, &altered, signature), "{altered}");
    }
    assert!(!verify(PROVIDER_PUBLIC, signed, signature), "another key");
    for altered in ["", "AAAA", "====", &signature[4..], &format!("{signature}AAAA"), &"A".repeat(10_000)] {
        assert!(!verify(key, signed, altered), "{altered}");
    }
}

#[test]
fn wechat_signatures_are_verified() {
    let vectors = vectors();
    let request = &vectors["wechat_request"];
    let cases = request["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let text = |name: &str| case[name].as_str().unwrap();
        both_ways(request["public_key"].as_str().unwrap(), text("signed"), text("signature"));
    }
    let response = &vectors["wechat_response"];
    let text = |name: &str| response[name].as_str().unwrap();
    let signed = format!("{}\n{}\n{}\n", text("timestamp"), text("nonce"), text("body"));
    both_ways(text("public_key"), &signed, text("signature"));
}

#[test]
fn alipay_signatures_are_verified() {
    let vectors = vectors();
    for (case, signed) in [("alipay_notification", "verified_string"), ("alipay_v3_request", "signed")] {
        let text = |name: &str| vectors[case][name].as_str().unwrap();
        both_ways(text("public_key"), text(signed), text("signature"));
    }
}

#[test]
fn a_wechat_resource_is_decrypted() {
    let vectors = vectors();
    let text = |name: &str| vectors["wechat_resource"][name].as_str().unwrap();
    let (key, nonce, data, ciphertext) =
        (text("apiv3_key").as_bytes(), text("nonce"), text("associated_data"), text("ciphertext"));
    assert_eq!(secret::decrypt(key, nonce, data, ciphertext).unwrap(), text("plaintext").as_bytes());
    assert_eq!(secret::decrypt(&[b'x'; 32], nonce, data, ciphertext), None);
    assert_eq!(secret::decrypt(&key[1..], nonce, data, ciphertext), None);
    assert_eq!(secret::decrypt(key, "uluk4a9R25RX", data, ciphertext), None);
    assert_eq!(secret::decrypt(key, "uluk4a9R25R", data, ciphertext), None);
    assert_eq!(secret::decrypt(key, nonce, "", ciphertext), None);
    for altered in ["", "AAAA", "not base64", &ciphertext.replacen('u', "v", 1)] {
        assert_eq!(secret::decrypt(key, nonce, data, altered), None, "{altered}");
    }
}

#[test]
fn a_stripe_webhook_is_authenticated() {
    let vectors = vectors();
    let case = &vectors["stripe_webhook"];
    let text = |name: &str| case[name].as_str().unwrap();
    let timestamp = case["timestamp"].to_string();
    let mac =
        |key: &str| secret::hmac_sha256(key.as_bytes(), &[timestamp.as_bytes(), b".", text("payload").as_bytes()]);
    let expected = secret::from_hex(text("v1")).unwrap();
    assert!(secret::equal(&mac(text("secret")), &expected));
    assert!(!secret::equal(&mac("whsec_other"), &expected));
    assert!(!secret::equal(&[], &expected));
    for digits in ["", "zz", &text("v1")[1..], &format!("{}0", text("v1")), &"g".repeat(64), &"é".repeat(32)] {
        assert_eq!(secret::from_hex(digits), None, "{digits}");
    }
}

#[test]
fn what_is_signed_verifies() {
    let key = PrivateKey::from_setting(&context(&[("key", SHOP_PRIVATE)]), "key").unwrap();
    let signature = key.sign("文本\n").unwrap();
    assert!(verify(SHOP_PUBLIC, "文本\n", &signature));
    assert!(!verify(SHOP_PUBLIC, "文本", &signature));
}

#[test]
fn keys_are_taken_with_any_line_ends_and_bare() {
    let bare: String = SHOP_PRIVATE.lines().filter(|line| !line.contains(['-', '.'])).collect();
    for text in [SHOP_PRIVATE, &SHOP_PRIVATE.replace('\n', "\r\n"), &SHOP_PRIVATE.replace('\n', "\\n"), &bare] {
        assert!(PrivateKey::from_setting(&context(&[("key", text)]), "key").is_ok(), "{text}");
    }
}

#[test]
fn a_key_that_is_none_is_named() {
    let cut = &SHOP_PRIVATE[..900];
    for text in ["x", "-----BEGIN PRIVATE KEY-----", cut, SHOP_PUBLIC, PROVIDER_CERTIFICATE, &"A".repeat(100_000)] {
        let context = context(&[("alipay_private_key", text)]);
        let Err(Error::Settings(why)) = PrivateKey::from_setting(&context, "alipay_private_key") else {
            panic!("{text}");
        };
        assert_eq!(why, "alipay_private_key is not an RSA private key in PEM (PKCS#8)");
    }
    for text in ["x", SHOP_PRIVATE, PROVIDER_CERTIFICATE] {
        let context = context(&[("key", text)]);
        assert!(matches!(PublicKey::from_setting(&context, "key"), Err(Error::Settings(_))), "{text}");
    }
    for text in ["x", SHOP_PRIVATE, SHOP_PUBLIC, &PROVIDER_CERTIFICATE[..600]] {
        let context = context(&[("key", text)]);
        assert!(matches!(PublicKey::from_certificate(&context, "key"), Err(Error::Settings(_))), "{text}");
    }
}

#[test]
fn a_certificate_has_its_key_and_serial_number() {
    let context = context(&[("key", PROVIDER_CERTIFICATE)]);
    let (key, serial) = PublicKey::from_certificate(&context, "key").unwrap();
    assert_eq!(serial, CERTIFICATE_SERIAL);
    assert!(key.verify(b"text", &provider_signature("text")));
    assert!(!key.verify(b"other", &provider_signature("text")));
}
