//! Converts between MySQL's types and those of `spin:mysql`. As in Spin, a row with a type that has no counterpart is
//! an error.

use mysql_async::consts::{ColumnFlags, ColumnType};
use mysql_async::prelude::FromValue;
use mysql_async::{Row, Value};

use crate::bindings::spin::mysql::mysql::{Column, DbDataType, DbValue, Error, ParameterValue};

pub fn parameter(value: ParameterValue) -> Value {
    match value {
        ParameterValue::Boolean(v) => v.into(),
        ParameterValue::Int8(v) => v.into(),
        ParameterValue::Int16(v) => v.into(),
        ParameterValue::Int32(v) => v.into(),
        ParameterValue::Int64(v) => v.into(),
        ParameterValue::Uint8(v) => v.into(),
        ParameterValue::Uint16(v) => v.into(),
        ParameterValue::Uint32(v) => v.into(),
        ParameterValue::Uint64(v) => v.into(),
        ParameterValue::Floating32(v) => v.into(),
        ParameterValue::Floating64(v) => v.into(),
        ParameterValue::Str(v) => v.into(),
        ParameterValue::Binary(v) => v.into(),
        ParameterValue::DbNull => Value::NULL,
    }
}

pub fn column(column: &mysql_async::Column) -> Column {
    Column { name: column.name_str().into_owned(), data_type: data_type(column.column_type(), column.flags()) }
}

fn data_type(kind: ColumnType, flags: ColumnFlags) -> DbDataType {
    use ColumnType::*;
    let pick = |set, yes, no| if set { yes } else { no };
    let unsigned = flags.contains(ColumnFlags::UNSIGNED_FLAG);
    let binary = flags.contains(ColumnFlags::BINARY_FLAG);
    match kind {
        MYSQL_TYPE_TINY => pick(unsigned, DbDataType::Uint8, DbDataType::Int8),
        MYSQL_TYPE_SHORT => pick(unsigned, DbDataType::Uint16, DbDataType::Int16),
        MYSQL_TYPE_INT24 | MYSQL_TYPE_LONG => pick(unsigned, DbDataType::Uint32, DbDataType::Int32),
        MYSQL_TYPE_LONGLONG => pick(unsigned, DbDataType::Uint64, DbDataType::Int64),
        MYSQL_TYPE_FLOAT => DbDataType::Floating32,
        MYSQL_TYPE_DOUBLE => DbDataType::Floating64,
        // TEXT is a BLOB with a character set.
        MYSQL_TYPE_BLOB | MYSQL_TYPE_STRING | MYSQL_TYPE_VAR_STRING => {
            pick(binary, DbDataType::Binary, DbDataType::Str)
        }
        _ => DbDataType::Other,
    }
}

/// Converts a row and adds its size to `size`.
pub fn row(row: Row, columns: &[Column], size: &mut usize) -> Result<Vec<DbValue>, Error> {
    let convert = |(value, column)| {
        let value = db_value(value, column)?;
        *size += size_of::<DbValue>()
            + match &value {
                DbValue::Str(text) => text.len(),
                DbValue::Binary(bytes) => bytes.len(),
                _ => 0,
            };
        Ok(value)
    };
    row.unwrap().into_iter().zip(columns).map(convert).collect()
}

fn db_value(value: Value, column: &Column) -> Result<DbValue, Error> {
    if value == Value::NULL {
        return Ok(DbValue::DbNull);
    }
    Ok(match column.data_type {
        DbDataType::Boolean => DbValue::Boolean(to(value)?),
        DbDataType::Int8 => DbValue::Int8(to(value)?),
        DbDataType::Int16 => DbValue::Int16(to(value)?),
        DbDataType::Int32 => DbValue::Int32(to(value)?),
        DbDataType::Int64 => DbValue::Int64(to(value)?),
        DbDataType::Uint8 => DbValue::Uint8(to(value)?),
        DbDataType::Uint16 => DbValue::Uint16(to(value)?),
        DbDataType::Uint32 => DbValue::Uint32(to(value)?),
        DbDataType::Uint64 => DbValue::Uint64(to(value)?),
        DbDataType::Floating32 => DbValue::Floating32(to(value)?),
        DbDataType::Floating64 => DbValue::Floating64(to(value)?),
        DbDataType::Str => DbValue::Str(to(value)?),
        DbDataType::Binary => DbValue::Binary(to(value)?),
        DbDataType::Other => {
            return Err(Error::ValueConversionFailed(format!(
                "Cannot convert value {value:?} in column {} data type {:?}",
                column.name, column.data_type
            )));
        }
    })
}

fn to<T: FromValue>(value: Value) -> Result<T, Error> {
    mysql_async::from_value_opt(value).map_err(|e| Error::ValueConversionFailed(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_map_as_in_spin() {
        use ColumnType::*;
        let (none, unsigned, binary) = (ColumnFlags::empty(), ColumnFlags::UNSIGNED_FLAG, ColumnFlags::BINARY_FLAG);
        for (kind, flags, expected) in [
            (MYSQL_TYPE_TINY, none, DbDataType::Int8),
            (MYSQL_TYPE_LONGLONG, none, DbDataType::Int64),
            (MYSQL_TYPE_LONGLONG, unsigned, DbDataType::Uint64),
            (MYSQL_TYPE_VAR_STRING, none, DbDataType::Str),
            (MYSQL_TYPE_VAR_STRING, binary, DbDataType::Binary),
            (MYSQL_TYPE_BLOB, none, DbDataType::Str),
            (MYSQL_TYPE_BLOB, binary, DbDataType::Binary),
            (MYSQL_TYPE_NEWDECIMAL, none, DbDataType::Other),
            (MYSQL_TYPE_DATETIME, none, DbDataType::Other),
            (MYSQL_TYPE_TIMESTAMP, none, DbDataType::Other),
            (MYSQL_TYPE_JSON, none, DbDataType::Other),
        ] {
            assert!(data_type(kind, flags) as u8 == expected as u8, "{kind:?} {flags:?}");
        }
    }
}
