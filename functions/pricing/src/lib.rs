//! The pricing engine, `mall:pricing/engine` of `wit/pricing.wit`: the sum of the lines, less the discounts of
//! promotions and a coupon.
// Arithmetic on money and stock must not overflow.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod basket;
mod promotions;
#[cfg(test)]
mod properties;
mod prorate;
mod rule;
mod wit;

use basket::Basket;
use wit::{Coupon, Error, Guest, Line, Promotion, Quote, Source};

struct Engine;

#[cfg(target_family = "wasm")]
wit::export!(Engine with_types_in wit);

impl Guest for Engine {
    fn price(
        _customer: u64,
        lines: Vec<Line>,
        promotions: Vec<Promotion>,
        coupon: Option<Coupon>,
        now: i64,
    ) -> Result<Quote, Error> {
        let mut basket = promotions::apply(Basket::new(&lines)?, &promotions, now)?;
        if let Some(coupon) = &coupon {
            rule::check(&coupon.rule, &Source::Coupon)?;
            rule::in_force(&coupon.rule, now).map_err(Error::CouponRefused)?;
            basket.apply(&coupon.rule, Source::Coupon).map_err(Error::CouponRefused)?;
        }
        basket.into_quote()
    }
}
