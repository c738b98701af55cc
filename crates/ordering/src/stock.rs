//! What an order's end does to the stock that it holds.

use kit::{
    Problem, Result, Timestamp,
    mysql::{Connection, Transaction, marks, param},
    params, row,
};

use crate::{Cents, Event, Line, OrderState};

row! {
    /// An order under lock: what decides about it.
    pub(crate) struct Locked { pub status: OrderState, pub total_cents: Cents, pub currency: String, pub expires_at: Timestamp }
}

/// Locks a user's order; 404 if it is somebody else's.
pub(crate) async fn lock(tx: &mut Transaction, user_id: i64, order_no: &str) -> Result<Locked> {
    const LOCK: &str = "
        SELECT status, total_cents, currency, expires_at FROM orders
        WHERE order_no = ? AND user_id = ? FOR UPDATE";
    let order = tx.query_one(LOCK, params![order_no, user_id]).await?;
    order.ok_or_else(|| Problem::not_found("order"))
}

/// Cancels a user's order while it is pending, and gives its stock back.
pub async fn cancel(tx: &mut Transaction, user_id: i64, order_no: &str, reason: Option<&str>) -> Result<()> {
    const CANCEL: &str = "UPDATE orders SET status = ?, cancelled_at = ?, cancel_reason = ? WHERE order_no = ?";
    let next = lock(tx, user_id, order_no).await?.status.after(Event::Cancel)?;
    release(tx, order_no).await?;
    tx.execute(CANCEL, params![next.name(), Timestamp::now(), reason, order_no]).await?;
    Ok(())
}

/// What is available is reserved. The products are locked, and there is enough of each.
pub(crate) async fn reserve(tx: &mut Transaction, lines: impl Iterator<Item = Line>) -> Result<()> {
    shift(tx, lines.collect(), "available", "reserved").await
}

/// What an order reserved can be bought again.
async fn release(tx: &mut Transaction, order_no: &str) -> Result<()> {
    let lines = held(tx, order_no).await?;
    shift(tx, lines, "reserved", "available").await
}

/// What an order reserved is sold.
pub(crate) async fn sell(tx: &mut Transaction, order_no: &str) -> Result<()> {
    let lines = held(tx, order_no).await?;
    shift(tx, lines, "reserved", "sold").await
}

row! {
    struct Held { product_id: i64, quantity: i64 }
}

async fn held(tx: &mut Connection, order_no: &str) -> Result<Vec<Line>> {
    const HELD: &str = "SELECT product_id, quantity FROM order_items WHERE order_no = ?";
    let held = tx.query::<Held>(HELD, params![order_no]).await?;
    Ok(held.into_iter().map(|held| Line { product_id: held.product_id, quantity: held.quantity }).collect())
}

/// Moves each line's quantity from one count of its product to another: in one statement, because all who want these
/// products wait for the end of this transaction. The primary key is walked, and so locked, in its order.
async fn shift(tx: &mut Transaction, lines: Vec<Line>, from: &str, to: &str) -> Result<()> {
    let quantity = format!("CASE id {}END", "WHEN ? THEN ? ".repeat(lines.len()));
    let sql = format!(
        "UPDATE products SET {from} = {from} - {quantity}, {to} = {to} + {quantity} WHERE id IN ({})",
        marks(lines.len())
    );
    let quantities = || lines.iter().flat_map(|line| params![line.product_id, line.quantity]);
    let ids = lines.iter().map(|line| param(line.product_id));
    Ok(tx.execute(&sql, quantities().chain(quantities()).chain(ids).collect()).await?)
}
