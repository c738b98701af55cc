//! The categories that a product is in: its own and all above it.

use kit::mysql::{Column, DbValue};
use serde::{Deserialize, Serialize};

/// A product's category and all above it, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CategoryPath(pub Vec<u64>);

impl Column for CategoryPath {
    fn from_value(value: DbValue) -> Result<Self, String> {
        let ids = Option::<String>::from_value(value)?.unwrap_or_default();
        let ids =
            ids.split(',').filter(|id| !id.is_empty()).map(|id| id.parse().map_err(|_| "is not an id".to_owned()));
        ids.collect::<Result<_, _>>().map(CategoryPath)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_list_of_ids() {
        let read = |value| CategoryPath::from_value(value).map(|path| path.0);
        assert_eq!(read(DbValue::Str("3,2,1".to_owned())), Ok(vec![3, 2, 1]));
        assert_eq!(read(DbValue::Binary(b"7".to_vec())), Ok(vec![7]));
        assert_eq!(read(DbValue::DbNull), Ok(vec![]));
        assert_eq!(read(DbValue::Str(String::new())), Ok(vec![]));
        assert!(read(DbValue::Str("3,x".to_owned())).is_err());
    }
}
