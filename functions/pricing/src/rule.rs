//! The discount of a single rule.

use std::cmp::Reverse;

use crate::{
    prorate::prorate,
    wit::{Effect, Error, Line, NthItem, Refusal, Rule, Source},
};

/// `bad-rule` if a number of the rule is out of range.
pub fn check(rule: &Rule, source: &Source) -> Result<(), Error> {
    let is_valid = match &rule.effect {
        Effect::AmountOff(off) => off.amount >= 0,
        Effect::PercentOff(off) => off.percent <= 100 && off.cap.is_none_or(|cap| cap >= 0),
        Effect::NthItem(item) => item.percent <= 100 && item.nth > 0,
    };
    if is_valid && rule.minimum >= 0 { Ok(()) } else { Err(Error::BadRule(*source)) }
}

pub fn in_force(rule: &Rule, now: i64) -> Result<(), Refusal> {
    if rule.starts_at.is_some_and(|start| now < start) {
        return Err(Refusal::NotStarted);
    }
    if rule.ends_at.is_some_and(|end| now >= end) {
        return Err(Refusal::Ended);
    }
    Ok(())
}

/// The discount of each line, whose remaining amounts are `remaining`. The total is more than zero, and no discount is
/// more than what remains of its line.
pub fn shares(rule: &Rule, lines: &[Line], remaining: &[i64]) -> Result<Vec<i64>, Refusal> {
    if !lines.iter().any(|line| in_scope(rule, line)) {
        return Err(Refusal::OutOfScope);
    }
    let base = lines.iter().zip(remaining).map(|(line, remaining)| if in_scope(rule, line) { *remaining } else { 0 });
    let base: Vec<i64> = base.collect();
    let sum = sum(&base);
    if sum < rule.minimum.into() {
        return Err(Refusal::BelowMinimum);
    }
    let (amount, weights) = match &rule.effect {
        Effect::AmountOff(off) => {
            let times = if off.repeating { sum.checked_div(rule.minimum.into()).unwrap_or(1) } else { 1 };
            (times.saturating_mul(off.amount.into()).min(sum), base)
        }
        Effect::PercentOff(off) => (percent(sum, off.percent).min(off.cap.unwrap_or(i64::MAX).into()), base),
        Effect::NthItem(item) => {
            let weights = nth_pieces(item, lines, &base);
            (percent(self::sum(&weights), item.percent), weights)
        }
    };
    match i64::try_from(amount) {
        Ok(amount) if amount > 0 => Ok(prorate(amount, &weights, lines)),
        _ => Err(Refusal::NoEffect),
    }
}

fn in_scope(rule: &Rule, line: &Line) -> bool {
    (rule.categories.is_empty() && rule.products.is_empty())
        || rule.products.contains(&line.product_id)
        || line.categories.iter().any(|category| rule.categories.contains(category))
}

/// The sum of amounts that fit 64 bits each.
fn sum(amounts: &[i64]) -> i128 {
    amounts.iter().map(|amount| i128::from(*amount)).sum()
}

fn percent(of: i128, percent: u32) -> i128 {
    of.saturating_mul(percent.into()) / 100
}

