use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Reply, rules};

/// The headers that a transcript shows.
const HEADERS: [&str; 7] =
    ["cache-control", "content-type", "etag", "idempotency-replayed", "location", "retry-after", "www-authenticate"];

/// Whole replies in their order, as text to be compared with a snapshot.
#[derive(Default)]
pub struct Transcript {
    replies: Vec<Reply>,
}

impl Transcript {
    /// Adds a reply, which must have this status, and returns its body.
    #[track_caller]
    pub fn add(&mut self, reply: Reply, status: u16) -> Value {
        let body = reply.is(status);
        self.replies.push(reply);
        body
    }

    /// The text, with everything redacted that differs from run to run.
    pub fn redacted(&self) -> String {
        let mut redaction = Redaction::default();
        for reply in &self.replies {
            redaction.collect(&reply.json());
        }
        self.replies.iter().map(|reply| redaction.reply(reply)).collect::<Vec<_>>().join("\n\n")
    }
}

/// Replaces what differs from run to run by its kind: a time by `[time]`, the first order number by `[order_no 1]`
/// wherever it appears. So a snapshot also shows which values are equal.
#[derive(Default)]
struct Redaction {
    /// The values of each kind, in the order in which they appeared.
    known: BTreeMap<String, Vec<String>>,
}

impl Redaction {
    fn collect(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.collect(item)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    if let Some(text) = random(name, value) {
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

    fn reply(&self, reply: &Reply) -> String {
        let (method, url) = reply.request.split_once(' ').unwrap_or_default();
        let path = url.splitn(4, '/').nth(3).unwrap_or_default();
        let mut text = format!("{method} {}\n{}", self.path(path), reply.status);
        for name in HEADERS {
            if let Some(value) = reply.header(name) {
                let value = if name == "etag" { "[etag]".to_owned() } else { self.text(value) };
                text.push_str(&format!("\n{name}: {value}"));
            }
        }
        match self.value("", &reply.json()) {
            Value::Null => text,
            body => format!("{text}\n\n{body:#}"),
        }
    }

    fn value(&self, name: &str, value: &Value) -> Value {
        if let Some(text) = random(name, value) {
            return self.placeholder(name, &text).into();
        }
        match value {
            Value::Array(items) => items.iter().map(|item| self.value("", item)).collect(),
            Value::Object(fields) => {
                // Sorted, whatever the features of `serde_json` are in this build.
                let fields: BTreeMap<_, _> =
                    fields.iter().map(|(name, value)| (name, self.value(name, value))).collect();
                Value::Object(fields.into_iter().map(|(name, value)| (name.clone(), value)).collect::<Map<_, _>>())
            }
            time if rules::is_time(time) => "[time]".into(),
            Value::String(text) => self.text(text).into(),
            other => other.clone(),
        }
    }

    /// `/api/product/7` becomes `/api/product/[product_id 1]`.
    fn path(&self, path: &str) -> String {
        let (mut text, mut collection) = (String::new(), "");
        for segment in path.split('/') {
            let is_id = !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
            text.push('/');
            text.push_str(&match is_id {
                true => self.placeholder(&format!("{collection}_id"), segment),
                false => self.text(segment),
            });
            collection = segment;
        }
        text
    }

    /// Text that may contain such a value. Numbers stay, because a number in a text may be anything.
    fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (kind, values) in &self.known {
            for value in values.iter().filter(|value| value.parse::<i64>().is_err()) {
                text = text.replace(value.as_str(), &self.placeholder(kind, value));
            }
        }
        text
    }

    fn placeholder(&self, kind: &str, value: &str) -> String {
        let position = self.known.get(kind).and_then(|values| values.iter().position(|known| known == value));
        position.map_or_else(|| format!("[{kind}]"), |index| format!("[{kind} {}]", index + 1))
    }
}

/// The value of a field whose name says that it is different in each run.
fn random(name: &str, value: &Value) -> Option<String> {
    const RANDOM: [&str; 7] =
        ["order_no", "payment_no", "refund_no", "username", "access_token", "refresh_token", "next_cursor"];
    match value {
        _ if !name.ends_with("_id") && !RANDOM.contains(&name) => None,
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}
