//! The stock of a product, in three counts: available, reserved by orders that are not paid, sold.

use std::collections::BTreeMap;

use kit::{
    Code, Problem, ProductId, Result, Timestamp, UserId,
    mysql::{Connection, Transaction, param, placeholders},
    params, row,
};
use serde::Serialize;
use strum::IntoStaticStr;
use utoipa::ToSchema;

use crate::{MAX_STOCK, product_cache};

/// A quantity of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    pub product_id: ProductId,
    pub quantity: i64,
}

/// One of a product's three counts, with the name of its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum StockCount {
    Available,
    Reserved,
    Sold,
}

row! {
    #[derive(Debug, Clone, Copy, Serialize, ToSchema)]
    pub struct Stock {
        #[schema(minimum = 0)]
        pub available: i64,
        #[schema(minimum = 0)]
        pub reserved: i64,
        #[schema(minimum = 0)]
        pub sold: i64,
    }
}

/// Locks a product; 404 if there is none.
pub async fn lock(tx: &mut Transaction, product_id: ProductId) -> Result<Stock> {
    let sql = format!("SELECT {} FROM products WHERE id = ? FOR UPDATE", Stock::COLUMNS);
    tx.query_one(&sql, params![product_id]).await?.ok_or_else(|| Problem::not_found("product"))
}

/// Products that one statement changes at most: its cost grows with the square of them.
const CHANGED_AT_ONCE: usize = 500;

/// Moves each line's quantity from one count of its product to another; several lines may be of the same product. It
/// takes a single statement, or few, since other buyers of the products wait for the end of this transaction. Rows are
/// locked in the order of their ids.
pub async fn transfer(tx: &mut Transaction, lines: &[Line], from: StockCount, to: StockCount) -> Result<()> {
    if from == to {
        return Ok(());
    }
    let mut by_product = BTreeMap::<_, i64>::new();
    for line in lines {
        let sum = by_product.entry(line.product_id).or_default();
        *sum = sum.saturating_add(line.quantity);
    }
    let quantities: Vec<_> = by_product.into_iter().collect();
    for quantities in quantities.chunks(CHANGED_AT_ONCE) {
        transfer_quantities(tx, quantities, from, to).await?;
    }
    if [from, to].contains(&StockCount::Available) {
        product_cache::evict_after_commit(tx, quantities.into_iter().map(|(product_id, _)| product_id));
    }
    Ok(())
}

async fn transfer_quantities(
    tx: &mut Transaction,
    quantities: &[(ProductId, i64)],
    from: StockCount,
    to: StockCount,
) -> Result<()> {
    let (less, more): (&str, &str) = (from.into(), to.into());
    let quantity = format!("CASE id {}END", "WHEN ? THEN ? ".repeat(quantities.len()));
    let sql = format!(
        "UPDATE products SET {less} = {less} - {quantity}, {more} = {more} + {quantity} WHERE id IN ({})",
        placeholders(quantities.len())
    );
    let cases = || quantities.iter().flat_map(|(product_id, quantity)| params![*product_id, *quantity]);
    let ids = quantities.iter().map(|(product_id, _)| param(*product_id));
    Ok(tx.execute(&sql, cases().chain(cases()).chain(ids).collect()).await?)
}

/// Adds `delta` units, or removes some if it is negative; returns the stock before and after. 409 `out_of_stock` if
/// fewer are available, 422 above [`MAX_STOCK`].
pub async fn adjust(
    tx: &mut Transaction,
    product_id: ProductId,
    delta: i64,
    reason: &str,
    user_id: UserId,
) -> Result<(Stock, Stock)> {
    const UPDATE: &str = "UPDATE products SET available = ?, updated_at = ? WHERE id = ?";
    let before = lock(tx, product_id).await?;
    let after = Stock { available: before.available.saturating_add(delta), ..before };
    if after.available < 0 {
        return Err(Problem::new(Code::OutOfStock, format!("Only {} are available", before.available)));
    }
    if after.available > MAX_STOCK {
        return Err(Problem::invalid("delta", format!("must not bring the stock above {MAX_STOCK}")));
    }
    tx.execute(UPDATE, params![after.available, Timestamp::now(), product_id]).await?;
    record_movement(tx, product_id, delta, reason, user_id).await?;
    product_cache::evict_after_commit(tx, [product_id]);
    Ok((before, after))
}

pub(crate) async fn record_movement(
    tx: &mut Transaction,
    product_id: ProductId,
    delta: i64,
    reason: &str,
    user_id: UserId,
) -> Result<()> {
    const MOVEMENT: &str = "
        INSERT INTO stock_movements (product_id, delta, reason, user_id, created_at) VALUES (?, ?, ?, ?, ?)";
    Ok(tx.execute(MOVEMENT, params![product_id, delta, reason, user_id, Timestamp::now()]).await?)
}

/// The total units of all products.
pub async fn totals(db: &mut Connection) -> Result<Stock> {
    const TOTALS: &str = "
        SELECT CAST(COALESCE(SUM(available), 0) AS SIGNED) AS available,
               CAST(COALESCE(SUM(reserved), 0) AS SIGNED) AS reserved,
               CAST(COALESCE(SUM(sold), 0) AS SIGNED) AS sold
        FROM products";
    db.query_one(TOTALS, vec![]).await?.ok_or_else(Problem::internal)
}
