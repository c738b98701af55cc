//! Which promotions apply.

use crate::{
    basket::Basket,
    rule,
    wit::{Error, Promotion, Source},
};

/// Applies promotions to a basket: all stackable ones one after the other, or a single exclusive one, if that gives a
/// greater discount.
pub fn apply<'a>(basket: Basket<'a>, promotions: &[Promotion], now: i64) -> Result<Basket<'a>, Error> {
    let mut active = Vec::new();
    for promotion in promotions {
        rule::check(&promotion.rule, &Source::Promotion(promotion.id))?;
        active.extend(rule::in_force(&promotion.rule, now).is_ok().then_some(promotion));
    }
    active.sort_by_key(|promotion| (promotion.priority, promotion.id));
    let with = |mut basket: Basket<'a>, promotion: &Promotion| {
        // A promotion that does not apply is skipped.
        let _ = basket.apply(&promotion.rule, Source::Promotion(promotion.id));
        basket
    };
    let (exclusive, stackable): (Vec<_>, Vec<_>) = active.into_iter().partition(|promotion| promotion.exclusive);
    let all_stackable = stackable.into_iter().fold(basket.clone(), with);
    let each_exclusive = exclusive.into_iter().map(|promotion| with(basket.clone(), promotion));
    Ok(each_exclusive.fold(all_stackable, |best, next| if next.discount() > best.discount() { next } else { best }))
}
