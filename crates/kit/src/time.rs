//! Points in time, as the API writes them and as the database keeps them.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

/// Milliseconds since 1970 in UTC. JSON has it as RFC 3339 with milliseconds, MySQL as BIGINT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

const RFC3339_MILLIS: &[BorrowedFormatItem] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

impl Timestamp {
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    pub fn plus_seconds(self, seconds: i64) -> Self {
        Timestamp(self.0.saturating_add(seconds.saturating_mul(1000)))
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nanos = i128::from(self.0).saturating_mul(1_000_000);
        let text = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok().and_then(|t| t.format(RFC3339_MILLIS).ok());
        f.write_str(&text.ok_or(std::fmt::Error)?)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = OffsetDateTime::parse(&text, &time::format_description::well_known::Rfc3339)
            .map_err(|_| de::Error::custom("must be a time in RFC 3339, such as 2026-11-21T04:36:00.123Z"))?;
        i64::try_from(time.unix_timestamp_nanos() / 1_000_000).map(Timestamp).map_err(de::Error::custom)
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::DateTime)))
            .examples([serde_json::json!("2026-11-21T04:36:00.123Z")])
            .into()
    }
}

impl utoipa::ToSchema for Timestamp {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_in_utc_with_milliseconds_and_read_back() {
        let json = serde_json::to_string(&Timestamp(1_795_235_760_123)).unwrap();
        assert_eq!(json, r#""2026-11-21T04:36:00.123Z""#);
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), Timestamp(1_795_235_760_123));
        let other_zone = r#""2026-11-21T12:36:00.123+08:00""#;
        assert_eq!(serde_json::from_str::<Timestamp>(other_zone).unwrap(), Timestamp(1_795_235_760_123));
        assert!(serde_json::from_str::<Timestamp>(r#""yesterday""#).is_err());
    }
}
