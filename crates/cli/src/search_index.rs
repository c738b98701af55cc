//! Adds products to the search index that are missing from it: those that are older than the index, and those that were
//! inserted with SQL.

use std::collections::BTreeMap;

use search::block;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, mysql::MySqlDatabaseError};

const BATCH_SIZE: usize = 500;

/// How often a batch is tried that conflicts with another transaction.
const MAX_ATTEMPTS: usize = 5;

/// Adds all of them, in the same way as the function `catalog`. Returns how many.
pub async fn add_missing(connection: &mut MySqlConnection) -> anyhow::Result<usize> {
    // This takes no locks, since the shop may be in use. `add_batch` locks the rows and checks again.
    const MISSING: &str = "SELECT id FROM products WHERE id > ? AND search_text IS NULL ORDER BY id LIMIT ?";
    connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
    let (mut count, mut last) = (0, 0);
    loop {
        let ids: Vec<i64> =
            sqlx::query_scalar(MISSING).bind(last).bind(BATCH_SIZE as i64).fetch_all(&mut *connection).await?;
        let Some(id) = ids.last() else { return Ok(count) };
        last = *id;
        let list = ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        let mut attempt = 1;
        count += loop {
            match add_batch(connection, &list).await {
                Err(error) if attempt < MAX_ATTEMPTS && is_conflict(&error) => attempt += 1,
                added => break added?,
            }
        };
    }
}

/// Whether it is a deadlock or a lock wait timeout.
fn is_conflict(error: &sqlx::Error) -> bool {
    let error = error.as_database_error().and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
    error.is_some_and(|error| matches!(error.number(), 1205 | 1213))
}

async fn add_batch(connection: &mut MySqlConnection, list: &str) -> sqlx::Result<usize> {
    let mut transaction = connection.begin().await?;
    let lock =
        format!("SELECT id, name FROM products WHERE id IN ({list}) AND search_text IS NULL ORDER BY id FOR UPDATE");
    let products: Vec<(i64, String)> = sqlx::query_as(AssertSqlSafe(lock)).fetch_all(&mut *transaction).await?;
    add(&mut transaction, &products).await?;
    transaction.commit().await?;
    Ok(products.len())
}

async fn add(connection: &mut MySqlConnection, products: &[(i64, String)]) -> sqlx::Result<()> {
    let texts: Vec<_> = products.iter().map(|(id, name)| (*id, search::fold(name))).collect();
    // In the order of the primary key, so that concurrent transactions lock rows in the same order.
    let mut lists = BTreeMap::<_, Vec<u8>>::new();
    for (id, text) in &texts {
        let (block, place) = block::locate(*id);
        for term in search::terms(text) {
            lists.entry((term, block)).or_default().extend(place);
        }
    }
    let lists: Vec<_> = lists.into_iter().collect();
    for lists in lists.chunks(2000) {
        let rows = vec!["(?, ?, ?)"; lists.len()].join(",");
        let sql = format!(
            "INSERT INTO product_terms (term, block, products) VALUES {rows}
             ON DUPLICATE KEY UPDATE products = CONCAT(products, VALUES(products))"
        );
        let mut insert = sqlx::query(AssertSqlSafe(sql));
        for ((term, block), products) in lists {
            insert = insert.bind(term.as_bytes()).bind(block).bind(products);
        }
        insert.execute(&mut *connection).await?;
    }
    for texts in texts.chunks(100) {
        let mut sql = "UPDATE products SET search_text = CASE id ".to_owned();
        for _ in texts {
            sql.push_str("WHEN ? THEN ? ");
        }
        let ids = texts.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>().join(",");
        sql.push_str(&format!("END WHERE id IN ({ids})"));
        let mut update = sqlx::query(AssertSqlSafe(sql));
        for (id, text) in texts {
            update = update.bind(id).bind(text);
        }
        update.execute(&mut *connection).await?;
    }
    Ok(())
}
