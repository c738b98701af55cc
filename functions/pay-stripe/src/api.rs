//! Requests to Stripe, and its answers.

use payment_protocol::{
    answer, request, settings,
    wit::{Context, Error, Request, Response},
};
use serde::{Deserialize, de::DeserializeOwned};

/// The version whose requests and answers this code knows.
const VERSION: &str = "2025-03-31.basil";

pub fn get(context: &Context, path: &str) -> Result<Request, Error> {
    let request = request::json("GET", url(context, path)?, String::new(), authorization(context)?);
    Ok(with_version(request))
}

/// Stripe answers requests with the same key in the same way for 24 hours, errors too.
pub fn post(
    context: &Context,
    path: &str,
    fields: &[(&str, &str)],
    idempotency_key: Option<&str>,
) -> Result<Request, Error> {
    let mut request = with_version(request::form(url(context, path)?, fields, authorization(context)?));
    request.headers.extend(idempotency_key.map(|key| request::header("Idempotency-Key", key.to_owned())));
    Ok(request)
}

fn url(context: &Context, path: &str) -> Result<String, Error> {
    Ok(format!("{}{path}", settings::base_url(context, "stripe_url")?))
}

fn authorization(context: &Context) -> Result<String, Error> {
    Ok(format!("Bearer {}", settings::required(context, "stripe_key")?))
}

fn with_version(mut request: Request) -> Request {
    request.headers.push(request::header("Stripe-Version", VERSION.to_owned()));
    request
}

/// The JSON of a success; the error for anything else.
pub fn read<T: DeserializeOwned>(got: &Response) -> Result<T, Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Refusal {
        error: Reason,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Reason {
        r#type: String,
        code: Option<String>,
        message: Option<String>,
    }
    if answer::is_success(got) {
        return answer::read(got);
    }
    let Refusal { error } = answer::parse(&got.body).unwrap_or_default();
    let code = error.code.unwrap_or(error.r#type);
    Err(answer::refusal(got, "stripe_key", &code, &error.message.unwrap_or_default()))
}

/// An object, or its id alone.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Expandable<T> {
    Id(String),
    Object(T),
}
