//! JSON Web Tokens (RFC 7519) that are signed with HMAC and SHA-256, HS256 (RFC 7518, section 3.2): the only kind that the
//! shop issues, and the only one that it accepts. A library for all kinds would bring elliptic curves and RSA into every
//! function.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize, de::DeserializeOwned, de::IgnoredAny};
use sha2::Sha256;

use crate::base64url;

const MAX_TOKEN: usize = 4096;

/// A secret key.
pub(crate) struct Key(Hmac<Sha256>);

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(skip_serializing)]
    crit: Option<IgnoredAny>,
    #[serde(default)]
    typ: Option<String>,
}

impl Key {
    pub fn new(secret: &[u8]) -> Option<Self> {
        // HMAC takes keys of any length.
        Hmac::new_from_slice(secret).ok().map(Key)
    }

    /// A token with these claims; an error if they are no JSON.
    pub fn sign(&self, claims: &impl Serialize) -> serde_json::Result<String> {
        let header = Header { alg: "HS256".to_owned(), crit: None, typ: Some("JWT".to_owned()) };
        let (header, claims) = (serde_json::to_vec(&header)?, serde_json::to_vec(claims)?);
        let signed = format!("{}.{}", base64url::encode(&header), base64url::encode(&claims));
        let mac = self.0.clone().chain_update(&signed).finalize().into_bytes();
        Ok(format!("{signed}.{}", base64url::encode(&mac)))
    }

    /// The claims of a token. None if it is not signed with this key and HS256, or if its claims are others.
    pub fn verify<T: DeserializeOwned>(&self, token: &str) -> Option<T> {
        let (signed, mac) = token.rsplit_once('.').filter(|_| token.len() <= MAX_TOKEN)?;
        let (header, claims) = signed.split_once('.')?;
        // In constant time.
        self.0.clone().chain_update(signed).verify_slice(&base64url::decode(mac)?).ok()?;
        let header: Header = serde_json::from_slice(&base64url::decode(header)?).ok()?;
        // Extensions that one must understand are none that we do (RFC 7515, section 4.1.11).
        if header.alg != "HS256" || header.crit.is_some() {
            return None;
        }
        serde_json::from_slice(&base64url::decode(claims)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn token(key: &Key, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", base64url::encode(header.as_bytes()), base64url::encode(claims.as_bytes()));
        let mac = key.0.clone().chain_update(&signed).finalize().into_bytes();
        format!("{signed}.{}", base64url::encode(&mac))
    }

    /// RFC 7515, appendix A.1.
    #[test]
    fn the_example_of_the_standard_is_verified() {
        let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6\
                     Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let key = Key::new(&base64url::decode(secret).unwrap()).unwrap();
        let claims: Value = key.verify(token).unwrap();
        assert_eq!((&claims["iss"], &claims["exp"]), (&json!("joe"), &json!(1_300_819_380)));
    }

    #[test]
    fn only_what_is_signed_with_the_key_is_accepted() {
        let (ours, other) = (Key::new(b"ours").unwrap(), Key::new(b"other").unwrap());
        let valid = ours.sign(&json!({ "a": 1 })).unwrap();
        assert_eq!(ours.verify(&valid), Some(json!({ "a": 1 })));
        assert_eq!(other.verify::<Value>(&valid), None);
        let (signed, mac) = valid.rsplit_once('.').unwrap();
        let changed = token(&other, r#"{"alg":"HS256","typ":"JWT"}"#, r#"{"a":2}"#);
        let (changed, _) = changed.rsplit_once('.').unwrap();
        for bad in [
            format!("{changed}.{mac}"),
            format!("{signed}."),
            format!("{signed}.{}", &mac[1..]),
            format!("{valid}."),
            format!("{valid}.{mac}"),
            signed.to_owned(),
            "a.b.c".to_owned(),
            String::new(),
        ] {
            assert_eq!(ours.verify::<Value>(&bad), None, "{bad}");
        }
        let long = ours.sign(&json!({ "a": "x".repeat(MAX_TOKEN) })).unwrap();
        assert_eq!(ours.verify::<Value>(&long), None);
    }

    #[test]
    fn only_hs256_without_extensions_is_accepted() {
        let key = Key::new(b"key").unwrap();
        assert!(key.verify::<Value>(&token(&key, r#"{"typ":"JWT","alg":"HS256"}"#, "{}")).is_some());
        for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS512"}"#, r#"{"alg":"HS256","crit":["exp"]}"#, "{}", "no JSON"]
        {
            assert_eq!(key.verify::<Value>(&token(&key, header, "{}")), None, "{header}");
        }
    }
}
