//! RSA keys, and signatures by PKCS#1 v1.5 with SHA-256.

use base64::{Engine, engine::general_purpose::STANDARD};
use rsa::{
    pkcs1::DecodeRsaPrivateKey,
    pkcs8::{DecodePrivateKey, DecodePublicKey},
};
use sha2::Sha256;
use x509_cert::{
    Certificate,
    der::{Decode, Encode},
};

use crate::{
    answer::MAX_BODY,
    settings,
    wit::{Context, Error},
};

/// A signature of an 8192-bit key, the largest that is taken, has 1,368 digits.
const MAX_SIGNATURE_LENGTH: usize = 1_400;
const MAX_KEY_LENGTH: usize = 32 * 1024;

/// The key that signs what the shop sends.
pub struct PrivateKey(rsa::PrivateKey);

impl PrivateKey {
    /// The key in a setting: PKCS#8 or PKCS#1 in PEM. Bare base64 is taken too, since Alipay hands it out so.
    pub fn from_setting(context: &Context, name: &str) -> Result<Self, Error> {
        let pem = settings::required(context, name)?;
        let wrong = || settings::wrong(name, "is not an RSA private key in PEM (PKCS#8)");
        let der = decode_pem(pem, &["PRIVATE KEY", "RSA PRIVATE KEY"]).ok_or_else(wrong)?;
        let key = rsa::PrivateKey::from_pkcs8_der(&der).ok();
        let key = key.or_else(|| rsa::PrivateKey::from_pkcs1_der(&der).ok());
        key.map(PrivateKey).ok_or_else(wrong)
    }

    /// The signature of a text, in base64.
    pub fn sign(&self, text: &str) -> Result<String, Error> {
        let signature = self.0.pkcs1v15_sign::<Sha256>(text.as_bytes());
        signature.map(|bytes| STANDARD.encode(bytes)).map_err(|e| Error::Settings(format!("the private key: {e}")))
    }
}

/// The key that verifies what a provider says.
pub struct PublicKey(rsa::PublicKey);

impl PublicKey {
    /// The key in a setting: a public key in PEM, or bare base64.
    pub fn from_setting(context: &Context, name: &str) -> Result<Self, Error> {
        let pem = settings::required(context, name)?;
        let key = decode_pem(pem, &["PUBLIC KEY"]).and_then(|der| rsa::PublicKey::from_public_key_der(&der).ok());
        key.map(PublicKey).ok_or_else(|| settings::wrong(name, "is not an RSA public key in PEM"))
    }

    /// The key of a certificate in a setting, and the certificate's serial number in upper-case hexadecimal digits.
    ///
    /// The certificate is trusted because it is in the settings; nobody's signature on it is verified.
    pub fn from_certificate(context: &Context, name: &str) -> Result<(Self, String), Error> {
        let pem = settings::required(context, name)?;
        let read = || {
            let certificate = Certificate::from_der(&decode_pem(pem, &["CERTIFICATE"])?).ok()?;
            let certificate = certificate.tbs_certificate();
            let key = certificate.subject_public_key_info().to_der().ok()?;
            let key = rsa::PublicKey::from_public_key_der(&key).ok()?;
            let serial: String =
                certificate.serial_number().as_bytes().iter().map(|byte| format!("{byte:02X}")).collect();
            // DER puts a zero in front where the first bit is set; nobody writes it.
            let serial = serial.strip_prefix("00").filter(|rest| !rest.is_empty()).unwrap_or(&serial).to_owned();
            Some((PublicKey(key), serial))
        };
        read().ok_or_else(|| settings::wrong(name, "is not a certificate with an RSA key in PEM"))
    }

    /// Whether it is the signature of an answer or notification, as Alipay and WeChat Pay sign them.
    pub fn verify_message(&self, timestamp: &str, nonce: &str, body: &[u8], signature: &str) -> bool {
        if body.len() > MAX_BODY {
            return false;
        }
        let mut signed = format!("{timestamp}\n{nonce}\n").into_bytes();
        signed.extend_from_slice(body);
        signed.push(b'\n');
        self.verify(&signed, signature)
    }

    /// Whether it is the signature of these bytes, in base64.
    pub fn verify(&self, signed: &[u8], signature: &str) -> bool {
        let decoded = (signature.len() <= MAX_SIGNATURE_LENGTH).then(|| STANDARD.decode(signature).ok()).flatten();
        decoded.is_some_and(|signature| self.0.pkcs1v15_verify::<Sha256>(signed, &signature).is_ok())
    }
}

/// The bytes in PEM with one of these labels, or in bare base64. Lines may have any length.
fn decode_pem(pem: &str, labels: &[&str]) -> Option<Vec<u8>> {
    if pem.len() > MAX_KEY_LENGTH {
        return None;
    }
    // In variables of the environment a line's end is often written out.
    let pem = pem.replace("\\n", "\n");
    let between = |label: &&str| {
        let (_, rest) = pem.split_once(&format!("-----BEGIN {label}-----"))?;
        Some(rest.split_once(&format!("-----END {label}-----"))?.0)
    };
    let base64 = labels.iter().find_map(between).or_else(|| (!pem.contains('-')).then_some(pem.as_str()))?;
    let base64: String = base64.chars().filter(|c| !c.is_whitespace()).collect();
    STANDARD.decode(base64).ok()
}
