//! `cargo mall bench [NAME] --against PATH`: compares the build of another checkout with this one.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use hyper::{Method, StatusCode};
use load::{
    comparison::{self, Comparison},
    http::{Client, request},
    plan::{Account, Flow, Plan, Work},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Arguments, catalog, checkout::Checkout, flash_sale, shoppers};
use crate::project::Project;

const PRODUCTS: usize = 100;
const CATEGORIES: usize = 5;
/// Password hashing takes tens of milliseconds of a core. More connections would only queue, and finish in batches, whose
/// number varies by chance.
const LOGIN_CONNECTIONS: usize = 4;
/// The most that a product may have.
const STOCK: i64 = 1_000_000_000;
/// More than the limit per user allows to 400 connections.
const SALE_STOCK: i64 = 1_000_000;

/// NAME on the command line, title, and what is measured.
const SUBJECTS: [(&str, &str, Subject); 10] = [
    ("health", "GET /health", Subject::Flow(Flow::Health)),
    ("detail", "product detail", Subject::Flow(Flow::Detail)),
    ("list", "product list, 20 items", Subject::Flow(Flow::List)),
    ("search", "product search", Subject::Search),
    ("cart", "cart add", Subject::Flow(Flow::CartAdd)),
    ("buy", "cart add + checkout + pay", Subject::Flow(Flow::Buy)),
    ("mixed", "mixed: read, cart, quote, buy", Subject::Flow(Flow::Mixed)),
    ("login", "login", Subject::Login),
    ("seckill", "flash-sale purchase", Subject::SalePurchase),
    ("seckill", "flash sale, sold out", Subject::SaleSoldOut),
];

#[derive(Clone, Copy)]
enum Subject {
    Flow(Flow),
    Search,
    Login,
    SalePurchase,
    SaleSoldOut,
}

pub fn check(arguments: &Arguments) -> anyhow::Result<()> {
    let name = arguments.name.as_deref();
    let mut names: Vec<_> = SUBJECTS.iter().map(|(name, ..)| *name).collect();
    names.dedup();
    ensure!(
        name.is_none_or(|name| names.contains(&name)),
        "there is no bench `{}` with --against: choose one of {}",
        name.unwrap_or_default(),
        names.join(", ")
    );
    ensure!((6..=1000).contains(&arguments.rounds()), "--against takes 6 to 1000 rounds: fewer give no 95 % interval");
    Ok(())
}

pub async fn run(project: &Project, arguments: &Arguments, path: &Path) -> anyhow::Result<ExitCode> {
    let (begun, rounds) = (Instant::now(), arguments.rounds());
    let root = root(path)?;
    let that = Shop::start(project, &root, arguments.connections).await?;
    let this = Shop::start(project, &project.root, arguments.connections).await?;
    let subjects: Vec<_> =
        SUBJECTS.iter().filter(|(name, ..)| arguments.name.as_deref().is_none_or(|only| only == *name)).collect();
    let mut comparisons: Vec<_> = subjects
        .iter()
        .map(|(_, title, _)| Comparison { name: (*title).to_owned(), ..Comparison::default() })
        .collect();
    for round in 1..=rounds {
        for ((_, title, subject), comparison) in subjects.iter().zip(&mut comparisons) {
            let step = progress::step(&format!("Round {round} of {rounds}: {title}"));
            let connections = match subject {
                Subject::Login => arguments.connections.min(LOGIN_CONNECTIONS),
                _ => arguments.connections,
            };
            let measure = async |shop: &Shop| {
                let plan = plan(shop.work(*subject).await?, connections, arguments.seconds());
                shop.checkout.measure(&plan).await
            };
            // In alternating order, so that neither is favoured.
            let (one, other) = if round % 2 == 1 {
                let this = measure(&this).await?;
                (this, measure(&that).await?)
            } else {
                let that = measure(&that).await?;
                (measure(&this).await?, that)
            };
            comparison.this.push(one);
            comparison.that.push(other);
            drop(step);
        }
    }
    println!(
        "\nthis: {}\nthat: {}\n{} connections ({LOGIN_CONNECTIONS} at most for logins), {rounds} rounds of {} s each, in turn; {:.0} minutes in all\n",
        described(&project.root),
        described(&root),
        arguments.connections,
        arguments.seconds(),
        begun.elapsed().as_secs_f64() / 60.0
    );
    comparison::print(&comparisons);
    Ok(ExitCode::SUCCESS)
}

fn plan(work: Work, connections: usize, seconds: f64) -> Plan {
    Plan {
        work,
        connections,
        // The instances of idle functions are gone after a second: new ones start before the measurement.
        warm_up: Duration::from_millis(500),
        duration: Duration::from_secs_f64(seconds),
        pause: Duration::ZERO,
    }
}

fn root(path: &Path) -> anyhow::Result<PathBuf> {
    let root = path.canonicalize().with_context(|| format!("{} can't be read", path.display()))?;
    let is_checkout = root.join("spin.toml").is_file() && root.join(".cargo/config.toml").is_file();
    ensure!(is_checkout, "{} is no checkout of this repository", path.display());
    Ok(root)
}

