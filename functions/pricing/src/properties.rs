//! Property tests: what holds for every cart and every set of promotions.

use proptest::{prelude::*, sample::subsequence};

use crate::{
    Engine,
    wit::{
        AmountOff, Coupon, Effect, Error, Guest, Line, NthItem, PercentOff, Promotion, Quote, Refusal, Rule, Source,
    },
};

const NOW: i64 = 1_000;

fn price(lines: &[Line], promotions: &[Promotion], coupon: Option<&Coupon>) -> Result<Quote, Error> {
    Engine::price(1, lines.into(), promotions.into(), coupon.cloned(), NOW)
}

fn line(product_id: u64, unit_price: i64, quantity: u32) -> Line {
    // One of three categories, and one of two parent categories.
    Line { product_id, categories: vec![product_id % 3, 10 + product_id % 2], unit_price, quantity }
}

fn lines() -> impl Strategy<Value = Vec<Line>> {
    let price = prop_oneof![0_i64..50, 1_i64..100_000, Just(100_000_000_000)];
    let part = (price, 1_u32..=999);
    prop::collection::vec(part, 0..8)
        .prop_map(|parts| (1..).zip(parts).map(|(id, (price, quantity))| line(id, price, quantity)).collect())
}

fn effect() -> impl Strategy<Value = Effect> {
    prop_oneof![
        (1_i64..50_000, any::<bool>())
            .prop_map(|(amount, repeating)| Effect::AmountOff(AmountOff { amount, repeating })),
        (1_u32..=100, prop::option::of(1_i64..5_000))
            .prop_map(|(percent, cap)| Effect::PercentOff(PercentOff { percent, cap })),
        (1_u32..6, 1_u32..=100).prop_map(|(nth, percent)| Effect::NthItem(NthItem { nth, percent })),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let categories = subsequence(vec![0, 1, 2, 10, 11], 0..3);
    let products = subsequence((1..8).collect::<Vec<_>>(), 0..3);
    let time = || prop::option::weighted(0.2, 500_i64..1_500);
    (effect(), prop_oneof![Just(0), 1_i64..200_000], categories, products, time(), time()).prop_map(
        |(effect, minimum, categories, products, starts_at, ends_at)| Rule {
            name: "a rule".to_owned(),
            effect,
            minimum,
            categories,
            products,
            starts_at,
            ends_at,
        },
    )
}

fn promotions() -> impl Strategy<Value = Vec<Promotion>> {
    prop::collection::vec((rule(), any::<bool>(), -2_i32..2), 0..6).prop_map(|parts| {
        let promotion = |(id, (rule, exclusive, priority))| Promotion { id, rule, exclusive, priority };
        (1..).zip(parts).map(promotion).collect()
    })
}

fn coupon() -> impl Strategy<Value = Option<Coupon>> {
    prop::option::of(rule().prop_map(|rule| Coupon { code: "SAVE".to_owned(), rule }))
}

/// The quote; without the coupon if it does not apply.
fn priced(lines: &[Line], promotions: &[Promotion], coupon: Option<&Coupon>) -> Quote {
    match price(lines, promotions, coupon) {
        Err(Error::CouponRefused(_)) => price(lines, promotions, None).unwrap(),
        other => other.unwrap(),
    }
}

/// The parts of a quote that do not depend on the order of the lines.
fn comparable(quote: &Quote) -> (Vec<String>, Vec<String>, i64) {
    let mut lines: Vec<_> = quote.lines.iter().map(|line| format!("{line:?}")).collect();
    lines.sort();
    (lines, quote.discounts.iter().map(|discount| format!("{discount:?}")).collect(), quote.total)
}

fn promotion(rule: Rule) -> [Promotion; 1] {
    [Promotion { id: 1, rule, exclusive: false, priority: 0 }]
}

proptest! {
    #[test]
    fn amounts_and_discounts_add_up(lines in lines(), promotions in promotions(), coupon in coupon()) {
        let quote = priced(&lines, &promotions, coupon.as_ref());
        let amounts: i64 = lines.iter().map(|line| line.unit_price * i64::from(line.quantity)).sum();
        prop_assert_eq!(quote.subtotal, amounts);
        prop_assert_eq!(quote.total, quote.subtotal - quote.discount);
        prop_assert!(quote.total >= 0);
        prop_assert_eq!(quote.discount, quote.discounts.iter().map(|discount| discount.amount).sum::<i64>());
        for discount in &quote.discounts {
            let shares = quote.lines.iter().flat_map(|line| &line.discounts);
            let shares_of_it = shares.filter(|share| format!("{:?}", share.source) == format!("{:?}", discount.source));
            prop_assert_eq!(shares_of_it.map(|share| share.amount).sum::<i64>(), discount.amount);
            prop_assert!(discount.amount > 0);
        }
        for (line, requested) in quote.lines.iter().zip(&lines) {
            prop_assert_eq!(line.amount, requested.unit_price * i64::from(requested.quantity));
            let off: i64 = line.discounts.iter().map(|share| share.amount).sum();
            prop_assert!(line.discounts.iter().all(|share| share.amount > 0) && off <= line.amount);
        }
    }

    #[test]
    fn the_order_of_lines_and_promotions_does_not_matter(
        (lines, shuffled) in lines().prop_flat_map(|lines| (Just(lines.clone()), Just(lines).prop_shuffle())),
        (promotions, mixed) in promotions().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        coupon in coupon(),
    ) {
        let one = priced(&lines, &promotions, coupon.as_ref());
        let other = priced(&shuffled, &mixed, coupon.as_ref());
        prop_assert_eq!(comparable(&one), comparable(&other));
    }

    /// Adding an item never lowers the total, except that a minimum may be reached: then it falls at most by the
    /// discount of the rule.
    #[test]
    fn adding_an_item_lowers_the_total_only_by_reaching_a_minimum(
        lines in lines(), rule in rule(), price in 0_i64..100_000, quantity in 1_u32..20
    ) {
        let mut more = lines.clone();
        more.push(line(8, price, quantity));
        let rule = promotion(rule);
        let (before, after) = (priced(&lines, &rule, None), priced(&more, &rule, None));
        let explained = match &rule[0].rule.effect {
            _ if rule[0].rule.minimum == 0 => 0,
            // As often as the minimum is now reached and was not before.
            Effect::AmountOff(AmountOff { amount, repeating: true }) => {
                let times = (after.subtotal / rule[0].rule.minimum).min(i64::from(quantity) * price / rule[0].rule.minimum + 1);
                amount.saturating_mul(times)
            }
            Effect::AmountOff(AmountOff { amount, .. }) => *amount,
            Effect::PercentOff(_) | Effect::NthItem(_) => if before.discount == 0 { after.discount } else { 0 },
        };
        prop_assert!(after.total >= before.total - explained, "{} after {}", after.total, before.total);
    }

    #[test]
    fn an_exclusive_promotion_never_reduces_the_discount(lines in lines(), promotions in promotions()) {
        let stackable: Vec<_> = promotions.iter().filter(|promotion| !promotion.exclusive).cloned().collect();
        let (all, stacked) = (priced(&lines, &promotions, None), priced(&lines, &stackable, None));
        prop_assert!(all.discount >= stacked.discount);
        let ids: Vec<_> = all.discounts.iter().map(|discount| discount.source).collect();
        let exclusive = |source: &Source| promotions.iter().any(|p| matches!(source, Source::Promotion(id) if *id == p.id) && p.exclusive);
        prop_assert!(!ids.iter().any(exclusive) || ids.len() == 1, "an exclusive promotion is not combined: {ids:?}");
    }

    #[test]
    fn a_rule_that_is_not_in_force_changes_nothing(lines in lines(), rule in rule(), early in any::<bool>()) {
        let (starts_at, ends_at) = if early { (Some(NOW + 1), None) } else { (None, Some(NOW)) };
        let rule = Rule { starts_at, ends_at, ..rule };
        prop_assert_eq!(priced(&lines, &promotion(rule.clone()), None).discount, 0);
        let refused = price(&lines, &[], Some(&Coupon { code: "SAVE".to_owned(), rule })).unwrap_err();
        let expected = if early { Refusal::NotStarted } else { Refusal::Ended };
        prop_assert!(matches!(refused, Error::CouponRefused(why) if why == expected), "{refused:?}");
    }
}

fn off(amount: i64) -> Rule {
    let effect = Effect::AmountOff(AmountOff { amount, repeating: false });
    let name = format!("{amount} off");
    Rule { name, effect, minimum: 0, categories: vec![], products: vec![], starts_at: None, ends_at: None }
}

fn half() -> Rule {
    Rule { effect: Effect::PercentOff(PercentOff { percent: 50, cap: None }), name: "half".to_owned(), ..off(0) }
}

fn names(quote: &Quote) -> Vec<(&str, i64)> {
    quote.discounts.iter().map(|discount| (discount.name.as_str(), discount.amount)).collect()
}

#[test]
fn stackable_promotions_apply_by_priority_to_the_remaining_amount() {
    let stack = |priorities: [i32; 2]| {
        let [one, two] = priorities;
        let promotions = [(1, off(200), one), (2, half(), two)].map(|(id, rule, priority)| Promotion {
            id,
            rule,
            exclusive: false,
            priority,
        });
        price(&[line(1, 1_000, 1)], &promotions, None).unwrap()
    };
    assert_eq!(names(&stack([0, 0])), [("200 off", 200), ("half", 400)]);
    assert_eq!(names(&stack([1, 0])), [("half", 500), ("200 off", 200)]);
}

#[test]
fn an_exclusive_promotion_competes_with_all_others_together() {
    let against = |amount: i64| {
        let promotions = [(1, off(200), false), (2, off(100), false), (3, off(amount), true), (4, off(50), true)]
            .map(|(id, rule, exclusive)| Promotion { id, rule, exclusive, priority: 0 });
        price(&[line(1, 1_000, 1)], &promotions, None).unwrap()
    };
    assert_eq!(names(&against(301)), [("301 off", 301)]);
    assert_eq!(names(&against(300)), [("200 off", 200), ("100 off", 100)]);
}

#[test]
fn a_coupon_is_applied_last_or_refused_with_a_reason() {
    let lines = [line(1, 1_000, 1)];
    let with = |rule: Rule| Coupon { code: "SAVE".to_owned(), rule };
    let quote = price(&lines, &promotion(off(400)), Some(&with(half()))).unwrap();
    assert_eq!(names(&quote), [("400 off", 400), ("half", 300)]);
    assert!(matches!(quote.discounts[1].source, Source::Coupon));
    let refused = |rule: Rule, promotion: &[Promotion]| match price(&lines, promotion, Some(&with(rule))) {
        Err(Error::CouponRefused(why)) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(Rule { minimum: 601, ..half() }, &promotion(off(400))), Refusal::BelowMinimum);
    assert_eq!(refused(Rule { products: vec![2], ..half() }, &[]), Refusal::OutOfScope);
    assert_eq!(refused(half(), &promotion(off(1_000))), Refusal::NoEffect);
}

#[test]
fn refuses_invalid_input() {
    let refused = |lines: &[Line]| price(lines, &[], None).unwrap_err();
    assert!(matches!(refused(&[line(7, -1, 1)]), Error::NegativePrice(7)));
    assert!(matches!(refused(&[line(7, i64::MAX, 2)]), Error::Overflow));
    assert!(matches!(refused(&[line(7, i64::MAX, 1), line(8, 1, 1)]), Error::Overflow));
    let bad = promotion(Rule { minimum: -1, ..off(1) });
    assert!(matches!(price(&[line(1, 1, 1)], &bad, None), Err(Error::BadRule(Source::Promotion(1)))));
}

#[test]
fn the_largest_sums_don_t_overflow() {
    let lines = [line(1, i64::MAX - 1, 1), line(2, 1, 1)];
    let most =
        Rule { minimum: 1, effect: Effect::AmountOff(AmountOff { amount: i64::MAX, repeating: true }), ..off(0) };
    let quote = price(&lines, &promotion(most), None).unwrap();
    assert_eq!((quote.discount, quote.total), (i64::MAX, 0));
    let quote = price(&lines, &promotion(half()), None).unwrap();
    assert_eq!(quote.discount, i64::MAX / 2);
}
