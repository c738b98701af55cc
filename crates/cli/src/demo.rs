//! The demo shop: categories and products from `demo/products.toml`, a shopper and an admin, and some life.

mod life;

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, anyhow};
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version, password_hash::phc::PasswordHash};
use serde::{Deserialize, Serialize};
use sqlx::{Connection, MySqlConnection};

use crate::{
    address::Mysql,
    database, index,
    project::{Project, private_folder, random_hex, write_private},
};

const SHELVES: &str = include_str!("../demo/products.toml");
const SHOPPER: &str = "demo";
const ADMIN: &str = "demo-admin";

#[derive(Deserialize)]
struct Demo {
    shelf: Vec<Shelf>,
}

/// The products of one category.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shelf {
    /// From the root down, with ` / ` between.
    category: String,
    products: Vec<Product>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Product {
    name: String,
    /// In cents.
    price: i64,
    stock: i64,
    about: String,
}

/// A product that is on the shelf.
#[derive(Clone, Copy)]
struct Stocked {
    id: u64,
    /// In cents.
    price: i64,
}

/// Someone to sign in as.
pub struct Account {
    pub what: &'static str,
    pub username: &'static str,
    pub password: String,
}

/// `demo.json`: the passwords that we gave the demo accounts.
#[derive(Serialize, Deserialize)]
struct Passwords {
    shopper: String,
    admin: String,
}

pub enum Loaded {
    Now { products: usize },
    Before,
}

impl Loaded {
    pub fn summary(&self) -> String {
        match self {
            Self::Now { products } => format!("{products} demo products loaded."),
            Self::Before => "The demo data was loaded before.".to_owned(),
        }
    }
}

/// Loads everything in one transaction, or finds that it was loaded before.
pub async fn load(project: &Project, mysql: &Mysql) -> anyhow::Result<Loaded> {
    let demo: Demo = toml::from_str(SHELVES).context("demo/products.toml")?;
    let passwords = passwords(project)?;
    let mut connection = database::connect(mysql).await?;
    database::expect_tables(&mut connection).await?;
    let mut transaction = connection.begin().await?;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;

    // Its admin is what tells a shop that was given the demo data from one that was not, whatever was sold or deleted since.
    if find_user(&mut transaction, ADMIN).await?.is_some() {
        return Ok(Loaded::Before);
    }
    add_user(&mut transaction, ADMIN, &passwords.admin, "admin", now).await?;
    if find_user(&mut transaction, SHOPPER).await?.is_none() {
        add_user(&mut transaction, SHOPPER, &passwords.shopper, "user", now).await?;
    }
    let mut categories = HashMap::new();
    let mut products = BTreeMap::new();
    for shelf in &demo.shelf {
        let category = add_category(&mut transaction, &mut categories, &shelf.category).await?;
        for product in &shelf.products {
            let id = add_product(&mut transaction, category, product, now).await?;
            products.insert(product.name.clone(), Stocked { id, price: product.price });
        }
    }
    index::complete(&mut transaction).await?;
    let category = |path: &str| categories.get(&format!("/{}", path.replace(" / ", "/"))).copied();
    life::add(&mut transaction, &life::Shelves { products: &products, categories: &category }, now).await?;
    transaction.commit().await?;
    Ok(Loaded::Now { products: products.len() })
}

/// The demo accounts whose passwords are still the ones that we gave them.
pub async fn accounts(project: &Project, mysql: &Mysql) -> anyhow::Result<Vec<Account>> {
    if !project.state.join("demo.json").exists() {
        return Ok(Vec::new());
    }
    let passwords = passwords(project)?;
    let mut connection = database::connect(mysql).await?;
    let mut accounts = Vec::new();
    for (what, username, password) in [("shopper", SHOPPER, passwords.shopper), ("admin", ADMIN, passwords.admin)] {
        let hash = find_user(&mut connection, username).await?;
        if hash.is_some_and(|hash| verify(&password, &hash)) {
            accounts.push(Account { what, username, password });
        }
    }
    Ok(accounts)
}

fn passwords(project: &Project) -> anyhow::Result<Passwords> {
    let path = project.state.join("demo.json");
    if let Ok(text) = fs::read(&path)
        && let Ok(passwords) = serde_json::from_slice(&text)
    {
        return Ok(passwords);
    }
    let passwords = Passwords { shopper: random_hex(8)?, admin: random_hex(8)? };
    private_folder(&project.state)?;
    write_private(&path, &serde_json::to_vec_pretty(&passwords)?)?;
    Ok(passwords)
}

