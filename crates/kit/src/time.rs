//! Timestamps in the API and in the database.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Milliseconds since 1970 in UTC: RFC 3339 with milliseconds in JSON, BIGINT in MySQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    pub fn plus_seconds(self, seconds: i64) -> Self {
        Timestamp(self.0.saturating_add(seconds.saturating_mul(1000)))
    }
}

impl std::fmt::Display for Timestamp {
    /// Times before 1970 or after 9999 are clamped to that range.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const END_OF_9999: u64 = 253_402_300_799_999;
        let millis = u64::try_from(self.0).unwrap_or_default().min(END_OF_9999);
        humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(millis)).fmt(f)
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
        let time = humantime::parse_rfc3339(&text)
            .map_err(|_| de::Error::custom("must be a time in UTC, such as 2026-11-21T04:36:00.123Z"))?;
        let since = time.duration_since(UNIX_EPOCH).map_err(|_| de::Error::custom("must not be before 1970"))?;
        i64::try_from(since.as_millis()).map(Timestamp).map_err(de::Error::custom)
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
    fn is_rfc_3339_with_milliseconds_in_json() {
        let json = serde_json::to_string(&Timestamp(1_795_235_760_123)).unwrap();
        assert_eq!(json, r#""2026-11-21T04:36:00.123Z""#);
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), Timestamp(1_795_235_760_123));
        for bad in [r#""yesterday""#, r#""1969-12-31T23:59:59Z""#, "5"] {
            assert!(serde_json::from_str::<Timestamp>(bad).is_err(), "{bad}");
        }
        for strange in [i64::MIN, i64::MAX] {
            assert_eq!(Timestamp(strange).to_string().len(), 24);
        }
    }
}
