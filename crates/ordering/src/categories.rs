//! The categories that a product lies in.

use kit::mysql::Column;
use serde::{Deserialize, Serialize};

/// A product's category and all above it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Categories(pub Vec<u64>);

/// Of a row of `products`, as a column. The tree has five levels at most.
pub(crate) const OF_PRODUCT: &str = "
    (SELECT CONCAT_WS(',', c1.id, c1.parent_id, c2.parent_id, c3.parent_id, c4.parent_id)
     FROM categories c1 LEFT JOIN categories c2 ON c2.id = c1.parent_id LEFT JOIN categories c3 ON c3.id = c2.parent_id
     LEFT JOIN categories c4 ON c4.id = c3.parent_id WHERE c1.id = products.category_id)";

impl Column for Categories {
    fn from_value(value: spin_sdk::mysql::DbValue) -> Result<Self, String> {
        let ids = Option::<String>::from_value(value)?.unwrap_or_default();
        let ids = ids.split(',').filter(|id| !id.is_empty()).map(|id| id.parse().map_err(|_| "is no id".to_owned()));
        ids.collect::<Result<_, _>>().map(Categories)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spin_sdk::mysql::DbValue;

    #[test]
    fn a_path_is_read() {
        let read = |value| Categories::from_value(value).map(|categories| categories.0);
        assert_eq!(read(DbValue::Str("7,5".to_owned())), Ok(vec![7, 5]));
        assert_eq!(read(DbValue::DbNull), Ok(vec![]));
        assert!(read(DbValue::Str("7,x".to_owned())).is_err());
    }
}
