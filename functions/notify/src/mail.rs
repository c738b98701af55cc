//! E-mail through an HTTP API: `POST {mail_url}/emails` as Resend defines it
//! (<https://resend.com/docs/api-reference/emails/send-email>); other services offer it, too.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use kit::{Problem, Result, config};
use serde::Serialize;
use spin_sdk::http::FullBody;

/// Services refuse requests without one.
const USER_AGENT: &str = concat!("wasmall/", env!("CARGO_PKG_VERSION"));

/// An e-mail service, and the shop's account there.
pub struct Service {
    url: String,
    key: String,
    from: String,
}

#[derive(Serialize)]
struct Email<'a> {
    from: &'a str,
    to: [&'a str; 1],
    subject: &'a str,
    text: &'a str,
}

impl Service {
    /// None without `mail_key`: messages are then stored, not sent.
    pub async fn configured() -> Result<Option<Self>> {
        let key = config::text("mail_key").await?;
        if key.is_empty() {
            return Ok(None);
        }
        let (url, from) = (config::secure_url("mail_url").await?, config::text("mail_from").await?);
        Ok(Some(Service { url: url.trim_end_matches('/').to_owned(), key, from }))
    }

    /// Sends an e-mail; the service ignores a second one with the same `idempotency_key`. 422 if the service refuses
    /// this e-mail for good, 503 if it fails otherwise.
    pub async fn send(&self, idempotency_key: &str, to: &str, subject: &str, text: &str) -> Result<()> {
        let email = Email { from: &self.from, to: [to], subject, text };
        let json = serde_json::to_vec(&email).map_err(|error| Problem::internal().because(error))?;
        let request = Request::post(format!("{}/emails", self.url))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONTENT_LENGTH, json.len())
            .header(header::USER_AGENT, USER_AGENT)
            .header("idempotency-key", idempotency_key)
            .body(FullBody::new(Bytes::from(json)))
            .map_err(|_| config::invalid("mail_url", "it or mail_key can't be used in a request"))?;
        let failed =
            |cause: &dyn std::fmt::Display| Problem::unavailable().because(format!("the e-mail service: {cause}"));
        let response = spin_sdk::http::send(request).await.map_err(|error| failed(&error))?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status @ (StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY) => {
                Err(Problem::invalid("email", format!("is refused by the e-mail service: {status}")))
            }
            status => Err(failed(&status)),
        }
    }
}
