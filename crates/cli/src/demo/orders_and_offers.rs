//! Promotions, coupons, a flash sale and completed orders of the demo shop, from `demo/orders_and_offers.toml`.

use anyhow::Context;
use mysql_async::{Transaction, prelude::Queryable};
use serde::Deserialize;
use serde_json::{Value, json};
use ulid::Ulid;

use super::{products::Catalog, users::find_or_add_customer};
use crate::{database, project::random_hex, variables};

const ORDERS_AND_OFFERS: &str = include_str!("../../demo/orders_and_offers.toml");
const DAY_MS: i64 = 24 * 3600 * 1000;
/// How long after the demo data is loaded its flash sale starts. The function `drain` opens the sale before; if it were
/// late, it would warn that Redis may have lost tickets.
const FLASH_SALE_STARTS_AFTER_MS: i64 = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrdersAndOffers {
    promotion: Vec<Promotion>,
    coupon: Vec<Coupon>,
    flash_sale: FlashSale,
    purchase: Vec<Purchase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Promotion {
    name: String,
    /// From the root down, separated by ` / `.
    category: String,
    /// In the form of `POST /api/admin/promotion`.
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
struct FlashSale {
    product: String,
    stock: i64,
    price_cents: i64,
    days: i64,
}

/// One order for each customer, all with the same items.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Purchase {
    days_ago: i64,
    customers: Vec<String>,
    items: Vec<String>,
}

impl Purchase {
    /// The quantity and the beginning of the product's name.
    fn item(text: &str) -> anyhow::Result<(i64, &str)> {
        match text.split_once(" × ") {
            Some((quantity, beginning)) => Ok((quantity.parse()?, beginning)),
            None => Ok((1, text)),
        }
    }
}

fn read() -> anyhow::Result<OrdersAndOffers> {
    toml::from_str(ORDERS_AND_OFFERS).context("demo/orders_and_offers.toml")
}

pub async fn add(transaction: &mut Transaction<'_>, catalog: &Catalog, now: i64) -> anyhow::Result<()> {
    const PROMOTION: &str =
        "INSERT INTO promotions (name, rule, exclusive, priority, created_at, updated_at) VALUES (?, ?, 0, 0, ?, ?)";
    const COUPON: &str = "
        INSERT INTO coupons (code, name, rule, total_limit, per_user_limit, created_at, updated_at)
        VALUES (?, ?, ?, ?, 1, ?, ?)";
    let OrdersAndOffers { promotion: promotions, coupon: coupons, flash_sale, purchase: purchases } = read()?;
    for promotion in &promotions {
        let category = catalog.category(&promotion.category)?;
        let mut rule: Value = serde_json::from_str(&promotion.rule)?;
        rule["category_ids"] = json!([category]);
        transaction.exec_drop(PROMOTION, (&promotion.name, rule.to_string(), now, now)).await?;
    }
    for Coupon { code, name, total_limit, rule } in &coupons {
        transaction.exec_drop(COUPON, (code, name, rule, total_limit, now, now)).await?;
    }
    add_flash_sale(transaction, catalog, &flash_sale, now).await?;
    let currency = variables::from_environment()?.remove("currency").unwrap_or_else(|| "CNY".to_owned());
    for purchase in &purchases {
        for (index, customer) in (0_i64..).zip(&purchase.customers) {
            // An hour apart, so that no two orders have the same time.
            let placed_at = now - purchase.days_ago * DAY_MS + index * 3_600_000;
            add_order(transaction, catalog, customer, &purchase.items, placed_at, &currency).await?;
        }
    }
    Ok(())
}

/// Writes the same rows as the function `seckill`. The function `drain` opens the sale when it is woken next.
async fn add_flash_sale(
    transaction: &mut Transaction<'_>,
    catalog: &Catalog,
    sale: &FlashSale,
    now: i64,
) -> anyhow::Result<()> {
    const SALE: &str = "
        INSERT INTO seckill_activities (product_id, price_cents, stock, per_user_limit, starts_at, ends_at, created_at)
        VALUES (?, ?, ?, 1, ?, ?, ?)";
    const RESERVE: &str = "UPDATE products SET available = available - ?, reserved = reserved + ? WHERE id = ?";
    const JOB: &str =
        "INSERT INTO jobs (queue, state, due_at, payload, created_at) VALUES ('drain', 'queued', ?, ?, ?)";
    let (_, product) = catalog.product(&sale.product)?;
    let starts_at = now + FLASH_SALE_STARTS_AFTER_MS;
    let ends_at = starts_at + sale.days * DAY_MS;
    let values = (product.id, sale.price_cents, sale.stock, starts_at, ends_at, now);
    let activity = database::insert(transaction, SALE, values).await?;
    transaction.exec_drop(RESERVE, (sale.stock, sale.stock, product.id)).await?;
    for (task, due) in [("watch", now), ("close", ends_at)] {
        let payload = json!({ "do": task, "activity_id": activity }).to_string();
        transaction.exec_drop(JOB, (due, payload, now)).await?;
    }
    Ok(())
}

/// The number of an order or payment, in the functions' format.
fn number(at: i64) -> anyhow::Result<String> {
    let random = u128::from_str_radix(&random_hex(10)?, 16)?;
    Ok(Ulid::from_parts(u64::try_from(at)?, random).to_string())
}

/// An order that was paid, shipped and received. It has no discounts, as if the promotions had begun later.
async fn add_order(
    transaction: &mut Transaction<'_>,
    catalog: &Catalog,
    customer: &str,
    items: &[String],
    placed_at: i64,
    currency: &str,
) -> anyhow::Result<()> {
    const ORDER: &str = "
        INSERT INTO orders (order_no, user_id, status, subtotal_cents, discount_cents, total_cents, currency, discounts,
                            created_at, expires_at, paid_at, shipped_at, completed_at, carrier, tracking_no)
        VALUES (?, ?, 'completed', ?, 0, ?, ?, '[]', ?, ?, ?, ?, ?, 'mall', ?)";
    const ITEM: &str = "
        INSERT INTO order_items (order_no, line, product_id, name, price_cents, quantity, amount_cents)
        VALUES (?, ?, ?, ?, ?, ?, ?)";
    const SELL: &str = "UPDATE products SET available = available - ?, sold = sold + ? WHERE id = ?";
    const PAIR: &str = "
        INSERT INTO product_pairs (product_id, other_id, times) VALUES (?, ?, 1)
        ON DUPLICATE KEY UPDATE times = times + 1";
    const PAYMENT: &str = "
        INSERT INTO payments (payment_no, order_no, provider, status, amount_cents, currency, created_at)
        VALUES (?, ?, 'mock', 'succeeded', ?, ?, ?)";
    const LOG: &str = "
        INSERT INTO order_log (order_no, from_status, to_status, cause, actor, user_id, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)";
    let user = find_or_add_customer(transaction, customer, placed_at).await?;
    let order_no = number(placed_at)?;
    let mut lines = Vec::new();
    for item in items {
        let (quantity, beginning) = Purchase::item(item)?;
        let (name, product) = catalog.product(beginning)?;
        lines.push((name, product, quantity));
    }
    let total: i64 = lines.iter().map(|(_, product, quantity)| product.price_cents * quantity).sum();
    let (paid_at, shipped_at, completed_at) = (placed_at + 60_000, placed_at + 120_000, placed_at + 18 * 3_600_000);
    let expires_at = placed_at + 1_800_000;
    let values =
        (&order_no, user, total, total, currency, placed_at, expires_at, paid_at, shipped_at, completed_at, &order_no);
    transaction.exec_drop(ORDER, values).await?;
    for (line, (name, product, quantity)) in (1_i64..).zip(&lines) {
        let amount = product.price_cents * quantity;
        let values = (&order_no, line, product.id, name, product.price_cents, quantity, amount);
        transaction.exec_drop(ITEM, values).await?;
        transaction.exec_drop(SELL, (quantity, quantity, product.id)).await?;
        for (_, other, _) in lines.iter().filter(|(_, other, _)| other.id != product.id) {
            transaction.exec_drop(PAIR, (product.id, other.id)).await?;
        }
    }
    transaction.exec_drop(PAYMENT, (number(paid_at)?, &order_no, total, currency, paid_at)).await?;
    for (from, to, cause, actor, at) in [
        (None, "pending", "placed", "user", placed_at),
        (Some("pending"), "paid", "paid", "user", paid_at),
        (Some("paid"), "shipped", "shipped", "shop", shipped_at),
        (Some("shipped"), "completed", "confirmed", "user", completed_at),
    ] {
        let by = (actor == "user").then_some(user);
        transaction.exec_drop(LOG, (&order_no, from, to, cause, actor, by, at)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_exactly_one_product_and_every_rule_is_json() {
        let read = read().unwrap();
        let products = crate::demo::products::names();
        let matches_one = |beginning: &str| products.iter().filter(|name| name.starts_with(beginning)).count() == 1;
        for item in read.purchase.iter().flat_map(|purchase| &purchase.items).chain([&read.flash_sale.product]) {
            let (_, beginning) = Purchase::item(item).unwrap();
            assert!(matches_one(beginning), "{item}");
        }
        for rule in read.promotion.iter().map(|p| &p.rule).chain(read.coupon.iter().map(|c| &c.rule)) {
            serde_json::from_str::<Value>(rule).unwrap();
        }
    }
}
