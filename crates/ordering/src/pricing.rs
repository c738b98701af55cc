//! Prices, calculated by the component that is composed in as `mall:pricing/engine`.

use i18n::CouponRefusal;
use kit::{Cents, Problem, ProductId, PromotionId, Timestamp, UserId};
use products::CategoryPath;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{coupon::Redeemable, engine};

/// What a promotion or coupon took off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Discount {
    #[schema(example = "Spend 100, get 20 off")]
    pub name: String,
    pub amount_cents: Cents,
    /// The promotion that gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub promotion_id: Option<PromotionId>,
    /// The coupon that gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "WELCOME10")]
    pub coupon_code: Option<String>,
}

/// What the selected items cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Quote {
    pub discounts: Vec<Discount>,
    pub subtotal_cents: Cents,
    pub discount_cents: Cents,
    pub total_cents: Cents,
    /// ISO 4217.
    #[schema(pattern = "^[A-Z]{3}$", example = "CNY")]
    pub currency: String,
}

/// A line to be priced.
pub(crate) struct PricedLine {
    pub product_id: ProductId,
    pub categories: CategoryPath,
    pub price_cents: Cents,
    pub quantity: i64,
}

/// What the price depends on besides the lines.
pub(crate) struct Terms<'a> {
    pub user_id: UserId,
    pub promotions: &'a [engine::Promotion],
    pub coupon: Option<&'a Redeemable>,
    pub currency: &'a str,
}

/// What a line costs, and its share of the discounts.
pub(crate) struct LinePrice {
    pub amount_cents: Cents,
    pub discount_cents: Cents,
}

/// Why the lines could not be priced.
pub(crate) enum Error {
    /// The coupon does not apply.
    Coupon(CouponRefusal),
    Other(Problem),
}

/// The quote, and each line's price in the order of the lines.
pub(crate) fn price(lines: Vec<PricedLine>, terms: &Terms<'_>) -> Result<(Quote, Vec<LinePrice>), Error> {
    let requested = lines.into_iter().map(line).collect::<Result<Vec<_>, _>>()?;
    let coupon = terms.coupon.map(Redeemable::to_engine);
    let quote = engine::price(terms.user_id.into(), &requested, terms.promotions, coupon.as_ref(), Timestamp::now().0)
        .map_err(|error| pricing_error(&error))?;
    if !adds_up(&requested, &quote) {
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
            engine::Source::Promotion(id) => i64::try_from(id).ok().and_then(|id| id.try_into().ok()),
            engine::Source::Coupon | engine::Source::Engine => None,
        },
        coupon_code: code.clone().filter(|_| matches!(discount.source, engine::Source::Coupon)),
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

fn line(line: PricedLine) -> Result<engine::Line, Error> {
    let quantity = u32::try_from(line.quantity).map_err(|_| broken("the quantity is out of range"))?;
    Ok(engine::Line {
        product_id: line.product_id.into(),
        categories: line.categories.0,
        unit_price: line.price_cents.0,
        quantity,
    })
}

/// A shop may replace the engine, so the totals are checked against the contract of `wit/pricing.wit`.
fn adds_up(requested: &[engine::Line], quote: &engine::Quote) -> bool {
    let discount_of = |line: &engine::PricedLine| sum(line.discounts.iter().map(|share| share.amount));
    let line_fits = |(requested, line): (&engine::Line, &engine::PricedLine)| {
        line.product_id == requested.product_id
            && requested.unit_price.checked_mul(requested.quantity.into()) == Some(line.amount)
            && discount_of(line).is_some_and(|discount| discount <= line.amount)
    };
    quote.lines.len() == requested.len()
        && requested.iter().zip(&quote.lines).all(line_fits)
        && sum(quote.lines.iter().map(|line| line.amount)) == Some(quote.subtotal)
        && sum(quote.lines.iter().filter_map(discount_of)) == Some(quote.discount)
        && sum(quote.discounts.iter().map(|discount| discount.amount)) == Some(quote.discount)
        && quote.subtotal.checked_sub(quote.discount) == Some(quote.total)
}

/// The sum; none if an amount is negative, or it does not fit 64 bits.
fn sum(mut amounts: impl Iterator<Item = i64>) -> Option<i64> {
    amounts.try_fold(0_i64, |sum, amount| sum.checked_add(amount).filter(|_| amount >= 0))
}

fn pricing_error(error: &engine::Error) -> Error {
    use engine::Refusal;
    let engine::Error::CouponRefused(refusal) = error else { return broken(&format!("{error:?}")) };
    Error::Coupon(match refusal {
        Refusal::NotStarted => CouponRefusal::NotStarted,
        Refusal::Ended => CouponRefusal::Ended,
        Refusal::OutOfScope => CouponRefusal::OutOfScope,
        Refusal::BelowMinimum => CouponRefusal::BelowMinimum,
        Refusal::NoEffect => CouponRefusal::NoEffect,
    })
}

fn broken(why: &str) -> Error {
    Error::Other(Problem::internal().because(format!("the pricing engine: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_that_do_not_add_up_are_refused() {
        let requested = [engine::Line { product_id: 1, categories: vec![], unit_price: 100, quantity: 3 }];
        let share = engine::Share { source: engine::Source::Engine, amount: 30 };
        let line = engine::PricedLine { product_id: 1, amount: 300, discounts: vec![share] };
        let discount = engine::Discount { source: engine::Source::Engine, name: "less".to_owned(), amount: 30 };
        let right = || engine::Quote {
            lines: vec![line.clone()],
            discounts: vec![discount.clone()],
            subtotal: 300,
            discount: 30,
            total: 270,
        };
        assert!(adds_up(&requested, &right()));
        let wrong: [fn(&mut engine::Quote); 8] = [
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
            assert!(!adds_up(&requested, &quote), "{quote:?}");
        }
    }
}
