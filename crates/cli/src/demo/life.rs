//! What makes the demo shop look lived in, from `demo/life.toml`: promotions, coupons, a flash sale, completed orders.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::MySqlConnection;
use ulid::Ulid;

use super::{Stocked, add_customer};
use crate::{project::random_hex, variables};

const LIFE: &str = include_str!("../../demo/life.toml");
const DAY_MS: i64 = 24 * 3600 * 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Life {
    promotion: Vec<Promotion>,
    coupon: Vec<Coupon>,
    sale: Sale,
    bought: Vec<Bought>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Promotion {
    name: String,
    /// From the root down, with ` / ` between.
    category: String,
    /// As `POST /api/admin/promotion` takes it.
    rule: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Coupon {
    code: String,
    name: String,
    total_limit: Option<i64>,
    rule: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sale {
    product: String,
    stock: i64,
    price_cents: i64,
    days: i64,
}

/// The same basket, by several customers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bought {
    days_ago: i64,
    by: Vec<String>,
    basket: Vec<String>,
}

/// What was put on the shelves: products by name, categories by path.
pub struct Shelves<'a> {
    pub products: &'a BTreeMap<String, Stocked>,
    pub categories: &'a dyn Fn(&str) -> Option<u64>,
}

impl Shelves<'_> {
    /// The product whose name begins so.
    fn product(&self, beginning: &str) -> anyhow::Result<(&str, Stocked)> {
        let from = self.products.range(beginning.to_owned()..).next();
        let (name, product) =
            from.filter(|(name, _)| name.starts_with(beginning)).with_context(|| format!("no `{beginning}`"))?;
        Ok((name, *product))
    }
}

pub async fn add(connection: &mut MySqlConnection, shelves: &Shelves<'_>, now: i64) -> anyhow::Result<()> {
    let life: Life = toml::from_str(LIFE).context("demo/life.toml")?;
    for promotion in &life.promotion {
        let category = (shelves.categories)(&promotion.category).with_context(|| promotion.category.clone())?;
        let mut rule: Value = serde_json::from_str(&promotion.rule)?;
        rule["category_ids"] = json!([category]);
        sqlx::query(
            "INSERT INTO promotions (name, rule, exclusive, priority, created_at, updated_at) VALUES (?, ?, 0, 0, ?, ?)",
        )
        .bind(&promotion.name)
        .bind(rule.to_string())
        .bind(now)
        .bind(now)
        .execute(&mut *connection)
        .await?;
    }
    for coupon in &life.coupon {
        sqlx::query(
            "INSERT INTO coupons (code, name, rule, total_limit, per_user_limit, created_at, updated_at)
             VALUES (?, ?, ?, ?, 1, ?, ?)",
        )
        .bind(&coupon.code)
        .bind(&coupon.name)
        .bind(&coupon.rule)
        .bind(coupon.total_limit)
        .bind(now)
        .bind(now)
        .execute(&mut *connection)
        .await?;
    }
    add_sale(connection, shelves, &life.sale, now).await?;
    let currency = variables::from_environment()?.remove("currency").unwrap_or_else(|| "CNY".to_owned());
    for bought in &life.bought {
        for (index, name) in (0_i64..).zip(&bought.by) {
            // Hours apart, so that nobody's orders have the same time.
            let placed_at = now - bought.days_ago * DAY_MS + index * 3_600_000;
            add_order(connection, shelves, name, &bought.basket, placed_at, &currency).await?;
        }
    }
    Ok(())
}

