//! Decoding rows.

use std::sync::Arc;

use spin_sdk::mysql::{self, DbValue};

use super::error::Error;
use crate::{
    ActivityId, AddressId, CategoryId, Cents, CouponId, IdentityId, OrderNo, PaymentNo, ProductId, PromotionId,
    SessionId, Timestamp, UserId,
};

/// A row of a result. Values are taken out by column name.
pub struct Row {
    columns: Arc<Vec<mysql::Column>>,
    values: Vec<DbValue>,
}

impl Row {
    pub(super) fn new(columns: Arc<Vec<mysql::Column>>, values: Vec<DbValue>) -> Self {
        Row { columns, values }
    }

    /// The column's value; the error names the column.
    pub fn take<T: Column>(&mut self, column: &str) -> Result<T, Error> {
        let position = self.columns.iter().position(|c| c.name == column);
        self.take_at(position, column)
    }

    /// All values, with the names of their columns.
    pub fn take_all(&mut self) -> Vec<(String, DbValue)> {
        let names = self.columns.iter().map(|column| column.name.clone());
        names.zip(std::mem::take(&mut self.values)).collect()
    }

    fn take_at<T: Column>(&mut self, position: Option<usize>, column: &str) -> Result<T, Error> {
        let value = position.and_then(|position| self.values.get_mut(position));
        let taken = match value {
            Some(value) => T::from_value(std::mem::replace(value, DbValue::DbNull)),
            None => Err("is not in the result".to_owned()),
        };
        taken.map_err(|reason| Error::Column { column: column.to_owned(), reason })
    }
}

/// A type that is decoded from a row; see [`crate::row!`].
pub trait FromRow: Sized {
    fn from_row(row: &mut Row) -> Result<Self, Error>;
}

/// A row of one column, whatever its name.
impl<T: Column> FromRow for (T,) {
    fn from_row(row: &mut Row) -> Result<Self, Error> {
        Ok((row.take_at(Some(0), "1")?,))
    }
}

