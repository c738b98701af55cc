//! Adds products to the search index that are missing from it: those that are older than the index, and those that were
//! inserted with SQL.

use std::collections::BTreeMap;

use mysql_async::{Conn, Error, Result, Transaction, TxOpts, Value, prelude::Queryable};
use search::block;

const BATCH_SIZE: usize = 500;

/// How often a batch is tried that conflicts with another transaction.
const MAX_ATTEMPTS: usize = 5;

/// Adds all of them, in the same way as the function `catalog`. Returns how many.
pub async fn add_missing(connection: &mut Conn) -> anyhow::Result<usize> {
    // This takes no locks, since the shop may be in use. `add_batch` locks the rows and checks again.
    const MISSING: &str = "SELECT id FROM products WHERE id > ? AND search_text IS NULL ORDER BY id LIMIT ?";
    connection.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
    let (mut count, mut last) = (0, 0);
    loop {
        let ids: Vec<i64> = connection.exec(MISSING, (last, BATCH_SIZE)).await?;
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
fn is_conflict(error: &Error) -> bool {
    matches!(error, Error::Server(error) if matches!(error.code, 1205 | 1213))
}

async fn add_batch(connection: &mut Conn, list: &str) -> Result<usize> {
    let mut transaction = connection.start_transaction(TxOpts::default()).await?;
    let lock =
        format!("SELECT id, name FROM products WHERE id IN ({list}) AND search_text IS NULL ORDER BY id FOR UPDATE");
    let products: Vec<(i64, String)> = transaction.query(lock).await?;
    add(&mut transaction, &products).await?;
    transaction.commit().await?;
    Ok(products.len())
}

/// Adds products, by id and name, whose rows the transaction has locked.
pub async fn add(transaction: &mut Transaction<'_>, products: &[(i64, String)]) -> Result<()> {
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
        let values = |((term, block), products): &((String, i64), Vec<u8>)| {
            [Value::from(term.as_bytes()), Value::from(block), Value::from(products)]
        };
        transaction.exec_drop(sql, lists.iter().flat_map(values).collect::<Vec<_>>()).await?;
    }
    for texts in texts.chunks(100) {
        let mut sql = "UPDATE products SET search_text = CASE id ".to_owned();
        for _ in texts {
            sql.push_str("WHEN ? THEN ? ");
        }
        let ids = texts.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>().join(",");
        sql.push_str(&format!("END WHERE id IN ({ids})"));
        let values = |(id, text): &(i64, String)| [Value::from(id), Value::from(text)];
        transaction.exec_drop(sql, texts.iter().flat_map(values).collect::<Vec<_>>()).await?;
    }
    Ok(())
}
