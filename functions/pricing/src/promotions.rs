//! Which promotions apply together.

use crate::{
    basket::Basket,
    rule,
    wit::{Error, Promotion, Source},
};

/// The basket with what the shopper gets: all stackable promotions, one after the other, or the one exclusive promotion
/// that takes off more.
pub fn best<'a>(basket: Basket<'a>, promotions: &[Promotion], now: i64) -> Result<Basket<'a>, Error> {
    let mut running = Vec::new();
    for promotion in promotions {
        rule::check(&promotion.rule, &Source::Promotion(promotion.id))?;
        running.extend(rule::in_force(&promotion.rule, now).is_ok().then_some(promotion));
    }
    running.sort_by_key(|promotion| (promotion.priority, promotion.id));
    let with = |mut basket: Basket<'a>, promotion: &Promotion| {
        // One that does not apply is no matter: nobody asked for it.
        let _ = basket.apply(&promotion.rule, Source::Promotion(promotion.id));
        basket
    };
    let (exclusive, stackable): (Vec<_>, Vec<_>) = running.into_iter().partition(|promotion| promotion.exclusive);
    let stacked = stackable.into_iter().fold(basket.clone(), with);
    let alone = exclusive.into_iter().map(|promotion| with(basket.clone(), promotion));
    Ok(alone.fold(stacked, |best, next| if next.discount() > best.discount() { next } else { best }))
}
