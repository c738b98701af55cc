//! What an order's end does to the stock that it holds.

use kit::{
    Problem, Result, Timestamp,
    mysql::{Connection, Transaction},
    params, row,
};

use crate::{Cents, Event, OrderState};

row! {
    /// An order under lock: what decides about it.
    pub(crate) struct Locked { pub status: OrderState, pub total_cents: Cents, pub currency: String, pub expires_at: Timestamp }
}

row! {
    struct Held { product_id: i64, quantity: i64 }
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
    let release = "UPDATE products SET reserved = reserved - ?, available = available + ? WHERE id = ?";
    move_stock(tx, order_no, release).await?;
    tx.execute(CANCEL, params![next.name(), Timestamp::now(), reason, order_no]).await?;
    Ok(())
}

/// What was reserved is sold.
pub(crate) async fn sell(tx: &mut Transaction, order_no: &str) -> Result<()> {
    move_stock(tx, order_no, "UPDATE products SET reserved = reserved - ?, sold = sold + ? WHERE id = ?").await
}

/// Runs the statement with quantity, quantity and id for each product of the order, in the order of the ids.
async fn move_stock(tx: &mut Connection, order_no: &str, statement: &str) -> Result<()> {
    const HELD: &str = "SELECT product_id, quantity FROM order_items WHERE order_no = ? ORDER BY product_id";
    for held in tx.query::<Held>(HELD, params![order_no]).await? {
        tx.execute(statement, params![held.quantity, held.quantity, held.product_id]).await?;
    }
    Ok(())
}
