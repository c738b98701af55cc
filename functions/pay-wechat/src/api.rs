//! The v3 API: signed requests, signed answers.

use payment_protocol::{
    answer,
    key::{PrivateKey, PublicKey},
    request, settings,
    wit::{Context, Error, Header, Response, Step},
};
use serde::{Deserialize, de::DeserializeOwned};

/// How far WeChat's clock and ours may be apart.
const TOLERANCE_SECONDS: i64 = 300;

/// A refusal that the caller may know what to do about.
#[derive(Deserialize)]
pub struct Refusal {
    pub code: String,
    #[serde(default)]
    message: String,
    #[serde(skip)]
    status: u16,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let Refusal { code, message, status } = refusal;
        if ["SYSTEM_ERROR", "SYSTEMERROR", "BANKERROR"].contains(&code.as_str()) {
            return answer::failure(&code, &message);
        }
        let got = Response { status, headers: Vec::new(), body: Vec::new() };
        answer::refusal(&got, "wechat_private_key", &code, &message)
    }
}

/// A signed request to a path.
pub fn call(context: &Context, method: &str, path: &str, body: String) -> Result<Step, Error> {
    let url = format!("{}{path}", settings::base_url(context, "wechat_url")?);
    let seconds = context.now.div_euclid(1_000);
    let signed = to_sign(method, request::path_and_query(&url), seconds, &context.nonce, &body);
    let signature = PrivateKey::from_setting(context, "wechat_private_key")?.sign(&signed)?;
    let authorization = format!(
        "WECHATPAY2-SHA256-RSA2048 mchid=\"{}\",nonce_str=\"{}\",timestamp=\"{seconds}\",serial_no=\"{}\",signature=\"{signature}\"",
        settings::required(context, "wechat_mchid")?,
        context.nonce,
        settings::required(context, "wechat_serial")?,
    );
    let mut request = request::json(method, url, body, authorization);
    // Asks for an answer that is signed with this key.
    if let Some(id) = settings::optional(context, "wechat_public_key_id") {
        request.headers.push(request::header("Wechatpay-Serial", id.to_owned()));
    }
    Ok(Step::Send(request))
}

pub(crate) fn to_sign(method: &str, path: &str, seconds: i64, nonce: &str, body: &str) -> String {
    format!("{method}\n{path}\n{seconds}\n{nonce}\n{body}\n")
}

/// What was answered: the body of a success, or a refusal. Refusals need not be signed.
pub fn read<'a>(context: &Context, got: &'a Response) -> Result<Result<Answer<'a>, Refusal>, Error> {
    if (400..500).contains(&got.status) {
        let refusal: Refusal = answer::read(got)?;
        return Ok(Err(Refusal { status: got.status, ..refusal }));
    }
    if !answer::is_success(got) {
        return Err(answer::refusal(got, "wechat_private_key", "", ""));
    }
    verify(context, &got.headers, &got.body)?;
    Ok(Ok(Answer(got)))
}

/// Verifies the signature of an answer or notification.
pub fn verify(context: &Context, headers: &[Header], body: &[u8]) -> Result<(), Error> {
    let forged = |what: &str| Error::Forged(format!("the signature: {what}"));
    let header = |name: &str| request::header_value(headers, name).ok_or_else(|| forged(&format!("no {name}")));
    let timestamp = header("Wechatpay-Timestamp")?;
    let seconds: i64 = timestamp.parse().map_err(|_| forged("the timestamp is no number"))?;
    if seconds.abs_diff(context.now.div_euclid(1_000)) > TOLERANCE_SECONDS.unsigned_abs() {
        return Err(forged("more than five minutes off"));
    }
    let key = key(context, header("Wechatpay-Serial")?)?;
    // WeChat sends some with `WECHATPAY/SIGNTEST/…`, to see whether they are refused: no key has made that.
    if key.verify_message(timestamp, header("Wechatpay-Nonce")?, body, header("Wechatpay-Signature")?) {
        Ok(())
    } else {
        Err(forged("it is not WeChat's"))
    }
}

/// The key with this serial number: WeChat's public key or, for old merchants, its certificate. Both may be set while a
/// merchant changes from one to the other.
fn key(context: &Context, serial: &str) -> Result<PublicKey, Error> {
    let id = settings::optional(context, "wechat_public_key_id");
    if id == Some(serial) {
        return PublicKey::from_setting(context, "wechat_public_key");
    }
    if settings::optional(context, "wechat_platform_certificate").is_some() {
        let (key, number) = PublicKey::from_certificate(context, "wechat_platform_certificate")?;
        if number.eq_ignore_ascii_case(serial) {
            return Ok(key);
        }
    } else if id.is_none() {
        return Err(settings::wrong("wechat_public_key_id", "is missing, and so is wechat_platform_certificate"));
    }
    Err(Error::Forged("the signature: an unknown Wechatpay-Serial".to_owned()))
}

/// An answer whose signature is WeChat's.
pub struct Answer<'a>(&'a Response);

impl Answer<'_> {
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        answer::read(self.0)
    }
}
