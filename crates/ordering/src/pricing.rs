//! Totals, asked of the component that is composed in under `mall:pricing/engine`.

use kit::{Problem, Result, Timestamp, log};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Cents,
    categories::Categories,
    coupon::{Usable, refused},
};

pub(crate) mod wit {
    wit_bindgen::generate!({ world: "priced", path: "../../wit" });
    pub use mall::pricing::engine::*;
}

/// What a promotion or coupon took off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Discount {
    pub name: String,
    pub amount_cents: Cents,
    /// The promotion that gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub promotion_id: Option<i64>,
    /// The coupon that gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub coupon_code: Option<String>,
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
    pub categories: Categories,
    pub price_cents: Cents,
    pub quantity: i64,
}

/// What prices depend on beside the lines.
pub(crate) struct Terms<'a> {
    pub user_id: i64,
    pub promotions: &'a [wit::Promotion],
    pub coupon: Option<&'a Usable>,
    pub currency: &'a str,
}

/// What a line comes to, and its part of the discounts.
pub(crate) struct LinePrice {
    pub amount_cents: Cents,
    pub discount_cents: Cents,
}

/// The quote, and each line's part in the lines' order; 409 `coupon_invalid` if there is a coupon that does not apply.
pub(crate) fn price(lines: Vec<PricedLine>, terms: &Terms<'_>) -> Result<(Quote, Vec<LinePrice>)> {
    let asked = lines.into_iter().map(line).collect::<Result<Vec<_>>>()?;
    let customer = u64::try_from(terms.user_id).map_err(|_| broken("a user id below zero"))?;
    let coupon = terms.coupon.map(Usable::to_wit);
    let quote = wit::price(customer, &asked, terms.promotions, coupon.as_ref(), Timestamp::now().0)
        .map_err(|error| not_priced(&error))?;
    if !adds_up(&asked, &quote) {
        return Err(broken("its sums don't add up"));
    }
    let code = coupon.map(|coupon| coupon.code);
    let prices = quote.lines.iter().map(|line| LinePrice {
        amount_cents: Cents(line.amount),
        discount_cents: Cents(line.discounts.iter().map(|share| share.amount).sum()),
    });
    let prices = prices.collect();
    let discounts = quote.discounts.into_iter().map(|discount| Discount {
        name: discount.name,
        amount_cents: Cents(discount.amount),
        promotion_id: match discount.source {
            wit::Source::Promotion(id) => i64::try_from(id).ok(),
            wit::Source::Coupon | wit::Source::Engine => None,
        },
        coupon_code: code.clone().filter(|_| matches!(discount.source, wit::Source::Coupon)),
    });
    let quote = Quote {
        discounts: discounts.collect(),
        subtotal_cents: Cents(quote.subtotal),
        discount_cents: Cents(quote.discount),
        total_cents: Cents(quote.total),
        currency: terms.currency.to_owned(),
    };
    Ok((quote, prices))
}

fn line(line: PricedLine) -> Result<wit::Line> {
    let product_id = u64::try_from(line.product_id).map_err(|_| broken("a product id below zero"))?;
    let quantity = u32::try_from(line.quantity).map_err(|_| broken("a quantity that is no quantity"))?;
    Ok(wit::Line { product_id, categories: line.categories.0, unit_price: line.price_cents.0, quantity })
}

/// A shop may have an engine of its own: what it answers is held to what the contract says of it.
fn adds_up(asked: &[wit::Line], quote: &wit::Quote) -> bool {
    let off = |line: &wit::PricedLine| sum(line.discounts.iter().map(|share| share.amount));
    let line_fits = |(asked, line): (&wit::Line, &wit::PricedLine)| {
        line.product_id == asked.product_id
            && asked.unit_price.checked_mul(asked.quantity.into()) == Some(line.amount)
            && off(line).is_some_and(|off| off <= line.amount)
    };
    quote.lines.len() == asked.len()
        && asked.iter().zip(&quote.lines).all(line_fits)
        && sum(quote.lines.iter().map(|line| line.amount)) == Some(quote.subtotal)
        && sum(quote.lines.iter().filter_map(off)) == Some(quote.discount)
        && sum(quote.discounts.iter().map(|discount| discount.amount)) == Some(quote.discount)
        && quote.subtotal.checked_sub(quote.discount) == Some(quote.total)
}

/// None if an amount is negative, or they don't fit 64 bits.
fn sum(mut amounts: impl Iterator<Item = i64>) -> Option<i64> {
    amounts.try_fold(0_i64, |sum, amount| sum.checked_add(amount).filter(|_| amount >= 0))
}

fn not_priced(error: &wit::Error) -> Problem {
    use wit::Refusal;
    let wit::Error::CouponRefused(refusal) = error else { return broken(&format!("{error:?}")) };
    refused(match refusal {
        Refusal::NotStarted => "The coupon can't be used yet",
        Refusal::Ended => "The coupon is over",
        Refusal::OutOfScope => "The coupon is for nothing that is bought",
        Refusal::BelowMinimum => "What the coupon is for comes to less than its minimum",
        Refusal::NoEffect => "The coupon would take nothing off",
    })
}

fn broken(why: &str) -> Problem {
    log::error(None, "the pricing engine", &why);
    Problem::internal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_can_t_count_is_not_believed() {
        let asked = [wit::Line { product_id: 1, categories: vec![], unit_price: 100, quantity: 3 }];
        let share = wit::Share { source: wit::Source::Engine, amount: 30 };
        let line = wit::PricedLine { product_id: 1, amount: 300, discounts: vec![share] };
        let discount = wit::Discount { source: wit::Source::Engine, name: "less".to_owned(), amount: 30 };
        let right = || wit::Quote {
            lines: vec![line.clone()],
            discounts: vec![discount.clone()],
            subtotal: 300,
            discount: 30,
            total: 270,
        };
        assert!(adds_up(&asked, &right()));
        let wrong: [fn(&mut wit::Quote); 8] = [
            |quote| quote.total = 271,
            |quote| quote.subtotal = 299,
            |quote| quote.discount = 29,
            |quote| quote.lines.clear(),
            |quote| quote.lines.iter_mut().for_each(|line| line.amount = 299),
            |quote| quote.lines.iter_mut().for_each(|line| line.product_id = 2),
            |quote| quote.lines.iter_mut().flat_map(|line| &mut line.discounts).for_each(|share| share.amount = -30),
            |quote| quote.discounts.clear(),
        ];
        for spoil in wrong {
            let mut quote = right();
            spoil(&mut quote);
            assert!(!adds_up(&asked, &quote), "{quote:?}");
        }
    }
}
