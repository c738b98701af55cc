//! Converts Redis' replies and errors to the form in which Spin passes them to functions.

use redis::{FromRedisValue, RedisError, ServerErrorKind, Value};

use crate::bindings::spin::redis::redis::{Error, RedisResult};

/// Functions recognise errors by these texts. They differ between versions of the client library; these are Spin's.
pub fn error(error: RedisError) -> Error {
    let detail = |text: &str| error.detail().map(|d| format!("{text}: {d}")).unwrap_or_else(|| text.into());
    let redis::ErrorKind::Server(kind) = error.kind() else {
        return match error.code() {
            // A code that the client library doesn't know, such as one that a script returned.
            Some(code) => Error::Other(detail(code)),
            None => Error::Other(error.to_string()),
        };
    };
    let name = match kind {
        ServerErrorKind::ResponseError => "ResponseError",
        ServerErrorKind::ExecAbort => "ExecAbortError",
        ServerErrorKind::BusyLoading => "BusyLoadingError",
        ServerErrorKind::NoScript => "NoScriptError",
        ServerErrorKind::NoPerm => return Error::Other(detail("NOPERM")),
        kind => return Error::Other(detail(&format!("An error was signalled by the server - {kind:?}"))),
    };
    Error::Other(detail(&format!("An error was signalled by the server - {name}")))
}

pub fn to<T: FromRedisValue>(value: Value) -> Result<T, Error> {
    T::from_redis_value(value).map_err(|e| Error::Other(e.to_string()))
}

/// Appends the values of a reply to one flat list.
pub fn flatten(value: Value, into: &mut Vec<RedisResult>) -> Result<(), Error> {
    let unsupported = |what: &str| {
        let reason = format!("Could not convert Redis response - TypeError: {what} is not supported");
        Err(Error::Other(reason))
    };
    into.push(match value {
        Value::Nil => RedisResult::Nil,
        Value::Int(number) => RedisResult::Int64(number),
        Value::Boolean(yes) => RedisResult::Int64(yes.into()),
        Value::BulkString(bytes) => RedisResult::Binary(bytes),
        Value::Double(number) => RedisResult::Binary(number.to_string().into_bytes()),
        Value::BigNumber(digits) => RedisResult::Binary(digits),
        Value::SimpleString(text) => RedisResult::Status(text),
        Value::Okay => RedisResult::Status("OK".into()),
        Value::Array(values) | Value::Set(values) => {
            into.reserve(values.len());
            return values.into_iter().try_for_each(|value| flatten(value, into));
        }
        Value::ServerError(e) => return Err(error(e.into())),
        Value::Map(_) => return unsupported("Redis Map type"),
        Value::VerbatimString { .. } => return unsupported("Redis string with format attribute"),
        Value::Push { .. } => return unsupported("Redis Pub/Sub types"),
        _ => return unsupported("Redis Attribute type"),
    });
    Ok(())
}
