//! What a cart or an order comes to: the sum of its lines, less what promotions and a coupon take off.
// Arithmetic on money and stock must not overflow.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod basket;
#[cfg(test)]
mod laws;
mod rule;
mod spread;
mod stack;

// What wit-bindgen writes is not held to the rules for what we write.
#[allow(clippy::all, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used)]
mod wit {
    wit_bindgen::generate!({ world: "pricing", path: "../../wit" });
    pub use exports::mall::pricing::engine::*;
}

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
        let mut basket = stack::best(Basket::new(&lines)?, &promotions, now)?;
        if let Some(coupon) = &coupon {
            rule::check(&coupon.rule, &Source::Coupon)?;
            rule::in_force(&coupon.rule, now).map_err(Error::CouponRefused)?;
            basket.apply(&coupon.rule, Source::Coupon).map_err(Error::CouponRefused)?;
        }
        basket.into_quote()
    }
}