/// The path and, where git knows it, the commit.
fn described(root: &Path) -> String {
    let git = Command::new("git").args(["log", "-1", "--format=%h %s"]).current_dir(root).output();
    let commit = git.ok().filter(|output| output.status.success()).map(|output| output.stdout).unwrap_or_default();
    format!("{} {}", root.display(), String::from_utf8_lossy(&commit).trim())
}

/// One of the two shops. Both are filled with the same data through the API, since tables differ from commit to commit.
struct Shop {
    checkout: Checkout,
    admin: String,
    /// Access tokens.
    shoppers: Vec<String>,
    /// Access tokens of others, for flash sales only: they get thousands of unpaid orders.
    sale_shoppers: Vec<String>,
    /// For logins. Not the shoppers', since a login may end its user's oldest session.
    accounts: Vec<Account>,
    products: Vec<i64>,
    searches: Vec<String>,
    sold_out: i64,
}

impl Shop {
    async fn start(project: &Project, root: &Path, connections: usize) -> anyhow::Result<Self> {
        let checkout = Checkout::start(project, root).await?;
        let step = progress::step(&format!("Filling the shop of {}", root.display()));
        let mut client = Client::connect(checkout.address).await?;
        let account = shoppers::register(&mut client).await?;
        checkout.grant_admin(&account.username).await?;
        let admin = shoppers::login(&mut client, &account).await?;
        let (products, searches) = fill(&mut client, &admin).await?;
        let shoppers = shoppers::sign_in(checkout.address, connections).await?;
        let sale_shoppers = shoppers::sign_in(checkout.address, connections).await?;
        let mut accounts = Vec::new();
        for _ in 0..LOGIN_CONNECTIONS {
            accounts.push(shoppers::register(&mut client).await?);
        }
        // Its only unit is bought at once.
        let sold_out = flash_sale::create(&mut client, &admin, first(&products)?, 1).await?;
        let purchase = json!({ "activity_id": sold_out });
        let buyer = sale_shoppers.first().map(String::as_str);
        let (status, reply) = client.send(request(Method::POST, "/api/seckill", buyer, Some(&purchase))).await?;
        ensure!(status == StatusCode::ACCEPTED, "/api/seckill: {status} {}", String::from_utf8_lossy(&reply));
        drop(step);
        Ok(Self { checkout, admin, shoppers, accounts, products, searches, sold_out, sale_shoppers })
    }

    async fn work(&self, subject: Subject) -> anyhow::Result<Work> {
        let address = self.checkout.address;
        let by = |shoppers: &[String], flow| Work::Http {
            address,
            flow,
            shoppers: shoppers.to_vec(),
            products: self.products.clone(),
        };
        let purchase = |activity, status| by(&self.sale_shoppers, Flow::FlashSale { activity, status });
        Ok(match subject {
            Subject::Flow(of) => by(&self.shoppers, of),
            Subject::Search => Work::Paths { address, paths: self.searches.clone() },
            Subject::Login => Work::Login { address, accounts: self.accounts.clone() },
            Subject::SalePurchase => {
                // A new sale for each measurement, since a sale has a limit per user.
                let mut client = Client::connect(address).await?;
                let activity = flash_sale::create(&mut client, &self.admin, first(&self.products)?, SALE_STOCK).await?;
                purchase(activity, StatusCode::ACCEPTED.as_u16())
            }
            Subject::SaleSoldOut => purchase(self.sold_out, StatusCode::CONFLICT.as_u16()),
        })
    }
}

fn first(products: &[i64]) -> anyhow::Result<i64> {
    products.first().copied().context("no products")
}

/// Creates categories and products. Returns the products' ids, and paths that search for each word of their names.
async fn fill(client: &mut Client, admin: &str) -> anyhow::Result<(Vec<i64>, Vec<String>)> {
    let mut post =
        async |path: &str, body: Value| client.json(request(Method::POST, path, Some(admin), Some(&body))).await;
    let mut categories = Vec::new();
    for n in 1..=CATEGORIES {
        let category = post("/api/category", json!({ "name": format!("bench {n}") })).await?;
        categories.push(category["category_id"].as_i64().context("a category without an id")?);
    }
    let (mut products, mut searches) = (Vec::new(), Vec::new());
    for (n, category) in categories.iter().cycle().take(PRODUCTS).enumerate() {
        let name = catalog::name(n);
        let product = json!({ "name": name, "description": "通用描述，质量可靠，全国联保。", "category_id": category,
                              "price_cents": 1000 + n * 7919 % 1_000_000, "stock": STOCK });
        let made = post("/api/product", product).await?;
        products.push(made["product_id"].as_i64().context("a product without an id")?);
        let words = name.split_whitespace().map(|word| utf8_percent_encode(word, NON_ALPHANUMERIC));
        searches.extend(words.map(|word| format!("/api/product?q={word}&limit=20")));
    }
    Ok((products, searches))
}
