//! Prorating an amount over several lines.

use std::cmp::Reverse;

use crate::wit::Line;

/// Prorates `amount` over lines by their weights, with the largest remainder method
/// (<https://en.wikipedia.org/wiki/Largest_remainder_method>); of equal remainders, that of the lower product id is
/// rounded up first. `amount` must not exceed the sum of the weights; then no share exceeds its weight.
pub fn prorate(amount: i64, weights: &[i64], lines: &[Line]) -> Vec<i64> {
    let whole: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
    let parts = weights.iter().map(|weight| {
        // The product of two numbers of 64 bits fits 128.
        let product = i128::from(amount).saturating_mul((*weight).into());
        let share = product.checked_div(whole).and_then(|share| i64::try_from(share).ok()).unwrap_or(0);
        (share, product.checked_rem(whole).unwrap_or(0))
    });
    let (mut shares, remainders): (Vec<i64>, Vec<i128>) = parts.unzip();
    let missing = usize::try_from(amount.saturating_sub(shares.iter().sum())).unwrap_or(0);
    let mut by_remainder: Vec<_> = shares.iter_mut().zip(remainders).zip(lines).collect();
    by_remainder.sort_by_key(|((_, remainder), line)| (Reverse(*remainder), line.product_id));
    for ((share, _), _) in by_remainder.into_iter().take(missing) {
        *share = share.saturating_add(1);
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prorate_over(amount: i64, parts: &[(u64, i64)]) -> Vec<i64> {
        let line = |&(product_id, _): &(u64, i64)| Line { product_id, categories: vec![], unit_price: 0, quantity: 1 };
        let lines: Vec<_> = parts.iter().map(line).collect();
        prorate(amount, &parts.iter().map(|part| part.1).collect::<Vec<_>>(), &lines)
    }

    #[test]
    fn the_largest_remainder_gets_the_odd_cent_then_the_lower_id() {
        assert_eq!(prorate_over(100, &[(3, 100), (1, 100), (2, 100)]), [33, 34, 33]);
        assert_eq!(prorate_over(100, &[(1, 100), (2, 101), (3, 99)]), [33, 34, 33]);
        assert_eq!(prorate_over(1, &[(1, 0), (2, 1)]), [0, 1]);
        assert_eq!(prorate_over(i64::MAX, &[(1, i64::MAX), (2, i64::MAX)]), [i64::MAX / 2 + 1, i64::MAX / 2]);
    }

    proptest! {
        #[test]
        fn shares_sum_to_the_amount_and_none_is_more_than_its_weight(
            weights in prop::collection::vec(0_i64..=100_000_000_000_000, 1..40), part in 0.0_f64..=1.0
        ) {
            let whole: i64 = weights.iter().sum();
            let amount = ((whole as f64 * part) as i64).min(whole);
            let parts: Vec<_> = (1..).zip(weights.iter().copied()).collect();
            let shares = prorate_over(amount, &parts);
            prop_assert_eq!(shares.iter().sum::<i64>(), if whole == 0 { 0 } else { amount });
            for (share, weight) in shares.iter().zip(&weights) {
                prop_assert!((0..=*weight).contains(share), "{share} of {weight}");
                let exact = i128::from(amount) * i128::from(*weight) / i128::from(whole.max(1));
                prop_assert!((i128::from(*share) - exact).abs() <= 1, "{share} instead of {exact}");
            }
        }
    }
}
