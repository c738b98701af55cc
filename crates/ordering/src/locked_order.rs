//! Locking orders.

use std::collections::BTreeSet;

use kit::{
    Cents, OrderNo, Problem, ProductId, Result, Timestamp, UserId,
    mysql::{Transaction, param, placeholders},
    row,
};
use products::Line;

use crate::state::OrderState;

row! {
    /// A locked order, with the columns that its transitions need.
    pub(crate) struct LockedOrder {
        pub order_no: OrderNo,
        pub user_id: UserId,
        pub status: OrderState,
        pub total_cents: Cents,
        pub currency: String,
        pub expires_at: Timestamp,
        pub shipped_at: Option<Timestamp>,
        pub refund_no: Option<String>,
        /// Its ticket, if it came from a flash sale.
        pub ticket: Option<String>,
    }
}

/// Locks orders of any users in the order of their numbers; 404 if one of them does not exist.
pub(crate) async fn lock_all(tx: &mut Transaction, order_nos: &BTreeSet<&OrderNo>) -> Result<Vec<LockedOrder>> {
    let sql = format!(
        "SELECT {} FROM orders WHERE order_no IN ({}) ORDER BY order_no FOR UPDATE",
        LockedOrder::COLUMNS,
        placeholders(order_nos.len())
    );
    let orders = tx.query::<LockedOrder>(&sql, order_nos.iter().copied().map(param).collect()).await?;
    if orders.len() == order_nos.len() { Ok(orders) } else { Err(Problem::not_found("order")) }
}

/// Locks an order of any user; 404 if there is none.
pub(crate) async fn lock_any(tx: &mut Transaction, order_no: &OrderNo) -> Result<LockedOrder> {
    let mut orders = lock_all(tx, &BTreeSet::from([order_no])).await?;
    orders.pop().ok_or_else(|| Problem::not_found("order"))
}

/// Locks a user's order; 404 if it is another user's.
pub(crate) async fn lock(tx: &mut Transaction, user_id: UserId, order_no: &OrderNo) -> Result<LockedOrder> {
    let order = lock_any(tx, order_no).await?;
    if order.user_id == user_id { Ok(order) } else { Err(Problem::not_found("order")) }
}

row! {
    /// A line of an order.
    pub(crate) struct OrderLine { pub order_no: OrderNo, pub product_id: ProductId, pub quantity: i64 }
}

impl OrderLine {
    pub fn line(&self) -> Line {
        Line { product_id: self.product_id, quantity: self.quantity }
    }
}

/// The lines of orders, at least one, sorted by the orders and by their numbers.
pub(crate) async fn order_lines(
    tx: &mut Transaction,
    order_nos: impl ExactSizeIterator<Item = &OrderNo>,
) -> Result<Vec<OrderLine>> {
    let sql = format!(
        "SELECT {} FROM order_items WHERE order_no IN ({}) ORDER BY order_no, line",
        OrderLine::COLUMNS,
        placeholders(order_nos.len())
    );
    Ok(tx.query(&sql, order_nos.map(param).collect()).await?)
}
