//! Pagination: `?limit=` and an opaque `?cursor=`, which contains the position of the previous page's last item, so
//! that rows inserted in the meantime cause neither duplicates nor gaps.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::{IntoParams, ToSchema};

use crate::{Problem, Result, base64url};

const DEFAULT_LIMIT: u32 = 20;
const MAX_LIMIT: u32 = 100;

/// The query parameters of a list.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// The maximum number of items.
    #[param(minimum = 1, maximum = 100, default = 20)]
    pub limit: Option<u32>,
    /// `next_cursor` of the previous page.
    #[param(pattern = "^[A-Za-z0-9_-]+$")]
    pub cursor: Option<String>,
}

impl PageQuery {
    /// The limit, 1 to 100; 422 for any other.
    pub fn limit(&self) -> Result<u32> {
        match self.limit.unwrap_or(DEFAULT_LIMIT) {
            limit @ 1..=MAX_LIMIT => Ok(limit),
            _ => Err(Problem::invalid("limit", format!("must be from 1 to {MAX_LIMIT}"))),
        }
    }

    /// The position of the previous page's last item, if there is a cursor; 422 for a malformed one.
    pub fn cursor<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let Some(text) = &self.cursor else { return Ok(None) };
        let position = base64url::decode(text).and_then(|json| serde_json::from_slice(&json).ok());
        position.map(Some).ok_or_else(|| Problem::invalid("cursor", "was not issued by this list"))
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T: ToSchema> {
    pub items: Vec<T>,
    /// For the next page; null on the last one.
    #[schema(required, pattern = "^[A-Za-z0-9_-]+$", example = "NDI")]
    pub next_cursor: Option<String>,
}

impl<T: ToSchema> Page<T> {
    /// Makes a page of up to `limit + 1` items, of which the last only shows that there is a next page. `position`
    /// gives an item's position for the cursor.
    pub fn new<C: Serialize>(mut items: Vec<T>, limit: u32, position: impl Fn(&T) -> C) -> Self {
        let limit = limit as usize;
        let has_more = items.len() > limit;
        items.truncate(limit);
        let last = if has_more { items.last() } else { None };
        let next_cursor =
            last.and_then(|last| serde_json::to_vec(&position(last)).ok()).map(|json| base64url::encode(&json));
        Page { items, next_cursor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_with_a_next_one_has_a_cursor() {
        let page = Page::new(vec![1, 2, 3], 2, |n| *n);
        assert_eq!(page.items, [1, 2]);
        let query = PageQuery { limit: None, cursor: page.next_cursor };
        assert_eq!(query.cursor::<i64>().unwrap(), Some(2));
        assert_eq!(Page::new(vec![1, 2], 2, |n| *n).next_cursor, None);
    }

    #[test]
    fn refuses_a_bad_cursor_and_limit() {
        let query = |limit, cursor: &str| PageQuery { limit, cursor: Some(cursor.to_owned()) };
        assert!(query(None, "nonsense!").cursor::<i64>().is_err());
        assert!(query(None, &base64url::encode(b"\"text\"")).cursor::<i64>().is_err());
        assert!(query(Some(0), "").limit().is_err());
        assert!(query(Some(101), "").limit().is_err());
    }
}
