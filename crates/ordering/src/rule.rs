//! The rule of a promotion or coupon: its JSON, in the API and in the database, and its form for the pricing component.

use kit::{
    CategoryId, Cents, Problem, ProductId, Result, Timestamp,
    mysql::{Column, Connection, DbValue},
    validate::Validator,
};
use products::category;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::engine;

const MAX_CENTS: i64 = 100_000_000_000;
const MAX_SCOPE_IDS: usize = 100;

/// What is taken off, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub effect: Effect,
    /// What is in scope must come to this much; 0 unless said.
    #[serde(default)]
    #[schema(value_type = i64, minimum = 0, maximum = 100_000_000_000_i64, example = 10_000)]
    pub minimum_cents: Cents,
    /// In scope are these categories with all below them, and `product_ids`; everything, if both are empty.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub category_ids: Vec<CategoryId>,
    #[serde(default)]
    #[schema(max_items = 100)]
    pub product_ids: Vec<ProductId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// An amount, if `repeating` once for each time that the minimum is reached.
    AmountOff {
        #[schema(value_type = i64, minimum = 1, maximum = 100_000_000_000_i64, example = 2000)]
        amount_cents: Cents,
        #[serde(default)]
        repeating: bool,
    },
    /// A percentage, rounded down, up to `cap_cents`.
    PercentOff {
        #[schema(minimum = 1, maximum = 100, example = 10)]
        percent: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<i64>, nullable = false, minimum = 1, maximum = 100_000_000_000_i64, example = 5000)]
        cap_cents: Option<Cents>,
    },
    /// A percentage of every nth piece, counted from the most expensive.
    NthItem {
        #[schema(minimum = 2, maximum = 100, example = 2)]
        nth: i64,
        #[schema(minimum = 1, maximum = 100, example = 10)]
        percent: i64,
    },
}

impl Rule {
    /// 422 if a number is out of bounds. Whether the categories and products exist is checked by [`check_scope`].
    fn check(&self, validator: &mut Validator) {
        let Rule { effect, minimum_cents, category_ids, product_ids } = self;
        validator.number("rule.minimum_cents", minimum_cents.0, 0, MAX_CENTS);
        match effect {
            Effect::AmountOff { amount_cents, repeating } => {
                validator.number("rule.effect.amount_cents", amount_cents.0, 1, MAX_CENTS);
                let has_minimum = !repeating || minimum_cents.0 > 0;
                validator.require(has_minimum, "rule.minimum_cents", "must be more than 0 for a repeating discount");
            }
            Effect::PercentOff { percent, cap_cents } => {
                validator.number("rule.effect.percent", *percent, 1, 100);
                validator.number("rule.effect.cap_cents", cap_cents.map_or(1, |cap| cap.0), 1, MAX_CENTS);
            }
            Effect::NthItem { nth, percent } => {
                validator.number("rule.effect.nth", *nth, 2, 100);
                validator.number("rule.effect.percent", *percent, 1, 100);
            }
        }
        for (field, count) in [("rule.category_ids", category_ids.len()), ("rule.product_ids", product_ids.len())] {
            validator.require(count <= MAX_SCOPE_IDS, field, format!("must be at most {MAX_SCOPE_IDS}"));
        }
    }

