//! Permissions, for staff who are not admins.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A part of what an admin may do. The numbers are bits of [`Permissions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(description = "A part of what an admin may do.")]
#[repr(u16)]
pub enum Permission {
    #[serde(rename = "catalog:write")]
    CatalogWrite = CATALOG_WRITE,
    #[serde(rename = "orders:ship")]
    OrdersShip = ORDERS_SHIP,
    #[serde(rename = "orders:refund")]
    OrdersRefund = ORDERS_REFUND,
    #[serde(rename = "seckill:write")]
    SeckillWrite = SECKILL_WRITE,
    #[serde(rename = "users:write")]
    UsersWrite = USERS_WRITE,
    #[serde(rename = "pricing:write")]
    PricingWrite = PRICING_WRITE,
    #[serde(rename = "ledger:read")]
    LedgerRead = LEDGER_READ,
    #[serde(rename = "ledger:write")]
    LedgerWrite = LEDGER_WRITE,
}

pub const CATALOG_WRITE: u16 = 1;
pub const ORDERS_SHIP: u16 = 2;
pub const ORDERS_REFUND: u16 = 4;
pub const SECKILL_WRITE: u16 = 8;
pub const USERS_WRITE: u16 = 16;
pub const PRICING_WRITE: u16 = 32;
pub const LEDGER_READ: u16 = 64;
pub const LEDGER_WRITE: u16 = 128;

const ALL: [Permission; 8] = [
    Permission::CatalogWrite,
    Permission::OrdersShip,
    Permission::OrdersRefund,
    Permission::SeckillWrite,
    Permission::UsersWrite,
    Permission::PricingWrite,
    Permission::LedgerRead,
    Permission::LedgerWrite,
];

/// A set of [`Permission`]s; in JSON the list of their names, in the database their bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Permission>", into = "Vec<Permission>")]
pub struct Permissions(u16);

impl Permissions {
    /// Reads the column. Unknown bits are ignored.
    pub fn from_bits(bits: i64) -> Self {
        ALL.into_iter().filter(|one| bits & i64::from(*one as u16) != 0).collect::<Vec<_>>().into()
    }

    pub fn bits(self) -> u16 {
        self.0
    }

    /// Whether the set is empty; tokens omit it then.
    pub fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// Whether `others` is a subset.
    pub fn contains(self, others: Permissions) -> bool {
        self.0 & others.0 == others.0
    }

    /// Whether the set has at least one of the permissions whose bits are set.
    pub fn has_any(self, permissions: u16) -> bool {
        self.0 & permissions != 0
    }

    /// The permissions that only one of the two sets has.
    pub fn symmetric_difference(self, other: Permissions) -> Permissions {
        Permissions(self.0 ^ other.0)
    }
}

impl From<Vec<Permission>> for Permissions {
    fn from(list: Vec<Permission>) -> Self {
        Permissions(list.into_iter().fold(0, |bits, one| bits | one as u16))
    }
}

impl From<Permissions> for Vec<Permission> {
    fn from(set: Permissions) -> Self {
        ALL.into_iter().filter(|one| set.0 & *one as u16 != 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_list_of_names_in_json() {
        let set = Permissions::from_bits(i64::from(CATALOG_WRITE | USERS_WRITE) + 16384);
        let json = serde_json::to_string(&set).unwrap();
        assert_eq!(json, r#"["catalog:write","users:write"]"#);
        assert_eq!(serde_json::from_str::<Permissions>(&json).unwrap(), set);
        assert!(serde_json::from_str::<Permissions>(r#"["everything"]"#).is_err());
    }

    #[test]
    fn compares_sets() {
        let (few, many) = (Permissions(CATALOG_WRITE), Permissions(CATALOG_WRITE | ORDERS_SHIP));
        assert!(many.contains(few) && !few.contains(many) && few.contains(few));
        assert_eq!(few.symmetric_difference(many), Permissions(ORDERS_SHIP));
    }
}
