//! The lines, and the discounts that rules have given so far.

use crate::{
    rule,
    wit::{Discount, Error, Line, PricedLine, Quote, Refusal, Rule, Share, Source},
};

#[derive(Clone)]
pub struct Basket<'a> {
    lines: &'a [Line],
    amounts: Vec<i64>,
    /// The amount of each line after the discounts so far.
    remaining: Vec<i64>,
    applied: Vec<AppliedRule>,
    subtotal: i64,
}

#[derive(Clone)]
struct AppliedRule {
    source: Source,
    name: String,
    /// The discount of each line.
    shares: Vec<i64>,
}

impl<'a> Basket<'a> {
    pub fn new(lines: &'a [Line]) -> Result<Self, Error> {
        let amounts = lines.iter().map(amount).collect::<Result<Vec<_>, _>>()?;
        let sum = amounts.iter().try_fold(0_i64, |sum, amount| sum.checked_add(*amount));
        // No discount is more than this, so nothing after it can overflow.
        let subtotal = sum.ok_or(Error::Overflow)?;
        Ok(Basket { lines, remaining: amounts.clone(), amounts, applied: Vec::new(), subtotal })
    }

    /// Applies a rule, which must be in force; an error if it gives no discount.
    pub fn apply(&mut self, rule: &Rule, source: Source) -> Result<(), Refusal> {
        let shares = rule::shares(rule, self.lines, &self.remaining)?;
        for (remaining, share) in self.remaining.iter_mut().zip(&shares) {
            *remaining = remaining.saturating_sub(*share);
        }
        self.applied.push(AppliedRule { source, name: rule.name.clone(), shares });
        Ok(())
    }

    /// The total discount.
    pub fn discount(&self) -> i64 {
        self.subtotal.saturating_sub(self.remaining.iter().sum())
    }

    pub fn into_quote(self) -> Result<Quote, Error> {
        let discount = self.discount();
        let total = self.subtotal.checked_sub(discount).ok_or(Error::Overflow)?;
        let lines = self.lines.iter().zip(&self.amounts).enumerate().map(|(at, (line, amount))| {
            let shares = self.applied.iter().filter_map(|applied| {
                let amount = *applied.shares.get(at)?;
                (amount > 0).then_some(Share { source: applied.source, amount })
            });
            PricedLine { product_id: line.product_id, amount: *amount, discounts: shares.collect() }
        });
        let lines = lines.collect();
        let discounts = self.applied.into_iter().map(|applied| {
            let amount = applied.shares.iter().sum();
            Discount { source: applied.source, name: applied.name, amount }
        });
        Ok(Quote { lines, discounts: discounts.collect(), subtotal: self.subtotal, discount, total })
    }
}

fn amount(line: &Line) -> Result<i64, Error> {
    if line.unit_price < 0 {
        return Err(Error::NegativePrice(line.product_id));
    }
    line.unit_price.checked_mul(line.quantity.into()).ok_or(Error::Overflow)
}