/// As the function `seckill` sets one up; `drain` opens it when the shop starts.
async fn add_sale(
    connection: &mut MySqlConnection,
    shelves: &Shelves<'_>,
    sale: &Sale,
    now: i64,
) -> anyhow::Result<()> {
    let (_, product) = shelves.product(&sale.product)?;
    let ends_at = now + sale.days * DAY_MS;
    let activity = sqlx::query(
        "INSERT INTO seckill_activities (product_id, price_cents, stock, per_user_limit, starts_at, ends_at, created_at)
         VALUES (?, ?, ?, 1, ?, ?, ?)",
    )
    .bind(product.id)
    .bind(sale.price_cents)
    .bind(sale.stock)
    .bind(now)
    .bind(ends_at)
    .bind(now)
    .execute(&mut *connection)
    .await?
    .last_insert_id();
    sqlx::query("UPDATE products SET available = available - ?, reserved = reserved + ? WHERE id = ?")
        .bind(sale.stock)
        .bind(sale.stock)
        .bind(product.id)
        .execute(&mut *connection)
        .await?;
    for (task, due) in [("watch", now), ("close", ends_at)] {
        sqlx::query("INSERT INTO jobs (queue, state, due_at, payload, created_at) VALUES ('drain', 'queued', ?, ?, ?)")
            .bind(due)
            .bind(json!({ "do": task, "activity_id": activity }).to_string())
            .bind(now)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// An order's or payment's number, as the functions make them.
fn number(at: i64) -> anyhow::Result<String> {
    let random = u128::from_str_radix(&random_hex(10)?, 16)?;
    Ok(Ulid::from_parts(u64::try_from(at)?, random).to_string())
}

/// An order that was paid, shipped and received. Promotions began later.
async fn add_order(
    connection: &mut MySqlConnection,
    shelves: &Shelves<'_>,
    customer: &str,
    basket: &[String],
    placed_at: i64,
    currency: &str,
) -> anyhow::Result<()> {
    let user = add_customer(connection, customer, placed_at).await?;
    let order_no = number(placed_at)?;
    let mut lines = Vec::new();
    for entry in basket {
        let (quantity, beginning) = match entry.split_once(" × ") {
            Some((quantity, beginning)) => (quantity.parse()?, beginning),
            None => (1, entry.as_str()),
        };
        let (name, product) = shelves.product(beginning)?;
        lines.push((name, product, quantity));
    }
    let total: i64 = lines.iter().map(|(_, product, quantity)| product.price * quantity).sum();
    let (paid_at, shipped_at, completed_at) = (placed_at + 60_000, placed_at + 120_000, placed_at + 18 * 3_600_000);
    sqlx::query(
        "INSERT INTO orders (order_no, user_id, status, subtotal_cents, discount_cents, total_cents, currency, discounts,
                             created_at, expires_at, paid_at, shipped_at, completed_at, carrier, tracking_no)
         VALUES (?, ?, 'completed', ?, 0, ?, ?, '[]', ?, ?, ?, ?, ?, 'mall', ?)",
    )
    .bind(&order_no)
    .bind(user)
    .bind(total)
    .bind(total)
    .bind(currency)
    .bind(placed_at)
    .bind(placed_at + 1_800_000)
    .bind(paid_at)
    .bind(shipped_at)
    .bind(completed_at)
    .bind(&order_no)
    .execute(&mut *connection)
    .await?;
    for (line, (name, product, quantity)) in (1_i64..).zip(&lines) {
        sqlx::query(
            "INSERT INTO order_items (order_no, line, product_id, name, price_cents, quantity, amount_cents)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&order_no)
        .bind(line)
        .bind(product.id)
        .bind(*name)
        .bind(product.price)
        .bind(quantity)
        .bind(product.price * quantity)
        .execute(&mut *connection)
        .await?;
        let sold = sqlx::query("UPDATE products SET available = available - ?, sold = sold + ? WHERE id = ?");
        sold.bind(quantity).bind(quantity).bind(product.id).execute(&mut *connection).await?;
        for (_, other, _) in lines.iter().filter(|(_, other, _)| other.id != product.id) {
            sqlx::query(
                "INSERT INTO product_pairs (product_id, other_id, times) VALUES (?, ?, 1)
                 ON DUPLICATE KEY UPDATE times = times + 1",
            )
            .bind(product.id)
            .bind(other.id)
            .execute(&mut *connection)
            .await?;
        }
    }
    sqlx::query(
        "INSERT INTO payments (payment_no, order_no, provider, status, amount_cents, currency, created_at)
         VALUES (?, ?, 'mock', 'succeeded', ?, ?, ?)",
    )
    .bind(number(paid_at)?)
    .bind(&order_no)
    .bind(total)
    .bind(currency)
    .bind(paid_at)
    .execute(&mut *connection)
    .await?;
    for (from, to, cause, actor, at) in [
        (None, "pending", "placed", "user", placed_at),
        (Some("pending"), "paid", "paid", "user", paid_at),
        (Some("paid"), "shipped", "shipped", "shop", shipped_at),
        (Some("shipped"), "completed", "confirmed", "user", completed_at),
    ] {
        sqlx::query(
            "INSERT INTO order_log (order_no, from_status, to_status, cause, actor, user_id, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&order_no)
        .bind(from)
        .bind(to)
        .bind(cause)
        .bind(actor)
        .bind((actor == "user").then_some(user))
        .bind(at)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn life_is_about_what_is_on_the_shelves() {
        let life: Life = toml::from_str(LIFE).unwrap();
        let products = super::super::names();
        let is_one = |beginning: &str| products.iter().filter(|name| name.starts_with(beginning)).count() == 1;
        for entry in life.bought.iter().flat_map(|bought| &bought.basket).chain([&life.sale.product]) {
            let beginning = entry.split_once(" × ").map_or(entry.as_str(), |(_, beginning)| beginning);
            assert!(is_one(beginning), "{entry}");
        }
        for rule in life.promotion.iter().map(|p| &p.rule).chain(life.coupon.iter().map(|c| &c.rule)) {
            serde_json::from_str::<Value>(rule).unwrap();
        }
    }
}
