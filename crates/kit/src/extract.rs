//! Extractors that reject with a [`Problem`].

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{FromRequest, FromRequestParts, Request},
};
use http::{HeaderMap, header, request::Parts};
use http_body_util::BodyExt;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::{Code, Context, FieldError, Problem, Result};

/// The largest request body, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// How much of an oversized body is read and discarded, in bytes.
const MAX_DISCARDED: usize = 1024 * 1024;

/// A JSON body.
pub struct Json<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let (parts, body) = request.into_parts();
        expect_json(&parts.headers)?;
        parse(&read(body).await?).map(Json)
    }
}

/// A JSON body that may be omitted, which gives the default value.
pub struct OptionalJson<T>(pub T);

impl<S: Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let bytes = read(body).await?;
        parse_optional(&parts.headers, &bytes).map(OptionalJson)
    }
}

/// Parses a body. One that is empty and has no `Content-Type` gives the default value.
pub(crate) fn parse_optional<T: DeserializeOwned + Default>(headers: &HeaderMap, bytes: &[u8]) -> Result<T> {
    if bytes.is_empty() && !headers.contains_key(header::CONTENT_TYPE) {
        return Ok(T::default());
    }
    expect_json(headers)?;
    parse(bytes)
}

/// 415 unless the `Content-Type` is `application/json` or `application/…+json`.
pub(crate) fn expect_json(headers: &HeaderMap) -> Result<()> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if is_json { Ok(()) } else { Err(Problem::new(Code::UnsupportedMediaType, "Send the body as application/json")) }
}

/// Reads the whole body; 413 above [`MAX_BODY`]. The rest of a larger body is read and discarded, up to a limit: a
/// client that is still sending when its connection is closed may never see the reply. 408 for a body that comes late.
pub(crate) async fn read(body: Body) -> Result<Bytes> {
    let Some(context) = Context::current() else { return read_all(body).await };
    context.set_reading_body(true);
    let bytes = read_all(body).await?;
    context.set_reading_body(false);
    context.check_time().map_err(|_| Problem::request_timeout())?;
    Ok(bytes)
}

async fn read_all(mut body: Body) -> Result<Bytes> {
    let (mut bytes, mut length) = (Vec::new(), 0_usize);
    // If the length is known, the end of the stream is not awaited: that would take two more calls of the host.
    let announced = body.size_hint().upper().and_then(|upper| usize::try_from(upper).ok());
    while announced != Some(length)
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|_| incomplete())?;
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length > MAX_DISCARDED {
            break;
        }
        if length <= MAX_BODY {
            bytes.extend_from_slice(&data);
        }
    }
    if length > MAX_BODY {
        return Err(Problem::new(Code::BodyTooLarge, format!("The body must not exceed {MAX_BODY} bytes")));
    }
    if announced.is_some_and(|announced| length < announced) {
        return Err(incomplete());
    }
    Ok(bytes.into())
}

fn incomplete() -> Problem {
    Problem::new(Code::MalformedJson, "The body is incomplete")
}

/// 400 for malformed JSON; 422, naming the field, for JSON that doesn't fit `T`.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    // serde would also read a struct's fields from an array.
    if bytes.trim_ascii_start().starts_with(b"[") {
        well_formed(bytes)?;
        return Err(Problem::invalid("body", "must be an object"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        match cause.classify() {
            serde_json::error::Category::Data => match well_formed(bytes) {
                Ok(()) => Problem::invalid_fields(vec![data_error(&path, &cause.to_string())]),
                Err(problem) => problem,
            },
            _ => malformed(&cause),
        }
    })?;
    json.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// 400 unless the whole text is one JSON value.
fn well_formed(bytes: &[u8]) -> Result<()> {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).map(drop).map_err(|error| malformed(&error))
}

fn malformed(error: &serde_json::Error) -> Problem {
    let (line, column) = (error.line(), error.column());
    Problem::new(Code::MalformedJson, format!("The body is not valid JSON at line {line}, column {column}"))
}

/// Names the field, even where serde does so only in its message: ``missing field `x` ``, ``unknown field `x` ``.
fn data_error(path: &str, message: &str) -> FieldError {
    let message = message.rsplit_once(" at line ").map_or(message, |(message, _)| message);
    let named = |prefix: &str| message.strip_prefix(prefix).and_then(|rest| rest.split('`').next());
    let path = if path == "." { "" } else { path };
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    if let Some(name) = named("missing field `") {
        FieldError { field: below(name), message: "is missing".to_owned() }
    } else if let Some(name) = named("unknown field `") {
        let seen = path == name || path.ends_with(&format!(".{name}"));
        let field = if seen { path.to_owned() } else { below(name) };
        FieldError { field, message: "is not a field of this request".to_owned() }
    } else {
        let field = if path.is_empty() { "body".to_owned() } else { path.to_owned() };
        FieldError { field, message: message.to_owned() }
    }
}

/// For `#[serde(deserialize_with)]`: distinguishes null, `Some(None)`, from a missing field, `None`.
pub fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The query parameters; 422 if they are not valid.
pub struct Query<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        serde_path_to_error::deserialize(pairs).map(Query).map_err(|error| {
            let path = error.path().to_string();
            Problem::invalid_fields(vec![data_error(&path, &error.into_inner().to_string())])
        })
    }
}

/// The path's parameters; 404 if one is malformed, since nothing can exist at such a path.
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Path(value)),
            Err(_) => Err(Problem::new(Code::NotFound, "There is nothing at this path")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Order {
        items: Vec<Item>,
        note: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Item {
        quantity: u32,
    }

    fn refused(body: &str) -> (Code, String) {
        let problem = parse::<Order>(body.as_bytes()).unwrap_err();
        (problem.code, problem.errors.first().map(|e| e.field.clone()).unwrap_or_default())
    }

    #[test]
    fn names_the_field_that_is_wrong() {
        let invalid = |field: &str| (Code::Invalid, field.to_owned());
        assert_eq!(refused(r#"{}"#), invalid("items"));
        assert_eq!(refused(r#"{"items":[{}]}"#), invalid("items[0].quantity"));
        assert_eq!(refused(r#"{"items":[{"quantity":-1}]}"#), invalid("items[0].quantity"));
        assert_eq!(refused(r#"{"items":[{"quantity":1,"x":1}]}"#), invalid("items[0].x"));
        assert_eq!(refused(r#"{"items":[],"y":1}"#), invalid("y"));
        assert_eq!(refused(r#"[[]]"#), invalid("body"));
        assert_eq!(refused(r#""text""#), invalid("body"));
    }

    #[test]
    fn distinguishes_malformed_json_from_invalid_fields() {
        for body in ["", "{", "{]", "nope", r#"{"items":[]} more"#, "\u{feff}{}", r#"{"a":}"#, r#"{"a":1,}"#] {
            assert_eq!(refused(body).0, Code::MalformedJson, "{body:?}");
        }
        let deep = "[".repeat(10_000);
        assert_eq!(refused(&format!(r#"{{"note":{deep}"#)).0, Code::MalformedJson);
    }

    #[test]
    fn recognises_the_content_types_of_json() {
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            expect_json(&headers).is_ok()
        };
        assert!(with("application/json"));
        assert!(with("Application/JSON; charset=utf-8"));
        assert!(with("application/merge-patch+json"));
        assert!(!with("text/json"));
        assert!(!with("application/jsonp"));
        assert!(expect_json(&HeaderMap::new()).is_err());
    }
}
