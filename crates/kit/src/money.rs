//! Money as whole numbers of minor units.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An amount in minor units of the shop's currency. It has no arithmetic that could overflow unnoticed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(description = "An amount in minor units of the shop's currency.", minimum = 0, example = 2999)]
pub struct Cents(pub i64);
