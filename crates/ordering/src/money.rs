use kit::mysql::{Column, IntoParam, ParameterValue};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An amount in minor units of the shop's currency. There is no arithmetic on it that could overflow unseen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Cents(pub i64);

impl Column for Cents {
    fn from_value(value: spin_sdk::mysql::DbValue) -> Result<Self, String> {
        i64::from_value(value).map(Cents)
    }
}

impl IntoParam for Cents {
    fn into_param(self) -> ParameterValue {
        self.0.into_param()
    }
}
