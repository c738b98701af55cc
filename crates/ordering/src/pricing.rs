//! Totals, asked of the component that is composed in under `mall:pricing/engine`.

use kit::{Problem, Result, log};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Cents;

mod wit {
    wit_bindgen::generate!({ world: "priced", path: "../../wit" });
    pub use mall::pricing::engine::*;
}

/// What a promotion or coupon took off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Discount {
    pub name: String,
    pub amount_cents: Cents,
}

/// What the selected items come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Quote {
    pub discounts: Vec<Discount>,
    pub subtotal_cents: Cents,
    pub discount_cents: Cents,
    pub total_cents: Cents,
    /// ISO 4217.
    pub currency: String,
}

/// A product, its price and how many.
pub(crate) struct PricedLine {
    pub product_id: i64,
    pub price_cents: Cents,
    pub quantity: i64,
}

/// The quote, and each line's amount in the lines' order.
pub(crate) fn price(lines: &[PricedLine], currency: &str) -> Result<(Quote, Vec<Cents>)> {
    let asked = lines.iter().map(line).collect::<Result<Vec<_>>>()?;
    let quote = wit::price(&asked).map_err(|error| broken(&format!("{error:?}")))?;
    if quote.lines.len() != lines.len() {
        return Err(broken("it priced other lines than were asked about"));
    }
    let amounts = quote.lines.iter().map(|line| Cents(line.amount)).collect();
    let discounts = quote.discounts.into_iter().map(|d| Discount { name: d.name, amount_cents: Cents(d.amount) });
    let quote = Quote {
        discounts: discounts.collect(),
        subtotal_cents: Cents(quote.subtotal),
        discount_cents: Cents(quote.discount),
        total_cents: Cents(quote.total),
        currency: currency.to_owned(),
    };
    Ok((quote, amounts))
}

fn line(line: &PricedLine) -> Result<wit::Line> {
    let product_id = u64::try_from(line.product_id).map_err(|_| broken("a product id below zero"))?;
    let quantity = u32::try_from(line.quantity).map_err(|_| broken("a quantity that is no quantity"))?;
    Ok(wit::Line { product_id, unit_price: line.price_cents.0, quantity })
}

fn broken(why: &str) -> Problem {
    log::error(None, "the pricing engine", &why);
    Problem::internal()
}
