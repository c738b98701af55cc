//! Inserting new orders.

use kit::{
    OrderNo, Problem, Result, Timestamp, UserId,
    jobs::{NewJob, Queue},
    mysql::Transaction,
    params,
};
use serde::{Deserialize, Serialize};

use crate::{history, order::Order};

/// An order to be inserted.
pub struct PlacedOrder<'a> {
    pub user_id: UserId,
    pub order: Order,
    /// Its ticket, if it comes from a flash sale.
    pub ticket: Option<&'a str>,
}

/// The payload of a `timer` job: the order is cancelled unless it has been paid.
#[derive(Debug, Serialize, Deserialize)]
pub struct Expiry {
    pub order_no: OrderNo,
}

impl Expiry {
    fn job(&self, due: Timestamp) -> Result<NewJob> {
        Queue::Timer.job(self, due)
    }
}

/// Inserts pending orders, at least one, with their items, their first log entries and the jobs of their expiry.
pub async fn insert(tx: &mut Transaction, orders: &[PlacedOrder<'_>]) -> Result<()> {
    insert_orders(tx, orders).await?;
    if let Some(first) = orders.first() {
        tx.proven_by("SELECT 1 FROM orders WHERE order_no = ? FOR UPDATE", params![&first.order.order_no]);
    }
    insert_items(tx, orders).await?;
    let placed: Vec<_> = orders.iter().map(|placed| (&placed.order.order_no, placed.user_id)).collect();
    history::record_placed(tx, &placed).await?;
    let expiry =
        |placed: &PlacedOrder<'_>| Expiry { order_no: placed.order.order_no.clone() }.job(placed.order.expires_at);
    tx.enqueue(&orders.iter().map(expiry).collect::<Result<Vec<_>>>()?).await
}

async fn insert_orders(tx: &mut Transaction, orders: &[PlacedOrder<'_>]) -> Result<()> {
    let sql = format!(
        "INSERT INTO orders (order_no, user_id, status, subtotal_cents, discount_cents, total_cents, currency,
                             discounts, address, note, created_at, expires_at, ticket)
         VALUES {}",
        rows("(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", orders.len())
    );
    let mut values = Vec::new();
    for PlacedOrder { user_id, order, ticket } in orders {
        values.extend(params![
            &order.order_no,
            *user_id,
            order.status,
            order.subtotal_cents,
            order.discount_cents,
            order.total_cents,
            &order.currency,
            json(&order.discounts)?,
            order.address.as_ref().map(json).transpose()?,
            order.note.as_deref(),
            order.created_at,
            order.expires_at,
            *ticket,
        ]);
    }
    Ok(tx.execute(&sql, values).await?)
}

async fn insert_items(tx: &mut Transaction, orders: &[PlacedOrder<'_>]) -> Result<()> {
    let mut values = Vec::new();
    let mut count = 0_usize;
    for PlacedOrder { order, .. } in orders {
        count = count.saturating_add(order.items.len());
        for (item, line) in order.items.iter().zip(1_i64..) {
            values.extend(params![
                &order.order_no,
                line,
                item.product_id,
                &item.name,
                item.image_url.as_deref(),
                item.price_cents,
                item.quantity,
                item.amount_cents,
                item.discount_cents,
            ]);
        }
    }
    let sql = format!(
        "INSERT INTO order_items (order_no, line, product_id, name, image_url, price_cents, quantity, amount_cents,
                                  discount_cents)
         VALUES {}",
        rows("(?, ?, ?, ?, ?, ?, ?, ?, ?)", count)
    );
    Ok(tx.execute(&sql, values).await?)
}

fn rows(row: &str, count: usize) -> String {
    vec![row; count].join(", ")
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Problem::internal().because(error))
}
