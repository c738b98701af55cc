//! Changes to products by the staff.

use kit::{
    CategoryId, Cents, Problem, ProductId, Result, Timestamp, UserId,
    extract::nullable,
    mysql::{Transaction, param, placeholders},
    params,
    validate::Validator,
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    MAX_PRICE, MAX_STOCK, category,
    product::{Product, Reader, find},
    product_cache, search_index, stock,
};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "name": "Wireless headphones", "price_cents": 2999, "stock": 100, "category_id": 1 }))]
pub struct NewProduct {
    #[schema(min_length = 1, max_length = 200, example = "Wireless headphones")]
    name: String,
    #[schema(value_type = i64, minimum = 1, maximum = 100_000_000_000_i64, example = 2999)]
    price_cents: Cents,
    #[schema(minimum = 0, maximum = 1_000_000_000, example = 100)]
    stock: i64,
    category_id: Option<CategoryId>,
    #[schema(max_length = 10_000)]
    description: Option<String>,
    /// An http or https URL, or a path.
    #[schema(
        min_length = 1,
        max_length = 2048,
        pattern = "^(https?://|/([^/]|$))",
        example = "https://example.com/headphones.jpg"
    )]
    image_url: Option<String>,
    /// Default: true.
    on_shelf: Option<bool>,
}

/// The fields to change; those that are omitted stay as they are.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({ "price_cents": 2499, "description": "Over-ear, 40 hours on one charge" }))]
pub struct ProductChange {
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 100_000_000_000_i64, example = 2499)]
    price_cents: Option<Cents>,
    /// Null removes the product from its category.
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<CategoryId>)]
    category_id: Option<Option<CategoryId>>,
    #[schema(max_length = 10_000)]
    description: Option<String>,
    /// An http or https URL, or a path. Null removes the image.
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 2048, pattern = "^(https?://|/([^/]|$))", example = "https://example.com/headphones.jpg")]
    image_url: Option<Option<String>>,
    on_shelf: Option<bool>,
}

fn check_name(validator: &mut Validator, name: &str) {
    validator.text("name", name, 1, 200);
}

fn check_price(validator: &mut Validator, price: Cents) {
    validator.number("price_cents", price.0, 1, MAX_PRICE);
}

fn check_description(validator: &mut Validator, description: &str) {
    validator.text("description", description, 0, 10_000);
}

fn check_image_url(validator: &mut Validator, url: &str) {
    let scheme = url.starts_with("https://") || url.starts_with("http://");
    // `//host` would be another site.
    let path = url.starts_with('/') && !url.starts_with("//");
    validator.text("image_url", url, 1, 2048).require(
        scheme || path,
        "image_url",
        "must be an http or https URL, or a path",
    );
}

impl NewProduct {
    /// 422 if a field is out of bounds.
    pub fn check(&self) -> Result<()> {
        let mut validator = Validator::new();
        check_name(&mut validator, &self.name);
        check_price(&mut validator, self.price_cents);
        validator.number("stock", self.stock, 0, MAX_STOCK);
        check_description(&mut validator, self.description.as_deref().unwrap_or_default());
        if let Some(url) = &self.image_url {
            check_image_url(&mut validator, url);
        }
        validator.finish()
    }
}