/// Defines a struct whose fields are decoded from the columns of the same names, and `COLUMNS`, the projection that
/// selects them. A field can have an SQL expression, `product_id: ProductId as "id"`. A field that is not selected has
/// an initial value, `currency: String = String::new()`.
#[macro_export]
macro_rules! row {
    (
        $(#[$meta:meta])* $vis:vis struct $name:ident {
            $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty $(as $sql:literal)? $(= $value:expr)?),* $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis struct $name { $($(#[$field_meta])* $field_vis $field: $type),* }

        impl $name {
            /// The projection for a SELECT.
            #[allow(dead_code)]
            $vis const COLUMNS: &'static str =
                concat!($($crate::row!(@column $field $(as $sql)? $(= $value)?)),*).split_at(2).1;
        }

        impl $crate::mysql::FromRow for $name {
            fn from_row(row: &mut $crate::mysql::Row) -> ::std::result::Result<Self, $crate::mysql::Error> {
                Ok($name { $($field: $crate::row!(@value row $field $(= $value)?)),* })
            }
        }
    };
    (@column $field:ident) => { concat!(", `", stringify!($field), "`") };
    (@column $field:ident as $sql:literal) => { concat!(", ", $sql, " AS `", stringify!($field), "`") };
    (@column $field:ident = $value:expr) => { "" };
    (@value $row:ident $field:ident) => { $row.take(stringify!($field))? };
    (@value $row:ident $field:ident = $value:expr) => { $value };
}

/// Implements [`Column`](crate::mysql::Column) and [`IntoParam`](crate::mysql::IntoParam) for enums that are stored as text
/// (`strum::EnumString`, `strum::IntoStaticStr`).
#[macro_export]
macro_rules! text_column {
    ($($name:ty),* $(,)?) => { $(
        impl $crate::mysql::Column for $name {
            fn from_value(value: $crate::mysql::DbValue) -> ::std::result::Result<Self, String> {
                let text = <String as $crate::mysql::Column>::from_value(value)?;
                text.parse().map_err(|_| format!("is not a {}", stringify!($name)))
            }
        }

        impl $crate::mysql::IntoParam for $name {
            fn into_param(self) -> $crate::mysql::ParameterValue {
                <&'static str>::from(self).into_param()
            }
        }
    )* };
}

/// A type that a column's value can be decoded to.
pub trait Column: Sized {
    /// The error tells what is wrong without quoting the value.
    fn from_value(value: DbValue) -> Result<Self, String>;
}

impl Column for i64 {
    fn from_value(value: DbValue) -> Result<Self, String> {
        match value {
            DbValue::Int8(n) => Ok(n.into()),
            DbValue::Int16(n) => Ok(n.into()),
            DbValue::Int32(n) => Ok(n.into()),
            DbValue::Int64(n) => Ok(n),
            DbValue::Uint8(n) => Ok(n.into()),
            DbValue::Uint16(n) => Ok(n.into()),
            DbValue::Uint32(n) => Ok(n.into()),
            DbValue::Uint64(n) => i64::try_from(n).map_err(|_| "is too large".to_owned()),
            other => Err(unexpected("a whole number", &other)),
        }
    }
}

impl Column for bool {
    fn from_value(value: DbValue) -> Result<Self, String> {
        match value {
            DbValue::Boolean(b) => Ok(b),
            other => i64::from_value(other).map(|n| n != 0),
        }
    }
}

impl Column for String {
    fn from_value(value: DbValue) -> Result<Self, String> {
        match value {
            DbValue::Str(text) => Ok(text),
            // A text column with a binary collation is returned as bytes.
            DbValue::Binary(bytes) => String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned()),
            other => Err(unexpected("a text", &other)),
        }
    }
}

impl Column for Vec<u8> {
    fn from_value(value: DbValue) -> Result<Self, String> {
        match value {
            DbValue::Binary(bytes) => Ok(bytes),
            DbValue::Str(text) => Ok(text.into_bytes()),
            other => Err(unexpected("bytes", &other)),
        }
    }
}

impl Column for Timestamp {
    fn from_value(value: DbValue) -> Result<Self, String> {
        i64::from_value(value).map(Timestamp)
    }
}

impl Column for Cents {
    fn from_value(value: DbValue) -> Result<Self, String> {
        i64::from_value(value).map(Cents)
    }
}

impl Column for OrderNo {
    fn from_value(value: DbValue) -> Result<Self, String> {
        String::from_value(value)?.parse().map_err(|error| format!("{error}"))
    }
}

impl Column for PaymentNo {
    fn from_value(value: DbValue) -> Result<Self, String> {
        String::from_value(value)?.parse().map_err(|error| format!("{error}"))
    }
}

macro_rules! ids {
    ($($id:ty),*) => { $(
        impl Column for $id {
            fn from_value(value: DbValue) -> Result<Self, String> {
                i64::from_value(value)?.try_into().map_err(|error| format!("{error}"))
            }
        }
    )* };
}

ids!(ActivityId, AddressId, CategoryId, CouponId, IdentityId, ProductId, PromotionId, SessionId, UserId);

impl<T: Column> Column for Option<T> {
    fn from_value(value: DbValue) -> Result<Self, String> {
        match value {
            DbValue::DbNull => Ok(None),
            value => T::from_value(value).map(Some),
        }
    }
}

fn unexpected(wanted: &str, value: &DbValue) -> String {
    let kind = match value {
        DbValue::DbNull => "NULL",
        DbValue::Str(_) => "a text",
        DbValue::Binary(_) => "bytes",
        DbValue::Floating32(_) | DbValue::Floating64(_) => "a float",
        DbValue::Unsupported => "of a type that Spin does not read",
        _ => "a number",
    };
    format!("is {kind}, not {wanted}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use spin_sdk::mysql::DbDataType;

    crate::row! {
        #[derive(Debug, PartialEq)]
        struct User { id: i64, email: Option<String> }
    }

    fn row(values: Vec<DbValue>) -> Row {
        let columns = ["id", "email"].map(|name| mysql::Column { name: name.to_owned(), data_type: DbDataType::Other });
        Row::new(Arc::new(columns.into()), values)
    }

    #[test]
    fn the_projection_names_the_columns() {
        crate::row! {
            #[allow(dead_code)]
            struct Product { product_id: i64 as "id", name: String, currency: String = String::new() }
        }
        assert_eq!(Product::COLUMNS, "id AS `product_id`, `name`");
        assert_eq!(User::COLUMNS, "`id`, `email`");
    }

    #[test]
    fn decodes_by_name_and_reports_the_wrong_column() {
        let user = User::from_row(&mut row(vec![DbValue::Uint32(7), DbValue::Binary(b"a@b".into())])).unwrap();
        assert_eq!(user, User { id: 7, email: Some("a@b".to_owned()) });
        let error = User::from_row(&mut row(vec![DbValue::DbNull, DbValue::DbNull])).unwrap_err();
        assert_eq!(error.to_string(), "column id: is NULL, not a whole number");
    }
}
