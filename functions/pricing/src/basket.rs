//! Lines, and what rules have taken off them so far.

use crate::{
    rule,
    wit::{Discount, Error, Line, PricedLine, Quote, Refusal, Rule, Share, Source},
};

#[derive(Clone)]
pub struct Basket<'a> {
    lines: &'a [Line],
    amounts: Vec<i64>,
    /// What is left of each line.
    left: Vec<i64>,
    taken: Vec<Taken>,
    subtotal: i64,
}

#[derive(Clone)]
struct Taken {
    source: Source,
    name: String,
    /// Off each line.
    shares: Vec<i64>,
}

impl<'a> Basket<'a> {
    pub fn new(lines: &'a [Line]) -> Result<Self, Error> {
        let amounts = lines.iter().map(amount).collect::<Result<Vec<_>, _>>()?;
        let sum = amounts.iter().try_fold(0_i64, |sum, amount| sum.checked_add(*amount));
        // What is taken off is never more than this, so nothing after it can overflow.
        let subtotal = sum.ok_or(Error::Overflow)?;
        Ok(Basket { lines, left: amounts.clone(), amounts, taken: Vec::new(), subtotal })
    }

    /// Takes off what the rule says, which must be in force; or says why that is nothing.
    pub fn apply(&mut self, rule: &Rule, source: Source) -> Result<(), Refusal> {
        let shares = rule::shares(rule, self.lines, &self.left)?;
        for (left, share) in self.left.iter_mut().zip(&shares) {
            *left = left.saturating_sub(*share);
        }
        self.taken.push(Taken { source, name: rule.name.clone(), shares });
        Ok(())
    }

    /// What was taken off in all.
    pub fn discount(&self) -> i64 {
        self.subtotal.saturating_sub(self.left.iter().sum())
    }

    pub fn into_quote(self) -> Result<Quote, Error> {
        let discount = self.discount();
        let total = self.subtotal.checked_sub(discount).ok_or(Error::Overflow)?;
        let lines = self.lines.iter().zip(&self.amounts).enumerate().map(|(at, (line, amount))| {
            let shares = self.taken.iter().filter_map(|taken| {
                let amount = *taken.shares.get(at)?;
                (amount > 0).then_some(Share { source: taken.source, amount })
            });
            PricedLine { product_id: line.product_id, amount: *amount, discounts: shares.collect() }
        });
        let lines = lines.collect();
        let discounts = self.taken.into_iter().map(|taken| {
            let amount = taken.shares.iter().sum();
            Discount { source: taken.source, name: taken.name, amount }
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