/// Adds a product. `user_id` is recorded as the source of its initial stock.
pub async fn insert(tx: &mut Transaction, new: &NewProduct, user_id: UserId) -> Result<Product> {
    const INSERT: &str = "
        INSERT INTO products (name, description, image_url, category_id, price_cents, available, on_shelf,
                              created_at, updated_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    category::check_exists(tx, new.category_id).await?;
    let now = Timestamp::now();
    let values = params![
        &new.name,
        new.description.as_deref().unwrap_or_default(),
        new.image_url.as_deref(),
        new.category_id,
        new.price_cents,
        new.stock,
        new.on_shelf.unwrap_or(true),
        now,
        now,
    ];
    tx.execute(INSERT, values).await?;
    let product_id = tx.last_insert_id().await?;
    search_index::update(tx, product_id, &new.name).await?;
    stock::record_movement(tx, product_id, new.stock, "initial stock", user_id).await?;
    find(tx, product_id, Reader::Admin).await
}

impl ProductChange {
    /// 422 if a field is out of bounds.
    pub fn check(&self) -> Result<()> {
        let mut validator = Validator::new();
        if let Some(name) = &self.name {
            check_name(&mut validator, name);
        }
        if let Some(price) = self.price_cents {
            check_price(&mut validator, price);
        }
        if let Some(description) = &self.description {
            check_description(&mut validator, description);
        }
        if let Some(Some(url)) = &self.image_url {
            check_image_url(&mut validator, url);
        }
        validator.finish()
    }
}

/// Changes a product; returns it before and after.
pub async fn update(tx: &mut Transaction, product_id: ProductId, change: &ProductChange) -> Result<(Product, Product)> {
    stock::lock(tx, product_id).await?;
    category::check_exists(tx, change.category_id.flatten()).await?;
    let before = find(tx, product_id, Reader::Admin).await?;

    let (mut columns, mut values) = (vec!["updated_at = ?"], params![Timestamp::now()]);
    let mut set = |column, value| {
        columns.push(column);
        values.push(value);
    };
    if let Some(name) = &change.name {
        set("name = ?", param(name));
    }
    if let Some(price) = change.price_cents {
        set("price_cents = ?", param(price));
    }
    if let Some(category_id) = change.category_id {
        set("category_id = ?", param(category_id));
    }
    if let Some(description) = &change.description {
        set("description = ?", param(description));
    }
    if let Some(image_url) = &change.image_url {
        set("image_url = ?", param(image_url.as_deref()));
    }
    if let Some(on_shelf) = change.on_shelf {
        set("on_shelf = ?", param(on_shelf));
    }
    values.extend(params![product_id]);
    tx.execute(&format!("UPDATE products SET {} WHERE id = ?", columns.join(", ")), values).await?;

    if let Some(name) = &change.name {
        search_index::update(tx, product_id, name).await?;
    }
    product_cache::evict_after_commit(tx, [product_id]);
    Ok((before, find(tx, product_id, Reader::Admin).await?))
}

/// Takes a product off the shelf; returns it as it was before.
pub async fn take_off_shelf(tx: &mut Transaction, product_id: ProductId) -> Result<Product> {
    stock::lock(tx, product_id).await?;
    let before = find(tx, product_id, Reader::Admin).await?;
    set_shelf(tx, &[product_id], false).await?;
    Ok(before)
}

/// Puts products on the shelf or takes them off; 422 if one of them does not exist.
pub async fn set_on_shelf(tx: &mut Transaction, product_ids: &[ProductId], on_shelf: bool) -> Result<()> {
    let lock =
        format!("SELECT id FROM products WHERE id IN ({}) ORDER BY id FOR UPDATE", placeholders(product_ids.len()));
    let found = tx.query::<(ProductId,)>(&lock, product_ids.iter().copied().map(param).collect()).await?;
    if let Some(missing) = product_ids.iter().find(|id| !found.contains(&(**id,))) {
        return Err(Problem::invalid("product_ids", format!("there is no product {missing}")));
    }
    set_shelf(tx, product_ids, on_shelf).await
}

/// The products must be locked.
async fn set_shelf(tx: &mut Transaction, product_ids: &[ProductId], on_shelf: bool) -> Result<()> {
    let sql =
        format!("UPDATE products SET on_shelf = ?, updated_at = ? WHERE id IN ({})", placeholders(product_ids.len()));
    let mut values = params![on_shelf, Timestamp::now()];
    values.extend(product_ids.iter().copied().map(param));
    tx.execute(&sql, values).await?;
    product_cache::evict_after_commit(tx, product_ids.iter().copied());
    Ok(())
}
