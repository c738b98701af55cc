//! Parameters of statements.

use spin_sdk::mysql::ParameterValue;

use crate::{
    ActivityId, AddressId, CategoryId, Cents, CouponId, IdentityId, OrderNo, PaymentNo, ProductId, PromotionId,
    SessionId, Timestamp, UserId,
};

/// The parameters of a statement, in the order of its placeholders.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { vec![$($crate::mysql::param($value)),*] };
}

/// A value as a parameter; `None` is NULL.
pub fn param<T: IntoParam>(value: T) -> ParameterValue {
    value.into_param()
}

/// A type whose values can be parameters.
pub trait IntoParam {
    fn into_param(self) -> ParameterValue;
}

impl IntoParam for i64 {
    fn into_param(self) -> ParameterValue {
        ParameterValue::Int64(self)
    }
}

impl IntoParam for bool {
    fn into_param(self) -> ParameterValue {
        ParameterValue::Int8(self.into())
    }
}

impl IntoParam for &str {
    fn into_param(self) -> ParameterValue {
        ParameterValue::Str(self.to_owned())
    }
}

impl IntoParam for String {
    fn into_param(self) -> ParameterValue {
        ParameterValue::Str(self)
    }
}

impl IntoParam for &String {
    fn into_param(self) -> ParameterValue {
        ParameterValue::Str(self.clone())
    }
}

impl IntoParam for &[u8] {
    fn into_param(self) -> ParameterValue {
        ParameterValue::Binary(self.to_vec())
    }
}

impl IntoParam for Timestamp {
    fn into_param(self) -> ParameterValue {
        ParameterValue::Int64(self.0)
    }
}

impl<T: IntoParam> IntoParam for Option<T> {
    fn into_param(self) -> ParameterValue {
        self.map_or(ParameterValue::DbNull, IntoParam::into_param)
    }
}

/// `?,?,?` for the `IN (…)` of `count` values.
pub fn placeholders(count: usize) -> String {
    let mut list = "?,".repeat(count);
    list.pop();
    list
}

impl IntoParam for Cents {
    fn into_param(self) -> ParameterValue {
        self.0.into_param()
    }
}

impl IntoParam for &OrderNo {
    fn into_param(self) -> ParameterValue {
        self.as_str().into_param()
    }
}

impl IntoParam for &PaymentNo {
    fn into_param(self) -> ParameterValue {
        self.as_str().into_param()
    }
}

macro_rules! ids {
    ($($id:ty),*) => { $(
        impl IntoParam for $id {
            fn into_param(self) -> ParameterValue {
                self.get().into_param()
            }
        }
    )* };
}

ids!(AddressId, ActivityId, CategoryId, CouponId, IdentityId, ProductId, PromotionId, SessionId, UserId);
