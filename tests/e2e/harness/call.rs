use std::future::{Future, IntoFuture};
use std::pin::Pin;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method};
use serde_json::Value;

use super::rules;

/// A request that is sent when awaited. Its reply is checked against the rules that hold for every reply.
#[derive(Clone)]
pub struct Call {
    http: Client,
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Option<Bytes>,
    unchecked: bool,
}

impl Call {
    pub fn new(http: Client, method: Method, url: String) -> Self {
        Self { http, method, url, headers: HeaderMap::new(), body: None, unchecked: false }
    }

    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let value = HeaderValue::from_bytes(value.as_ref()).expect("a valid header value");
        self.header_value(name, value)
    }

    fn header_value(mut self, name: &str, value: HeaderValue) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        self.headers.append(name, value);
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// Sets `Idempotency-Key`.
    pub fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub fn json(self, body: impl Into<Value>) -> Self {
        self.text("application/json", body.into().to_string())
    }

    pub fn text(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self.header("content-type", content_type)
    }

    /// A body without a content type.
    pub fn untyped(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Skips the checks that hold for every reply.
    pub fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// The reply, or the error if there is none: for shops that are being killed.
    pub async fn try_send(self) -> Result<Reply, reqwest::Error> {
        let request_line = format!("{} {}", self.method, self.url);
        let mut request = self.http.request(self.method.clone(), &self.url).headers(self.headers);
        if let Some(body) = self.body {
            request = request.body(body);
        }
        let response = request.send().await?;
        let reply = Reply {
            request: request_line,
            head: self.method == Method::HEAD,
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await?,
        };
        if !self.unchecked {
            rules::check(&reply);
        }
        Ok(reply)
    }
}

impl IntoFuture for Call {
    type Output = Reply;
    type IntoFuture = Pin<Box<dyn Future<Output = Reply> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let request_line = format!("{} {}", self.method, self.url);
        Box::pin(async move {
            match self.try_send().await {
                Ok(reply) => reply,
                Err(error) => panic!("{request_line}: no reply: {error:?}"),
            }
        })
    }
}

#[derive(Clone)]
pub struct Reply {
    /// Method and URL.
    pub request: String,
    pub head: bool,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body; `null` if there is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("not JSON ({error}): {self}"),
        }
    }

    /// The body of a reply that must have this status.
    #[track_caller]
    pub fn is(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self}");
        self.json()
    }

    /// The problem document of a reply that must have this status and code.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        let problem = self.is(status);
        assert_eq!(problem["code"], code, "{self}");
        problem
    }

    /// The problem document of a reply that must be 422 `invalid` and name this field.
    #[track_caller]
    pub fn invalid(&self, field: &str) -> Value {
        let problem = self.problem(422, "invalid");
        let named =
            problem["errors"].as_array().is_some_and(|errors| errors.iter().any(|error| error["field"] == field));
        assert!(named, "the errors should name `{field}`: {self}");
        problem
    }

    /// The code of an error; empty for success.
    pub fn code(&self) -> String {
        if self.status < 400 {
            return String::new();
        }
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn replayed(&self) -> bool {
        self.header("idempotency-replayed") == Some("true")
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} -> {}", self.request, self.status)?;
        for (name, value) in &self.headers {
            write!(f, "\n  {name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        let body = String::from_utf8_lossy(&self.body);
        write!(f, "\n  {}", body.chars().take(1500).collect::<String>())
    }
}
