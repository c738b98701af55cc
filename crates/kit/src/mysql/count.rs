//! Counting rows without reading them all.

/// A bounded count stops here, so that it takes a few milliseconds however many rows there are.
pub const MAX_COUNT: i64 = 5_000;

/// An expression that counts rows up to [`MAX_COUNT`]. `rows` is a table with a condition, for which there should be an
/// index.
pub fn bounded_count(rows: &str) -> String {
    format!("(SELECT COUNT(*) FROM (SELECT 1 FROM {rows} LIMIT {MAX_COUNT}) counted)")
}
