//! Products: their rows, stock, categories and search index, and what is cached of them.
// Arithmetic on money and stock must not overflow.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod bought_together;
pub mod cached_reply;
pub mod category;
pub mod category_path;
mod edit;
pub mod list;
mod product;
pub mod product_cache;
pub mod product_page_cache;
mod search_index;
pub mod stock;
pub mod summary;

pub use category_path::CategoryPath;
pub use edit::{NewProduct, ProductChange, insert, set_on_shelf, take_off_shelf, update};
pub use product::{MAX_RANKING, Product, Reader, find, first_missing, first_of, ranked_by};
pub use stock::{Line, Stock, StockCount};
pub use summary::ProductSummary;

/// The highest price, in minor units.
pub const MAX_PRICE: i64 = 100_000_000_000;
/// The largest stock of a product.
pub const MAX_STOCK: i64 = 1_000_000_000;
