//! A newtype for each kind of id, so that one can not be passed for another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, schema::Type},
};

/// JavaScript's numbers are exact up to this one (RFC 8259, section 6).
const MAX_ID: i64 = (1 << 53) - 1;

/// The value is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number from 1 to 9007199254740991")]
pub struct InvalidId;

macro_rules! id {
    ($($(#[$meta:meta])* $name:ident;)*) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "i64", into = "i64")]
        pub struct $name(i64);

        impl $name {
            /// The number, 1 to 2^53 - 1.
            pub fn get(self) -> i64 {
                self.0
            }
        }

        impl TryFrom<i64> for $name {
            type Error = InvalidId;

            fn try_from(number: i64) -> Result<Self, InvalidId> {
                if (1..=MAX_ID).contains(&number) { Ok($name(number)) } else { Err(InvalidId) }
            }
        }

        impl From<$name> for i64 {
            fn from(id: $name) -> i64 {
                id.0
            }
        }

        impl From<$name> for u64 {
            fn from(id: $name) -> u64 {
                id.0.unsigned_abs()
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.parse::<i64>().map_err(|_| InvalidId)?.try_into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(Type::Integer)
                    .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
                    .minimum(Some(1))
                    .maximum(Some(MAX_ID))
                    .examples([serde_json::json!(1)])
                    .into()
            }
        }

        impl ToSchema for $name {}
    )* };
}

id! {
    UserId;
    SessionId;
    AddressId;
    /// An identity at an OpenID Connect provider.
    IdentityId;
    ProductId;
    CategoryId;
    PromotionId;
    CouponId;
    /// A flash sale.
    ActivityId;
}

/// The text is not a number of an order or a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 32 letters and digits")]
pub struct InvalidNumber;

macro_rules! number {
    ($($(#[$meta:meta])* $name:ident;)*) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Generates a ULID (<https://github.com/ulid/spec>).
            pub fn generate() -> Self {
                $name(ulid::Ulid::generate().to_string())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidNumber;

            fn from_str(text: &str) -> Result<Self, InvalidNumber> {
                let plausible = (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
                if plausible { Ok($name(text.to_owned())) } else { Err(InvalidNumber) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .pattern(Some("^[0-9A-Za-z]{1,32}$"))
                    .examples([serde_json::json!("01KAVT2Q8ZJ6Y4T9V3N5R7W1XC")])
                    .into()
            }
        }

        impl ToSchema for $name {}
    )* };
}

number! {
    /// An order's number: 1 to 32 ASCII letters and digits, ascending with time.
    OrderNo;
    /// A payment's number, of the same form.
    PaymentNo;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_positive_and_exact_in_json() {
        assert_eq!(serde_json::from_str::<UserId>("7").unwrap().get(), 7);
        assert_eq!(serde_json::to_string(&UserId(7)).unwrap(), "7");
        for bad in ["0", "-1", "9007199254740992", "1.5", "\"7\"", "null"] {
            assert!(serde_json::from_str::<UserId>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn order_numbers_are_alphanumeric() {
        let order_no = OrderNo::generate();
        assert_eq!(order_no.as_str().parse(), Ok(order_no));
        for bad in ["", "a b", "é", "../x", &"x".repeat(33)] {
            assert!(bad.parse::<OrderNo>().is_err(), "{bad:?}");
        }
    }
}
