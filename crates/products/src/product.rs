//! Products as the API shows them.

use kit::{
    CategoryId, Cents, Problem, ProductId, Result, Timestamp, config,
    mysql::{Connection, ParameterValue, param, placeholders},
    params,
    permissions::CATALOG_WRITE,
    row,
    staff::Staff,
};
use serde::Serialize;
use utoipa::ToSchema;

row! {
    #[derive(Debug, Serialize, ToSchema)]
    pub struct Product {
        pub product_id: ProductId as "id",
        #[schema(example = "Wireless headphones")]
        pub name: String,
        #[schema(example = "Over-ear, 40 hours on one charge")]
        pub description: String,
        /// An http or https URL, or a path.
        #[schema(required, example = "https://example.com/headphones.jpg")]
        pub image_url: Option<String>,
        #[schema(required)]
        pub category_id: Option<CategoryId>,
        pub price_cents: Cents,
        /// ISO 4217.
        #[schema(pattern = "^[A-Z]{3}$", example = "CNY")]
        pub currency: String = String::new(),
        /// How many can be ordered.
        #[schema(minimum = 0, example = 100)]
        pub available: i64,
        /// How many were sold.
        #[schema(minimum = 0, example = 7)]
        pub sold: i64,
        /// How many are ordered and not paid. For admins only.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false, minimum = 0)]
        pub reserved: Option<i64>,
        pub on_shelf: bool,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
    }
}

/// Who reads a product. Staff who may write the catalogue (`Admin`) also see products off the shelf and the reserved
/// units, and never get a cached reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    Anyone,
    Admin,
}

impl From<Option<Staff<CATALOG_WRITE>>> for Reader {
    fn from(staff: Option<Staff<CATALOG_WRITE>>) -> Self {
        if staff.is_some() { Reader::Admin } else { Reader::Anyone }
    }
}

impl Product {
    /// Hides what the reader must not see, and adds the shop's currency.
    pub(crate) fn shown_to(mut self, reader: Reader, currency: &str) -> Self {
        currency.clone_into(&mut self.currency);
        if reader == Reader::Anyone {
            self.reserved = None;
        }
        self
    }
}

/// A product as the reader may see it; 404 otherwise.
pub async fn find(db: &mut Connection, product_id: ProductId, reader: Reader) -> Result<Product> {
    let sql = format!("SELECT {} FROM products WHERE id = ?", Product::COLUMNS);
    let row = db.query_one::<Product>(&sql, params![product_id]).await?;
    let row = row.filter(|row| row.on_shelf || reader == Reader::Admin).ok_or_else(|| Problem::not_found("product"))?;
    Ok(row.shown_to(reader, &config::currency().await?))
}

/// The first of these products that does not exist.
pub async fn first_missing(db: &mut Connection, ids: &[ProductId]) -> Result<Option<ProductId>> {
    if ids.is_empty() {
        return Ok(None);
    }
    let sql = format!("SELECT id FROM products WHERE id IN ({})", placeholders(ids.len()));
    let found = db.query::<(ProductId,)>(&sql, ids.iter().copied().map(param).collect()).await?;
    Ok(ids.iter().copied().find(|id| !found.contains(&(*id,))))
}

/// The most products of a ranking: the longest list, and some more for those that leave the shelf before it is shown.
pub const MAX_RANKING: i64 = 120;
/// So many more products than a list needs are read, for those of its ranking that have left the shelf.
const SPARE: usize = 10;

/// The products on the shelf, in the order of a subquery, the highest rank first. `ranking` is a SELECT of `product_id`
/// and `rank_by`.
pub async fn ranked_by(db: &mut Connection, ranking: &str, mut values: Vec<ParameterValue>) -> Result<Vec<ProductId>> {
    let sql = format!(
        "SELECT id FROM products JOIN ({ranking}) ranked ON ranked.product_id = products.id
         WHERE on_shelf = 1 ORDER BY ranked.rank_by DESC, id DESC LIMIT ?"
    );
    values.extend(params![MAX_RANKING]);
    Ok(db.query::<(ProductId,)>(&sql, values).await?.into_iter().map(|(id,)| id).collect())
}

/// The first products of a ranking that are on the shelf.
pub async fn first_of(db: &mut Connection, ranking: &[ProductId], limit: u32, reader: Reader) -> Result<Vec<Product>> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let ids = ranking.get(..limit.saturating_add(SPARE)).unwrap_or(ranking);
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql =
        format!("SELECT {} FROM products WHERE id IN ({}) AND on_shelf = 1", Product::COLUMNS, placeholders(ids.len()));
    let mut rows = db.query::<Product>(&sql, ids.iter().copied().map(param).collect()).await?;
    rows.sort_by_key(|row| ids.iter().position(|id| *id == row.product_id));
    rows.truncate(limit);
    let currency = config::currency().await?;
    Ok(rows.into_iter().map(|row| row.shown_to(reader, &currency)).collect())
}
