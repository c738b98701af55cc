//! The v3 API: signed requests, signed answers.

use payment_protocol::{
    answer,
    key::{PrivateKey, PublicKey},
    request, settings,
    wit::{Context, Error, Response, Step},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    Precreate,
    Query,
    Close,
    Refund,
    QueryRefund,
}

const PATHS: [(Method, &str); 5] = [
    (Method::Precreate, "/v3/alipay/trade/precreate"),
    (Method::Query, "/v3/alipay/trade/query"),
    (Method::Close, "/v3/alipay/trade/close"),
    (Method::Refund, "/v3/alipay/trade/refund"),
    (Method::QueryRefund, "/v3/alipay/trade/fastpay/refund/query"),
];

impl Method {
    /// The method that this URL calls.
    pub fn of(url: &str) -> Result<Self, Error> {
        let found = PATHS.iter().find(|(_, path)| url.ends_with(path));
        found.map(|(method, _)| *method).ok_or_else(|| Error::Unknown("an answer to something else".to_owned()))
    }

    fn path(self) -> &'static str {
        PATHS.iter().find(|(method, _)| *method == self).map_or("", |(_, path)| path)
    }
}

/// A refusal that the caller may know what to do about.
#[derive(Deserialize)]
pub struct Refusal {
    pub code: String,
    #[serde(default)]
    pub message: String,
    #[serde(skip)]
    status: u16,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let Refusal { code, message, status } = refusal;
        // "Something went wrong at Alipay" may come with any status.
        if code.contains("SYSTEM_ERROR") || code.starts_with("isp.") {
            return answer::failure(&code, &message);
        }
        let got = Response { status, headers: Vec::new(), body: Vec::new() };
        answer::refusal(&got, "alipay_private_key", &code, &message)
    }
}

/// Calls a method.
pub fn call(context: &Context, method: Method, content: &impl Serialize) -> Result<Step, Error> {
    let url = format!("{}{}", settings::base_url(context, "alipay_url")?, method.path());
    let body = serde_json::to_string(content).map_err(|e| Error::Rejected(e.to_string()))?;
    let app_id = settings::required(context, "alipay_app_id")?;
    let claims = format!("app_id={app_id},timestamp={},nonce={}", context.now, context.nonce);
    let signed = to_sign(&claims, "POST", request::path_and_query(&url), &body);
    let signature = PrivateKey::from_setting(context, "alipay_private_key")?.sign(&signed)?;
    let authorization = format!("ALIPAY-SHA256withRSA {claims},sign={signature}");
    Ok(Step::Send(request::json("POST", url, body, authorization)))
}

pub(crate) fn to_sign(claims: &str, method: &str, path: &str, body: &str) -> String {
    format!("{claims}\n{method}\n{path}\n{body}\n")
}

/// What was answered: the body of a success, or a refusal. Refusals are not signed.
pub fn read<'a>(context: &Context, got: &'a Response) -> Result<Result<Answer<'a>, Refusal>, Error> {
    if (400..500).contains(&got.status) {
        let refusal: Refusal = answer::read(got)?;
        return Ok(Err(Refusal { status: got.status, ..refusal }));
    }
    if !answer::is_success(got) {
        return Err(answer::refusal(got, "alipay_private_key", "", ""));
    }
    let header = |name| request::header_value(&got.headers, name).unwrap_or_default();
    let (timestamp, nonce, signature) =
        (header("alipay-timestamp"), header("alipay-nonce"), header("alipay-signature"));
    let key = PublicKey::from_setting(context, "alipay_public_key")?;
    if !key.verify_message(timestamp, nonce, &got.body, signature) {
        return Err(Error::Forged("the signature of Alipay's answer".to_owned()));
    }
    Ok(Ok(Answer(got)))
}

/// An answer whose signature is Alipay's.
pub struct Answer<'a>(&'a Response);

impl Answer<'_> {
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        answer::read(self.0)
    }
}
