//! A product as it is shown.

use kit::{Timestamp, User, row, staff::CATALOG_WRITE};
use ordering::Cents;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Debug, Serialize, ToSchema)]
pub struct Product {
    pub product_id: i64,
    pub name: String,
    pub description: String,
    #[schema(required)]
    pub image_url: Option<String>,
    #[schema(required)]
    pub category_id: Option<i64>,
    pub price_cents: Cents,
    /// ISO 4217.
    pub currency: String,
    /// How many can be ordered.
    pub available: i64,
    /// How many were sold.
    pub sold: i64,
    /// How many are ordered and not paid. For admins.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reserved: Option<i64>,
    pub on_shelf: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

row! {
    pub struct ProductRow {
        pub id: i64, name: String, description: String, image_url: Option<String>, category_id: Option<i64>,
        pub price_cents: Cents, available: i64, reserved: i64, pub sold: i64, pub on_shelf: bool,
        created_at: Timestamp, updated_at: Timestamp,
    }
}

pub const COLUMNS: &str = "
    id, name, description, image_url, category_id, price_cents, available, reserved, sold, on_shelf, created_at, updated_at";

impl ProductRow {
    pub fn into_product(self, reader: Reader, currency: &str) -> Product {
        Product {
            product_id: self.id,
            name: self.name,
            description: self.description,
            image_url: self.image_url,
            category_id: self.category_id,
            price_cents: self.price_cents,
            currency: currency.to_owned(),
            available: self.available,
            sold: self.sold,
            reserved: (reader == Reader::Admin).then_some(self.reserved),
            on_shelf: self.on_shelf,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

/// Who reads: an admin, or who may write the catalogue, sees what is off the shelf and what is reserved, and never
/// anything stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    Anyone,
    Admin,
}

impl From<Option<User>> for Reader {
    fn from(user: Option<User>) -> Self {
        if user.is_some_and(|user| user.may(CATALOG_WRITE)) { Reader::Admin } else { Reader::Anyone }
    }
}
