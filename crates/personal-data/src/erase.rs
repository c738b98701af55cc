//! Erasing what is personal.

use kit::{Result, UserId, mysql, params};

use crate::map::{Data, Erasure, Rows, TABLES, Table};

/// Erases the personal data of a deleted user from every table, but for orders that are not done yet and what belongs to
/// them. It may be repeated.
pub async fn erase(user_id: UserId) -> Result<()> {
    for table in TABLES {
        for rows in table.rows {
            if let Some(sql) = statement(table, rows) {
                // One transaction each, so that none is long.
                mysql::transaction(async |tx| Ok(tx.execute(&sql, params![user_id]).await?)).await?;
            }
        }
    }
    Ok(())
}

fn statement(table: &Table, rows: &Rows) -> Option<String> {
    let Rows { from, condition, .. } = rows;
    match rows.erasure {
        Erasure::Nothing => None,
        Erasure::Delete => Some(format!("DELETE t FROM {from} WHERE {condition}")),
        Erasure::Clear => {
            let cleared = table.columns.iter().filter_map(|(column, data)| match data {
                Data::Kept => None,
                Data::Personal(value) | Data::Secret(value) => Some(format!("t.{column} = {value}")),
            });
            Some(format!("UPDATE {from} SET {} WHERE {condition}", cleared.collect::<Vec<_>>().join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_delete_rows_or_clear_columns() {
        let of = |name: &str| {
            let table = TABLES.iter().find(|table| table.name == name).unwrap();
            table.rows.iter().filter_map(|rows| statement(table, rows)).collect::<Vec<_>>()
        };
        assert_eq!(of("messages"), ["DELETE t FROM messages t WHERE t.user_id = ?"]);
        assert_eq!(
            of("users"),
            ["UPDATE users t SET t.username = CONCAT('deleted:', t.id), t.password_hash = '', t.email = NULL, \
              t.nickname = NULL, t.locale = NULL WHERE t.id = ?"]
        );
        assert!(of("order_items").is_empty() && of("products").is_empty());
    }
}
