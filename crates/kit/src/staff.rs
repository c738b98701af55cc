//! Who works for the shop: permissions, the extractor [`Staff`] that asks for one, and the audit log of what it lets in.

use std::fmt::Display;

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Code, Context, Problem, Result, Timestamp, User, mysql::Transaction, params};

/// What an admin may let somebody do who is none. The numbers are bits of [`Permissions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[repr(u8)]
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
}

pub const CATALOG_WRITE: u8 = 1;
pub const ORDERS_SHIP: u8 = 2;
pub const ORDERS_REFUND: u8 = 4;
pub const SECKILL_WRITE: u8 = 8;
pub const USERS_WRITE: u8 = 16;
pub const PRICING_WRITE: u8 = 32;

const ALL: [Permission; 6] = [
    Permission::CatalogWrite,
    Permission::OrdersShip,
    Permission::OrdersRefund,
    Permission::SeckillWrite,
    Permission::UsersWrite,
    Permission::PricingWrite,
];

/// A set of [`Permission`]s; in JSON the list of their names. The database keeps the bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Permission>", into = "Vec<Permission>")]
pub struct Permissions(u8);

impl Permissions {
    /// As the database keeps them. Bits that mean nothing are left out.
    pub fn from_bits(bits: i64) -> Self {
        ALL.into_iter().filter(|one| bits & i64::from(*one as u8) != 0).collect::<Vec<_>>().into()
    }

    pub fn bits(self) -> u8 {
        self.0
    }

    /// For tokens, which leave out what is empty.
    pub fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// Whether all of `others` are among these.
    pub fn contain(self, others: Permissions) -> bool {
        self.0 & others.0 == others.0
    }

    /// Those that only one of the two sets has.
    pub fn difference(self, other: Permissions) -> Permissions {
        Permissions(self.0 ^ other.0)
    }
}

impl From<Vec<Permission>> for Permissions {
    fn from(list: Vec<Permission>) -> Self {
        Permissions(list.into_iter().fold(0, |bits, one| bits | one as u8))
    }
}

impl From<Permissions> for Vec<Permission> {
    fn from(set: Permissions) -> Self {
        ALL.into_iter().filter(|one| set.0 & *one as u8 != 0).collect()
    }
}

impl User {
    /// Whether the user is an admin, or has one of the permissions whose bits are set.
    pub fn may(&self, permissions: u8) -> bool {
        self.is_admin() || self.permissions.0 & permissions != 0
    }
}

/// An admin, or somebody who has one of the permissions whose bits are set. As an extractor: 401 if nobody is signed in,
/// 403 if it is somebody else.
pub struct Staff<const MAY: u8> {
    pub user: User,
    context: Context,
}

impl<S: Sync, const MAY: u8> FromRequestParts<S> for Staff<MAY> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let user = User::from_request_parts(parts, state).await?;
        if !user.may(MAY) {
            return Err(Problem::new(Code::Forbidden, "You may not do this: ask an admin of the shop"));
        }
        let context = parts.extensions.get::<Context>().cloned().ok_or_else(Problem::internal)?;
        Ok(Staff { user, context })
    }
}

impl<const MAY: u8> Staff<MAY> {
    /// Keeps in the audit log what is done, in the transaction that does it. An object is what the action names and
    /// which one, such as `17`; before and after are what was changed, `()` for what was not there.
    pub async fn record(
        &self,
        tx: &mut Transaction,
        action: &str,
        object: impl Display,
        before: impl Serialize,
        after: impl Serialize,
    ) -> Result<()> {
        const RECORD: &str = "
            INSERT INTO audit_log (actor_id, action, object, before_json, after_json, request_id, created_at)
            VALUES (?, ?, ?, ?, ?, ?, ?)";
        let values = params![
            self.user.id,
            action,
            object.to_string(),
            json(before)?,
            json(after)?,
            self.context.request_id(),
            Timestamp::now(),
        ];
        Ok(tx.execute(RECORD, values).await?)
    }
}

fn json(value: impl Serialize) -> Result<String> {
    serde_json::to_string(&value).map_err(|_| Problem::internal())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_the_list_of_their_names() {
        let set = Permissions::from_bits(i64::from(CATALOG_WRITE | USERS_WRITE) + 128);
        let json = serde_json::to_string(&set).unwrap();
        assert_eq!(json, r#"["catalog:write","users:write"]"#);
        assert_eq!(serde_json::from_str::<Permissions>(&json).unwrap(), set);
        assert!(serde_json::from_str::<Permissions>(r#"["everything"]"#).is_err());
    }

    #[test]
    fn sets_compare() {
        let (few, many) = (Permissions(CATALOG_WRITE), Permissions(CATALOG_WRITE | ORDERS_SHIP));
        assert!(many.contain(few) && !few.contain(many) && few.contain(few));
        assert_eq!(few.difference(many), Permissions(ORDERS_SHIP));
    }
}
