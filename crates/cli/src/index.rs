//! Products that can't be found by their names yet: those from before there was an index, and those that were loaded by
//! the thousand.

use std::collections::BTreeMap;

use search::block;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, mysql::MySqlDatabaseError};

const AT_ONCE: usize = 500;

/// How often what somebody else's write got in the way of is tried.
const ATTEMPTS: usize = 5;

/// Has all of them found, as the function `catalog` does; says how many.
pub async fn complete(connection: &mut MySqlConnection) -> anyhow::Result<usize> {
    // Without a lock at first: the shop may be open.
    const MISSING: &str = "SELECT id FROM products WHERE id > ? AND search_text IS NULL ORDER BY id LIMIT ?";
    connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
    let (mut count, mut last) = (0, 0);
    loop {
        let ids: Vec<i64> =
            sqlx::query_scalar(MISSING).bind(last).bind(AT_ONCE as i64).fetch_all(&mut *connection).await?;
        let Some(end) = ids.last() else { return Ok(count) };
        last = *end;
        let list = ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        let mut attempt = 1;
        count += loop {
            match add_missing(connection, &list).await {
                Err(error) if attempt < ATTEMPTS && is_conflict(&error) => attempt += 1,
                added => break added?,
            }
        };
    }
}

/// A deadlock, or a lock that was waited for too long.
fn is_conflict(error: &sqlx::Error) -> bool {
    let error = error.as_database_error().and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
    error.is_some_and(|error| matches!(error.number(), 1205 | 1213))
}

async fn add_missing(connection: &mut MySqlConnection, list: &str) -> sqlx::Result<usize> {
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
    // In the order in which they are kept.
    let mut lists = BTreeMap::<_, Vec<u8>>::new();
    for (id, text) in &texts {
        let (block, place) = block::place(*id);
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