    /// The rule for the pricing component. Its numbers fit, since they are checked when the rule is created.
    pub(crate) fn to_engine(
        &self,
        name: &str,
        starts_at: Option<Timestamp>,
        ends_at: Option<Timestamp>,
    ) -> engine::Rule {
        let percent = |percent: i64| u32::try_from(percent).unwrap_or(u32::MAX);
        let effect = match &self.effect {
            Effect::AmountOff { amount_cents, repeating } => {
                engine::Effect::AmountOff(engine::AmountOff { amount: amount_cents.0, repeating: *repeating })
            }
            Effect::PercentOff { percent: off, cap_cents } => engine::Effect::PercentOff(engine::PercentOff {
                percent: percent(*off),
                cap: cap_cents.map(|cap| cap.0),
            }),
            Effect::NthItem { nth, percent: off } => engine::Effect::NthItem(engine::NthItem {
                nth: u32::try_from(*nth).unwrap_or(0),
                percent: percent(*off),
            }),
        };
        engine::Rule {
            name: name.to_owned(),
            effect,
            minimum: self.minimum_cents.0,
            categories: self.category_ids.iter().copied().map(u64::from).collect(),
            products: self.product_ids.iter().copied().map(u64::from).collect(),
            starts_at: starts_at.map(|at| at.0),
            ends_at: ends_at.map(|at| at.0),
        }
    }

    /// The JSON that the database stores.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Problem::internal().because(error))
    }
}

impl Column for Rule {
    fn from_value(value: DbValue) -> Result<Self, String> {
        serde_json::from_str(&String::from_value(value)?).map_err(|error| error.to_string())
    }
}

/// Checks the fields that promotions and coupons share.
pub(crate) fn check_offer(
    validator: &mut Validator,
    name: &str,
    rule: &Rule,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
) {
    validator.text("name", name, 1, 64);
    rule.check(validator);
    let in_order = starts_at.is_none_or(|start| ends_at.is_none_or(|end| start < end));
    validator.require(in_order, "ends_at", "must be after starts_at");
}

/// 422 unless all categories and products that a rule names exist.
pub(crate) async fn check_scope(db: &mut Connection, rule: &Rule) -> Result<()> {
    if let Some(missing) = category::first_missing(db, &rule.category_ids).await? {
        return Err(Problem::invalid("rule.category_ids", format!("there is no category {missing}")));
    }
    if let Some(missing) = products::first_missing(db, &rule.product_ids).await? {
        return Err(Problem::invalid("rule.product_ids", format!("there is no product {missing}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> Vec<String> {
        let mut validator = Validator::new();
        serde_json::from_str::<Rule>(json).unwrap().check(&mut validator);
        let errors = validator.finish().map_or_else(|problem| problem.errors, |()| vec![]);
        errors.into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn rules_have_bounds() {
        assert!(refused(r#"{"effect":{"kind":"amount_off","amount_cents":1}}"#).is_empty());
        let repeating = r#"{"effect":{"kind":"amount_off","amount_cents":0,"repeating":true}}"#;
        assert_eq!(refused(repeating), ["rule.effect.amount_cents", "rule.minimum_cents"]);
        let percent = r#"{"effect":{"kind":"percent_off","percent":101,"cap_cents":0},"minimum_cents":-1}"#;
        assert_eq!(refused(percent), ["rule.minimum_cents", "rule.effect.percent", "rule.effect.cap_cents"]);
        let nth = r#"{"effect":{"kind":"nth_item","nth":1,"percent":0}}"#;
        assert_eq!(refused(nth), ["rule.effect.nth", "rule.effect.percent"]);
    }

    #[test]
    fn json_round_trips_and_has_no_other_fields() {
        let json = r#"{"effect":{"kind":"percent_off","percent":10,"cap_cents":500},"minimum_cents":1,"category_ids":[2],"product_ids":[3]}"#;
        assert_eq!(serde_json::from_str::<Rule>(json).unwrap().to_json().unwrap(), json);
        for bad in [
            r#"{}"#,
            r#"{"effect":{"kind":"nth_item","nth":2,"percent":50},"product_ids":[0]}"#,
            r#"{"effect":{"kind":"gift"}}"#,
            r#"{"effect":{"kind":"nth_item","nth":2,"percent":50,"more":1}}"#,
            r#"{"effect":{"kind":"nth_item","nth":2,"percent":50},"more":1}"#,
        ] {
            assert!(serde_json::from_str::<Rule>(bad).is_err(), "{bad}");
        }
    }
}
