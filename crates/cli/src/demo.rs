//! The demo shop: a shopper, an admin, and what `demo/` describes.

mod orders_and_offers;
mod products;
mod users;

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use mysql_async::TxOpts;
use serde::{Deserialize, Serialize};

use crate::{
    address::Mysql,
    database, ledger_entries,
    project::{Project, private_folder, random_hex, write_private},
    search_index,
};

const SHOPPER: &str = "demo";
const ADMIN: &str = "demo-admin";

/// A demo account that one can sign in to.
pub struct Account {
    /// `shopper` or `admin`
    pub kind: &'static str,
    pub username: &'static str,
    pub password: String,
}

/// `demo.json`: the generated passwords of the demo accounts.
#[derive(Serialize, Deserialize)]
struct Passwords {
    shopper: String,
    admin: String,
}

pub enum LoadOutcome {
    Loaded { products: usize },
    AlreadyLoaded,
}

impl LoadOutcome {
    pub fn summary(&self) -> String {
        match self {
            Self::Loaded { products } => format!("Loaded {products} demo products."),
            Self::AlreadyLoaded => "The demo data is already loaded.".to_owned(),
        }
    }
}

/// Loads the demo data in one transaction, unless it is loaded already.
pub async fn load(project: &Project, mysql: &Mysql) -> anyhow::Result<LoadOutcome> {
    let passwords = passwords(project)?;
    let mut connection = database::connect(mysql).await?;
    database::expect_tables(&mut connection).await?;
    let mut transaction = connection.start_transaction(TxOpts::default()).await?;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;

    // The admin account shows that the demo data was loaded, even if all of the products were deleted since.
    if users::find_user(&mut transaction, ADMIN).await?.is_some() {
        transaction.rollback().await?;
        database::close(connection).await?;
        return Ok(LoadOutcome::AlreadyLoaded);
    }
    users::add_user(&mut transaction, ADMIN, &passwords.admin, "admin", now).await?;
    if users::find_user(&mut transaction, SHOPPER).await?.is_none() {
        users::add_user(&mut transaction, SHOPPER, &passwords.shopper, "user", now).await?;
    }
    let catalog = products::add(&mut transaction, now).await?;
    search_index::add(&mut transaction, &catalog.names()?).await?;
    orders_and_offers::add(&mut transaction, &catalog, now).await?;
    transaction.commit().await?;
    ledger_entries::add_missing(&mut connection).await?;
    database::close(connection).await?;
    Ok(LoadOutcome::Loaded { products: catalog.products.len() })
}

/// The demo accounts that still have their generated passwords.
pub async fn accounts(project: &Project, mysql: &Mysql) -> anyhow::Result<Vec<Account>> {
    if !project.state.join("demo.json").exists() {
        return Ok(Vec::new());
    }
    let passwords = passwords(project)?;
    let mut connection = database::connect(mysql).await?;
    let mut accounts = Vec::new();
    for (kind, username, password) in [("shopper", SHOPPER, passwords.shopper), ("admin", ADMIN, passwords.admin)] {
        let hash = users::find_user(&mut connection, username).await?;
        if hash.is_some_and(|hash| users::verify(&password, &hash)) {
            accounts.push(Account { kind, username, password });
        }
    }
    database::close(connection).await?;
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
