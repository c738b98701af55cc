//! The products of the demo shop and their categories, from `demo/products.toml`.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context;
use mysql_async::{Transaction, prelude::Queryable};
use serde::Deserialize;

use crate::database;

const PRODUCTS: &str = include_str!("../../demo/products.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    category: Vec<Category>,
}

/// A category and its products.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Category {
    /// From the root down, separated by ` / `.
    path: String,
    products: Vec<Product>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Product {
    name: String,
    price_cents: i64,
    stock: i64,
    description: String,
}

/// A product that was added.
#[derive(Clone, Copy)]
pub struct AddedProduct {
    pub id: u64,
    pub price_cents: i64,
}

/// What was added: products by name, categories by path.
pub struct Catalog {
    pub products: BTreeMap<String, AddedProduct>,
    categories: HashMap<String, u64>,
}

impl Catalog {
    /// The product whose name begins with `beginning`.
    pub fn product(&self, beginning: &str) -> anyhow::Result<(&str, AddedProduct)> {
        let first = self.products.range(beginning.to_owned()..).next();
        let (name, product) = first
            .filter(|(name, _)| name.starts_with(beginning))
            .with_context(|| format!("no demo product is called `{beginning}`"))?;
        Ok((name, *product))
    }

    /// The products' ids and names.
    pub fn names(&self) -> anyhow::Result<Vec<(i64, String)>> {
        self.products.iter().map(|(name, product)| Ok((i64::try_from(product.id)?, name.clone()))).collect()
    }

    pub fn category(&self, path: &str) -> anyhow::Result<u64> {
        self.categories.get(path).copied().with_context(|| format!("there is no demo category `{path}`"))
    }
}

fn read() -> anyhow::Result<Vec<Category>> {
    let file: File = toml::from_str(PRODUCTS).context("demo/products.toml")?;
    Ok(file.category)
}

pub async fn add(transaction: &mut Transaction<'_>, now: i64) -> anyhow::Result<Catalog> {
    let mut catalog = Catalog { products: BTreeMap::new(), categories: HashMap::new() };
    for Category { path, products } in read()? {
        let category = add_category(transaction, &mut catalog.categories, &path).await?;
        for product in products {
            let id = add_product(transaction, category, &product, now).await?;
            catalog.products.insert(product.name, AddedProduct { id, price_cents: product.price_cents });
        }
    }
    Ok(catalog)
}

/// Adds a category, and those above it that are missing. Returns its id.
async fn add_category(
    transaction: &mut Transaction<'_>,
    categories: &mut HashMap<String, u64>,
    path: &str,
) -> anyhow::Result<u64> {
    if let Some(id) = categories.get(path) {
        return Ok(*id);
    }
    let (parent, name) = match path.rsplit_once(" / ") {
        Some((parent, name)) => (Some(Box::pin(add_category(transaction, categories, parent)).await?), name),
        None => (None, path),
    };
    let insert = "INSERT INTO categories (parent_id, name) VALUES (?, ?)";
    let id = database::insert(transaction, insert, (parent, name)).await?;
    categories.insert(path.to_owned(), id);
    Ok(id)
}

async fn add_product(
    transaction: &mut Transaction<'_>,
    category: u64,
    product: &Product,
    now: i64,
) -> anyhow::Result<u64> {
    const PRODUCT: &str = "
        INSERT INTO products (name, description, category_id, price_cents, available, on_shelf, created_at, updated_at)
        VALUES (?, ?, ?, ?, ?, 1, ?, ?)";
    const STOCK: &str =
        "INSERT INTO stock_movements (product_id, delta, reason, created_at) VALUES (?, ?, 'demo data', ?)";
    let Product { name, price_cents, stock, description } = product;
    let values = (name, description, category, price_cents, stock, now, now);
    let id = database::insert(transaction, PRODUCT, values).await?;
    transaction.exec_drop(STOCK, (id, stock, now)).await?;
    Ok(id)
}

#[cfg(test)]
pub fn names() -> Vec<String> {
    let products = read().unwrap().into_iter().flat_map(|category| category.products);
    products.map(|product| product.name).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_demo_products_satisfy_the_apis_limits() {
        let categories = read().unwrap();
        let mut names = HashSet::new();
        for category in &categories {
            assert!((2..=3).contains(&category.path.split(" / ").count()), "{}", category.path);
            assert!(category.path.split(" / ").all(|name| (1..=64).contains(&name.trim().chars().count())));
            for Product { name, price_cents, stock, description } in &category.products {
                assert!((1..=200).contains(&name.chars().count()), "{name}");
                assert!((1..=100_000_000_000).contains(price_cents), "{name}");
                assert!((1..=1_000_000_000).contains(stock), "{name}");
                assert!((10..=10_000).contains(&description.chars().count()), "{name}");
                assert!(names.insert(name), "{name} twice");
            }
        }
        assert!(names.len() >= 100, "{}", names.len());
    }
}
