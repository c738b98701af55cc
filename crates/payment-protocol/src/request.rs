//! Requests to providers, and what they have in common with notifications.

use crate::wit::{Error, Header, Request};

/// Some services refuse requests without one.
const USER_AGENT: &str = "wasmall/0.1";

/// A request with a JSON body, or without one if it is empty.
pub fn json(method: &str, url: String, body: String, authorization: String) -> Request {
    with_body(method, url, "application/json", body, authorization)
}

/// A request with a form as its body.
pub fn form(url: String, fields: &[(&str, &str)], authorization: String) -> Request {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    with_body("POST", url, "application/x-www-form-urlencoded", body, authorization)
}

fn with_body(method: &str, url: String, content_type: &str, body: String, authorization: String) -> Request {
    let mut headers = vec![
        header("Authorization", authorization),
        header("Accept", "application/json".to_owned()),
        header("User-Agent", USER_AGENT.to_owned()),
    ];
    if !body.is_empty() {
        headers.push(header("Content-Type", content_type.to_owned()));
    }
    Request { method: method.to_owned(), url, headers, body: body.into_bytes() }
}

/// One header.
pub fn header(name: &str, value: String) -> Header {
    Header { name: name.to_owned(), value }
}

/// The value of a header; none if it is missing or comes more than once.
pub fn header_value<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    let mut found = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
    let value = found.next()?;
    found.next().is_none().then_some(value.value.as_str())
}

/// The path and query of a URL, which is what providers sign.
pub fn path_and_query(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
}

/// A number that may be put into a path as it is. Ours are ULIDs, and providers' are no wilder; what is, comes from someone
/// who would like to reach another path.
pub fn path_segment(number: &str) -> Result<&str, Error> {
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
    if (1..=255).contains(&number.len()) && number.bytes().all(is_plain) {
        Ok(number)
    } else {
        Err(Error::Rejected("a number has characters that no number has".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_the_path_with_its_query() {
        for (url, expected) in [
            ("https://api.mch.weixin.qq.com/v3/pay?mchid=1", "/v3/pay?mchid=1"),
            ("http://127.0.0.1:9/prefix/v3", "/prefix/v3"),
            ("https://host", "/"),
            ("", "/"),
        ] {
            assert_eq!(path_and_query(url), expected, "{url}");
        }
    }

    #[test]
    fn a_header_that_comes_twice_counts_as_missing() {
        let headers = [header("A", "1".to_owned()), header("B", "2".to_owned()), header("b", "3".to_owned())];
        assert_eq!(header_value(&headers, "a"), Some("1"));
        assert_eq!(header_value(&headers, "B"), None);
        assert_eq!(header_value(&headers, "C"), None);
    }

    #[test]
    fn a_number_can_not_leave_its_place_in_the_path() {
        assert!(path_segment("cs_test_a1B2").is_ok());
        for number in ["", "a/b", "..", "a?b", "a b", "é", &"a".repeat(256)] {
            assert!(path_segment(number).is_err(), "{number}");
        }
    }
}
