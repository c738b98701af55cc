//! What a cart or an order comes to: the sum of its lines. There are no promotions yet.
// Money and stock are counted here.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

// What wit-bindgen writes is not held to the rules for what we write.
#[allow(clippy::all, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used)]
mod wit {
    wit_bindgen::generate!({ world: "pricing", path: "../../wit" });
}

use wit::exports::mall::pricing::engine::{Error, Guest, Line, PricedLine, Quote};

struct Sums;

#[cfg(target_family = "wasm")]
wit::export!(Sums with_types_in wit);

impl Guest for Sums {
    fn price(lines: Vec<Line>) -> Result<Quote, Error> {
        let lines = lines.iter().map(priced).collect::<Result<Vec<_>, _>>()?;
        let sum = lines.iter().try_fold(0_i64, |sum, line| sum.checked_add(line.amount));
        let subtotal = sum.ok_or(Error::Overflow)?;
        Ok(Quote { lines, discounts: Vec::new(), subtotal, discount: 0, total: subtotal })
    }
}

fn priced(line: &Line) -> Result<PricedLine, Error> {
    if line.unit_price < 0 {
        return Err(Error::NegativePrice(line.product_id));
    }
    let amount = line.unit_price.checked_mul(line.quantity.into()).ok_or(Error::Overflow)?;
    Ok(PricedLine { product_id: line.product_id, amount })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(product_id: u64, unit_price: i64, quantity: u32) -> Line {
        Line { product_id, unit_price, quantity }
    }

    proptest! {
        #[test]
        fn the_total_is_the_sum_of_price_times_quantity(
            lines in prop::collection::vec((1_u64..1000, 0_i64..=100_000_000_000, 1_u32..=999), 0..100)
        ) {
            let expected: i64 = lines.iter().map(|&(_, price, quantity)| price * i64::from(quantity)).sum();
            let quote = Sums::price(lines.iter().map(|&(id, price, quantity)| line(id, price, quantity)).collect()).unwrap();
            prop_assert_eq!((quote.subtotal, quote.discount, quote.total), (expected, 0, expected));
            prop_assert_eq!(quote.lines.iter().map(|line| line.amount).sum::<i64>(), expected);
        }
    }

    #[test]
    fn refuses_what_no_price_list_has() {
        assert!(matches!(Sums::price(vec![line(7, -1, 1)]), Err(Error::NegativePrice(7))));
        assert!(matches!(Sums::price(vec![line(7, i64::MAX, 2)]), Err(Error::Overflow)));
        assert!(matches!(Sums::price(vec![line(7, i64::MAX, 1), line(8, 1, 1)]), Err(Error::Overflow)));
    }
}