/// The amount of the nth pieces in each line.
fn nth_pieces(item: &NthItem, lines: &[Line], base: &[i64]) -> Vec<i64> {
    let mut most_expensive_first: Vec<_> =
        lines.iter().zip(base).enumerate().filter(|(_, (_, base))| **base > 0).collect();
    most_expensive_first.sort_by_key(|(_, (line, _))| (Reverse(line.unit_price), line.product_id));
    let (nth, mut counted) = (u64::from(item.nth), 0_u64);
    let mut weights = vec![0; lines.len()];
    for (at, (line, base)) in most_expensive_first {
        let before = counted.checked_div(nth).unwrap_or(0);
        counted = counted.saturating_add(line.quantity.into());
        let count = counted.checked_div(nth).unwrap_or(0).saturating_sub(before);
        // Each piece has an equal part of its line's remaining amount, rounded down.
        let piece = base.checked_div(line.quantity.into()).unwrap_or(0);
        if let (Some(weight), Ok(count)) = (weights.get_mut(at), i64::try_from(count)) {
            *weight = piece.saturating_mul(count);
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wit::{AmountOff, PercentOff};

    fn line(product_id: u64, categories: &[u64], unit_price: i64, quantity: u32) -> Line {
        Line { product_id, categories: categories.into(), unit_price, quantity }
    }

    fn rule(effect: Effect) -> Rule {
        let name = "a rule".to_owned();
        Rule { name, effect, minimum: 0, categories: vec![], products: vec![], starts_at: None, ends_at: None }
    }

    fn discounts(rule: &Rule, lines: &[Line]) -> Result<Vec<i64>, Refusal> {
        let remaining: Vec<_> = lines.iter().map(|line| line.unit_price * i64::from(line.quantity)).collect();
        shares(rule, lines, &remaining)
    }

    fn amount_off(minimum: i64, amount: i64, repeating: bool) -> Rule {
        Rule { minimum, ..rule(Effect::AmountOff(AmountOff { amount, repeating })) }
    }

    fn nth_item(nth: u32, percent: u32) -> Rule {
        rule(Effect::NthItem(NthItem { nth, percent }))
    }

    #[test]
    fn an_amount_is_taken_off_from_the_minimum_on() {
        let once = amount_off(10_000, 2_000, false);
        assert_eq!(discounts(&once, &[line(1, &[], 9_999, 1)]), Err(Refusal::BelowMinimum));
        assert_eq!(discounts(&once, &[line(1, &[], 10_000, 1)]), Ok(vec![2_000]));
        assert_eq!(discounts(&once, &[line(1, &[], 10_000, 3)]), Ok(vec![2_000]));
        let repeating = amount_off(10_000, 2_000, true);
        assert_eq!(discounts(&repeating, &[line(1, &[], 10_000, 1), line(2, &[], 9_999, 2)]), Ok(vec![1_333, 2_667]));
        // Without a minimum there is nothing to count repetitions by.
        assert_eq!(discounts(&amount_off(0, 300, true), &[line(1, &[], 1_000, 1)]), Ok(vec![300]));
        assert_eq!(
            discounts(&amount_off(0, 300, false), &[line(1, &[], 200, 1)]),
            Ok(vec![200]),
            "no more than it costs"
        );
    }

    #[test]
    fn a_percentage_is_rounded_down_and_capped() {
        let off = |percent, cap| rule(Effect::PercentOff(PercentOff { percent, cap }));
        assert_eq!(discounts(&off(15, None), &[line(1, &[], 333, 1)]), Ok(vec![49]));
        assert_eq!(discounts(&off(15, Some(30)), &[line(1, &[], 333, 1)]), Ok(vec![30]));
        assert_eq!(discounts(&off(100, None), &[line(1, &[], 333, 2)]), Ok(vec![666]));
        assert_eq!(discounts(&off(1, None), &[line(1, &[], 99, 1)]), Err(Refusal::NoEffect));
    }

    #[test]
    fn nth_pieces_are_counted_from_the_most_expensive() {
        let lines = [line(1, &[], 300, 1), line(2, &[], 1_000, 2), line(3, &[], 500, 2)];
        // 1000 1000* 500 500* 300
        assert_eq!(discounts(&nth_item(2, 100), &lines), Ok(vec![0, 1_000, 500]));
        // 1000 1000 500* 500 300
        assert_eq!(discounts(&nth_item(3, 50), &lines), Ok(vec![0, 0, 250]));
        assert_eq!(discounts(&nth_item(2, 100), &lines[..1]), Err(Refusal::NoEffect));
        // 1000 300*
        assert_eq!(discounts(&nth_item(2, 100), &[line(1, &[], 300, 1), line(2, &[], 1_000, 1)]), Ok(vec![300, 0]));
    }

    #[test]
    fn scope_is_products_and_categories() {
        let lines = [line(1, &[7, 5], 100, 1), line(2, &[5], 100, 1), line(3, &[], 100, 1)];
        let scoped = |categories: &[u64], products: &[u64]| {
            let rule = Rule { categories: categories.into(), products: products.into(), ..amount_off(0, 1_000, false) };
            discounts(&rule, &lines)
        };
        assert_eq!(scoped(&[], &[]), Ok(vec![100, 100, 100]));
        assert_eq!(scoped(&[5], &[]), Ok(vec![100, 100, 0]));
        assert_eq!(scoped(&[7], &[3]), Ok(vec![100, 0, 100]));
        assert_eq!(scoped(&[8], &[]), Err(Refusal::OutOfScope));
    }

    #[test]
    fn a_period_includes_its_start_but_not_its_end() {
        let rule = Rule { starts_at: Some(10), ends_at: Some(20), ..amount_off(0, 1, false) };
        assert_eq!(in_force(&rule, 9), Err(Refusal::NotStarted));
        assert_eq!((in_force(&rule, 10), in_force(&rule, 19)), (Ok(()), Ok(())));
        assert_eq!(in_force(&rule, 20), Err(Refusal::Ended));
    }

    #[test]
    fn an_invalid_rule_is_an_error() {
        let bad = [
            amount_off(-1, 1, false),
            amount_off(0, -1, false),
            nth_item(0, 50),
            nth_item(2, 101),
            rule(Effect::PercentOff(PercentOff { percent: 101, cap: None })),
            rule(Effect::PercentOff(PercentOff { percent: 1, cap: Some(-1) })),
        ];
        for rule in bad {
            assert!(matches!(check(&rule, &Source::Coupon), Err(Error::BadRule(Source::Coupon))), "{rule:?}");
        }
        assert!(check(&amount_off(0, 0, true), &Source::Coupon).is_ok());
    }
}