async fn find_user(connection: &mut MySqlConnection, username: &str) -> anyhow::Result<Option<String>> {
    let hash = sqlx::query_scalar("SELECT password_hash FROM users WHERE username = ? FOR UPDATE");
    Ok(hash.bind(username).fetch_optional(connection).await?)
}

async fn add_user(
    connection: &mut MySqlConnection,
    username: &str,
    password: &str,
    role: &str,
    now: i64,
) -> anyhow::Result<()> {
    sqlx::query("INSERT INTO users (username, password_hash, role, created_at) VALUES (?, ?, ?, ?)")
        .bind(username)
        .bind(hash(password)?)
        .bind(role)
        .bind(now)
        .execute(connection)
        .await?;
    Ok(())
}

/// The id of a user by name; one who is new has no password, and so can't sign in.
async fn add_customer(connection: &mut MySqlConnection, username: &str, now: i64) -> anyhow::Result<u64> {
    let known: Option<i64> = sqlx::query_scalar("SELECT id FROM users WHERE username = ?")
        .bind(username)
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(id) = known {
        return Ok(u64::try_from(id)?);
    }
    let insert = sqlx::query("INSERT INTO users (username, password_hash, role, created_at) VALUES (?, '', 'user', ?)");
    Ok(insert.bind(username).bind(now).execute(connection).await?.last_insert_id())
}

/// The category at the end of the path, with those above it.
async fn add_category(
    connection: &mut MySqlConnection,
    known: &mut HashMap<String, u64>,
    path: &str,
) -> anyhow::Result<u64> {
    let mut parent = None;
    let mut so_far = String::new();
    for name in path.split(" / ") {
        so_far = format!("{so_far}/{name}");
        let id = match known.get(&so_far) {
            Some(id) => *id,
            None => {
                let insert = sqlx::query("INSERT INTO categories (parent_id, name) VALUES (?, ?)");
                let id = insert.bind(parent).bind(name).execute(&mut *connection).await?.last_insert_id();
                known.insert(so_far.clone(), id);
                id
            }
        };
        parent = Some(id);
    }
    parent.context("a shelf without a category")
}

async fn add_product(
    connection: &mut MySqlConnection,
    category: u64,
    product: &Product,
    now: i64,
) -> anyhow::Result<u64> {
    let added = sqlx::query(
        "INSERT INTO products (name, description, category_id, price_cents, available, on_shelf, created_at, updated_at)
         VALUES (?, ?, ?, ?, ?, 1, ?, ?)",
    )
    .bind(&product.name)
    .bind(&product.about)
    .bind(category)
    .bind(product.price)
    .bind(product.stock)
    .bind(now)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    sqlx::query("INSERT INTO stock_movements (product_id, delta, reason, created_at) VALUES (?, ?, 'demo data', ?)")
        .bind(added.last_insert_id())
        .bind(product.stock)
        .bind(now)
        .execute(connection)
        .await?;
    Ok(added.last_insert_id())
}

/// As the functions do it: argon2id, 19 MiB, two passes.
fn hash(password: &str) -> anyhow::Result<String> {
    let params = Params::new(19 * 1024, 2, 1, None).map_err(|error| anyhow!("argon2: {error}"))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Ok(argon2.hash_password(password.as_bytes()).map_err(|error| anyhow!("argon2: {error}"))?.to_string())
}

fn verify(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
fn names() -> Vec<String> {
    let demo: Demo = toml::from_str(SHELVES).expect("demo/products.toml");
    demo.shelf.into_iter().flat_map(|shelf| shelf.products).map(|product| product.name).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_demo_data_keeps_the_bounds_of_the_contract() {
        let demo: Demo = toml::from_str(SHELVES).unwrap();
        let mut names = HashSet::new();
        for shelf in &demo.shelf {
            assert!((2..=3).contains(&shelf.category.split(" / ").count()), "{}", shelf.category);
            assert!(shelf.category.split(" / ").all(|name| (1..=64).contains(&name.trim().chars().count())));
            for Product { name, price, stock, about } in &shelf.products {
                assert!((1..=200).contains(&name.chars().count()), "{name}");
                assert!((1..=100_000_000_000).contains(price), "{name}");
                assert!((1..=1_000_000_000).contains(stock), "{name}");
                assert!((10..=10_000).contains(&about.chars().count()), "{name}");
                assert!(names.insert(name), "{name} twice");
            }
        }
        assert!(names.len() >= 100, "{}", names.len());
    }

    #[test]
    fn a_password_fits_its_hash_alone() {
        let hash = hash("sesame").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(verify("sesame", &hash) && !verify("simsim", &hash));
    }
}
