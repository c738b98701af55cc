use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Reply, rules};

/// The headers that are part of a snapshot.
const HEADERS: [&str; 7] =
    ["cache-control", "content-type", "etag", "idempotency-replayed", "location", "retry-after", "www-authenticate"];

/// Replies in the order in which they came, to be compared as a whole.
#[derive(Default)]
pub struct Story {
    replies: Vec<Reply>,
}

impl Story {
    /// Records a reply that must have this status; its body.
    #[track_caller]
    pub fn add(&mut self, reply: Reply, status: u16) -> Value {
        let body = reply.is(status);
        self.replies.push(reply);
        body
    }

    /// Everything that was recorded, with what differs from run to run redacted.
    pub fn redacted(&self) -> Value {
        let mut redaction = Redaction::default();
        for reply in &self.replies {
            redaction.collect(&reply.json());
        }
        self.replies.iter().map(|reply| redaction.reply(reply)).collect()
    }
}

/// Replaces what differs from run to run by its kind: `[time]`, and `[order_no 1]` wherever the first order's number
/// stands, so that a snapshot also shows which values are equal.
#[derive(Default)]
struct Redaction {
    /// By kind: the values, in the order in which they came.
    known: BTreeMap<String, Vec<String>>,
}

impl Redaction {
    fn collect(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.collect(item)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    if let Some(text) = varying(name, value) {
                        let values = self.known.entry(name.clone()).or_default();
                        if !values.contains(&text) {
                            values.push(text);
                        }
                    }
                    self.collect(value);
                }
            }
            _ => {}
        }
    }

    fn reply(&self, reply: &Reply) -> Value {
        let (method, url) = reply.asked.split_once(' ').unwrap_or_default();
        let path = url.splitn(4, '/').nth(3).unwrap_or_default();
        let headers: Map<String, Value> = HEADERS
            .iter()
            .filter_map(|name| {
                let value = if *name == "etag" { "[etag]".to_owned() } else { self.text(reply.header(name)?) };
                Some(((*name).to_owned(), reply.header(name).map(|_| value)?.into()))
            })
            .collect();
        json!({
            "request": self.text(&format!("{method} /{path}")),
            "status": reply.status,
            "headers": headers,
            "body": self.value("", &reply.json()),
        })
    }

    fn value(&self, name: &str, value: &Value) -> Value {
        if let Some(text) = varying(name, value) {
            return self.placeholder(name, &text).into();
        }
        match value {
            Value::Array(items) => items.iter().map(|item| self.value("", item)).collect(),
            Value::Object(fields) => {
                fields.iter().map(|(name, value)| (name.clone(), self.value(name, value))).collect()
            }
            time if rules::is_time(time) => "[time]".into(),
            Value::String(text) => self.text(text).into(),
            other => other.clone(),
        }
    }

    fn placeholder(&self, kind: &str, value: &str) -> String {
        let values = self.known.get(kind).map(Vec::as_slice).unwrap_or_default();
        match values.iter().position(|known| known == value) {
            Some(index) => format!("[{kind} {}]", index + 1),
            None => format!("[{kind}]"),
        }
    }

    /// Text that may name something that varies. Numbers are replaced where they are a segment of a path: elsewhere they
    /// may be anything.
    fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (kind, values) in &self.known {
            for value in values {
                let placeholder = self.placeholder(kind, value);
                if !value.bytes().all(|byte| byte.is_ascii_digit()) {
                    text = text.replace(value.as_str(), &placeholder);
                } else if text.contains('/') {
                    let segments = text.split('/').map(|part| if part == value { placeholder.as_str() } else { part });
                    text = segments.collect::<Vec<_>>().join("/");
                }
            }
        }
        text
    }
}

/// The text of a value that is made anew in each run, as its field's name tells.
fn varying(name: &str, value: &Value) -> Option<String> {
    let is_random = name.ends_with("_id")
        || matches!(
            name,
            "order_no" | "payment_no" | "refund_no" | "username" | "access_token" | "refresh_token" | "next_cursor"
        );
    match value {
        Value::Number(number) if is_random => Some(number.to_string()),
        Value::String(text) if is_random => Some(text.clone()),
        _ => None,
    }
}
