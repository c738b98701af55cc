//! Exporting what the shop keeps of a user.

use std::collections::BTreeMap;

use kit::{
    Result, Timestamp, UserId,
    mysql::{Column, Connection, DbValue, Error, FromRow, Row},
    params,
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::map::{Data, Rows, TABLES, Table};

/// Everything that the shop keeps of a user, but for secrets such as the hash of the password.
#[derive(Serialize, ToSchema)]
pub struct Export {
    exported_at: Timestamp,
    /// The rows about the user, by table and column.
    #[schema(value_type = BTreeMap<String, Vec<BTreeMap<String, Value>>>)]
    tables: BTreeMap<&'static str, Vec<Value>>,
}

/// Columns that have JSON.
const JSON: [&str; 4] = ["orders.address", "orders.discounts", "audit_log.before_json", "audit_log.after_json"];

/// Reads everything about a user.
pub async fn export(db: &mut Connection, user_id: UserId) -> Result<Export> {
    let mut tables = BTreeMap::new();
    for table in TABLES.iter().filter(|table| !table.rows.is_empty()) {
        let mut found = Vec::new();
        for rows in table.rows {
            let read = db.query::<AnyRow>(&statement(table, rows), params![user_id]).await?;
            found.extend(read.into_iter().map(|row| values(table, row)));
        }
        tables.insert(table.name, found);
    }
    Ok(Export { exported_at: Timestamp::now(), tables })
}

fn statement(table: &Table, rows: &Rows) -> String {
    let exported = table.columns.iter().filter(|(_, data)| !matches!(data, Data::Secret(_)));
    let columns: Vec<_> = exported.map(|(column, _)| format!("t.`{column}`")).collect();
    format!("SELECT {} FROM {} WHERE {}", columns.join(", "), rows.from, rows.condition)
}

/// A row of any table.
struct AnyRow(Vec<(String, DbValue)>);

impl FromRow for AnyRow {
    fn from_row(row: &mut Row) -> Result<Self, Error> {
        Ok(AnyRow(row.take_all()))
    }
}

/// The values of a row as the API shows them: times in RFC 3339, JSON as what it is.
fn values(table: &Table, AnyRow(row): AnyRow) -> Value {
    let value = |(column, value): (String, DbValue)| {
        let json = match value {
            DbValue::DbNull => Value::Null,
            DbValue::Str(_) | DbValue::Binary(_) => {
                let text = String::from_value(value).unwrap_or_default();
                let is_json = JSON.contains(&format!("{}.{column}", table.name).as_str());
                let document = is_json.then(|| serde_json::from_str(&text).ok()).flatten();
                document.unwrap_or(Value::String(text))
            }
            number => match i64::from_value(number) {
                Ok(time) if column.ends_with("_at") => Timestamp(time).to_string().into(),
                number => number.ok().into(),
            },
        };
        (column, json)
    };
    Value::Object(row.into_iter().map(value).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table(name: &str) -> &'static Table {
        TABLES.iter().find(|table| table.name == name).unwrap()
    }

    #[test]
    fn secrets_are_not_read() {
        let sql = statement(table("users"), &table("users").rows[0]);
        assert!(sql.contains("t.`username`") && !sql.contains("password_hash"), "{sql}");
    }

    #[test]
    fn values_are_as_in_the_api() {
        let text = |text: &str| DbValue::Str(text.to_owned());
        let row = [
            ("created_at", DbValue::Int64(0)),
            ("paid_at", DbValue::DbNull),
            ("address", text(r#"{"phone":"1"}"#)),
            ("note", text("{}")),
            ("order_no", DbValue::Binary(b"01X".into())),
            ("total_cents", DbValue::Int64(5)),
        ];
        let row = AnyRow(row.into_iter().map(|(column, value)| (column.to_owned(), value)).collect());
        let expected = json!({ "created_at": "1970-01-01T00:00:00.000Z", "paid_at": null, "address": { "phone": "1" },
                               "note": "{}", "order_no": "01X", "total_cents": 5 });
        assert_eq!(values(table("orders"), row), expected);
    }
}
