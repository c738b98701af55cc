//! An example of another pricing engine: 1.00 off every piece, whatever promotions there are, and no coupons.
#![no_std]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

extern crate alloc;

use alloc::{string::ToString, vec::Vec};

#[allow(clippy::all, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used)]
mod wit {
    wit_bindgen::generate!({ world: "pricing", path: "../../wit/pricing.wit" });
    pub use exports::mall::pricing::engine::*;
}

use wit::{Coupon, Discount, Error, Line, PricedLine, Promotion, Quote, Refusal, Share, Source};

const DISCOUNT_PER_PIECE: i64 = 100;

struct Flat;

#[cfg(target_family = "wasm")]
wit::export!(Flat with_types_in wit);

impl wit::Guest for Flat {
    fn price(_: u64, lines: Vec<Line>, _: Vec<Promotion>, coupon: Option<Coupon>, _: i64) -> Result<Quote, Error> {
        if coupon.is_some() {
            return Err(Error::CouponRefused(Refusal::NoEffect));
        }
        let (mut subtotal, mut discount, mut priced) = (0_i64, 0_i64, Vec::new());
        for Line { product_id, unit_price, quantity, .. } in lines {
            if unit_price < 0 {
                return Err(Error::NegativePrice(product_id));
            }
            let times = |amount: i64| amount.checked_mul(quantity.into()).ok_or(Error::Overflow);
            let (amount, off) = (times(unit_price)?, times(unit_price.min(DISCOUNT_PER_PIECE))?);
            subtotal = subtotal.checked_add(amount).ok_or(Error::Overflow)?;
            discount = discount.checked_add(off).ok_or(Error::Overflow)?;
            let share = (off > 0).then_some(Share { source: Source::Engine, amount: off });
            priced.push(PricedLine { product_id, amount, discounts: share.into_iter().collect() });
        }
        let flat = Discount { source: Source::Engine, name: "1.00 off every piece".to_string(), amount: discount };
        Ok(Quote {
            lines: priced,
            discounts: if discount > 0 { Vec::from([flat]) } else { Vec::new() },
            subtotal,
            discount,
            total: subtotal.checked_sub(discount).ok_or(Error::Overflow)?,
        })
    }
}
