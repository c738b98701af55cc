//! Orders as the API shows them.

use std::collections::BTreeMap;

use kit::{
    Cents, OrderNo, Problem, ProductId, Result, Timestamp, UserId,
    mysql::{self, Connection, ParameterValue, param, placeholders},
    pagination::{Page, PageQuery},
    params, row,
};
use products::Line;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    pricing::{Discount, Quote},
    refund::{Refund, RefundStatus},
    state::OrderState,
};

/// An order, with copies of what it was placed with.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Order {
    pub order_no: OrderNo,
    pub status: OrderState,
    pub items: Vec<OrderItem>,
    pub subtotal_cents: Cents,
    pub discount_cents: Cents,
    pub total_cents: Cents,
    /// ISO 4217.
    #[schema(pattern = "^[A-Z]{3}$", example = "CNY")]
    pub currency: String,
    pub discounts: Vec<Discount>,
    #[schema(required)]
    pub address: Option<Address>,
    #[schema(required, example = "Please ring twice")]
    pub note: Option<String>,
    pub created_at: Timestamp,
    /// If it is not paid by then, it is cancelled.
    pub expires_at: Timestamp,
    #[schema(required)]
    pub paid_at: Option<Timestamp>,
    #[schema(required)]
    pub shipped_at: Option<Timestamp>,
    #[schema(required)]
    pub completed_at: Option<Timestamp>,
    #[schema(required)]
    pub cancelled_at: Option<Timestamp>,
    #[schema(required)]
    pub cancel_reason: Option<String>,
    #[schema(required, example = "SF Express")]
    pub carrier: Option<String>,
    #[schema(required, example = "SF1234567890")]
    pub tracking_no: Option<String>,
    #[schema(required)]
    pub refund: Option<Refund>,
}

impl Order {
    /// A new order, to be paid within `ttl_seconds`.
    pub fn pending(quote: Quote, items: Vec<OrderItem>, ttl_seconds: i64) -> Self {
        let created_at = Timestamp::now();
        Order {
            order_no: OrderNo::generate(),
            status: OrderState::Pending,
            items,
            subtotal_cents: quote.subtotal_cents,
            discount_cents: quote.discount_cents,
            total_cents: quote.total_cents,
            currency: quote.currency,
            discounts: quote.discounts,
            address: None,
            note: None,
            created_at,
            expires_at: created_at.plus_seconds(ttl_seconds),
            paid_at: None,
            shipped_at: None,
            completed_at: None,
            cancelled_at: None,
            cancel_reason: None,
            carrier: None,
            tracking_no: None,
            refund: None,
        }
    }

    /// The quantity of each product.
    pub fn lines(&self) -> impl Iterator<Item = Line> {
        self.items.iter().map(|item| Line { product_id: item.product_id, quantity: item.quantity })
    }
}

/// One product of an order, as it was when the order was placed.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OrderItem {
    pub product_id: ProductId,
    #[schema(example = "Wireless headphones")]
    pub name: String,
    #[schema(required)]
    pub image_url: Option<String>,
    pub price_cents: Cents,
    #[schema(minimum = 1, maximum = 999, example = 2)]
    pub quantity: i64,
    pub amount_cents: Cents,
    /// Its share of the order's discounts.
    pub discount_cents: Cents,
}

/// Where an order goes, as it was when the order was placed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = OrderAddress)]
pub struct Address {
    #[schema(example = "Alice Chen")]
    pub receiver: String,
    #[schema(example = "+86 10 1234 5678")]
    pub phone: String,
    #[schema(example = "Beijing, Chaoyang")]
    pub region: String,
    #[schema(example = "1 Example Road, apartment 2")]
    pub detail: String,
}

row! {
    struct OrderRow {
        order_no: OrderNo as "o.order_no",
        status: OrderState as "o.status",
        subtotal_cents: Cents,
        discount_cents: Cents,
        total_cents: Cents,
        currency: String,
        discounts: String,
        address: Option<String>,
        note: Option<String>,
        created_at: Timestamp as "o.created_at",
        expires_at: Timestamp,
        paid_at: Option<Timestamp>,
        shipped_at: Option<Timestamp>,
        completed_at: Option<Timestamp>,
        cancelled_at: Option<Timestamp>,
        cancel_reason: Option<String>,
        carrier: Option<String>,
        tracking_no: Option<String>,
        refund_no: Option<String> as "r.refund_no",
        refund_status: Option<RefundStatus> as "r.status",
        refund_cents: Option<Cents> as "r.amount_cents",
        refund_reason: Option<String> as "r.reason",
        reject_reason: Option<String>,
    }
}

row! {
    struct ItemRow {
        order_no: OrderNo, product_id: ProductId, name: String, image_url: Option<String>,
        price_cents: Cents, quantity: i64, amount_cents: Cents, discount_cents: Cents,
    }
}

const TABLES: &str = "orders o LEFT JOIN refunds r ON r.refund_no = o.refund_no";

/// A user's order; 404 if it is another user's.
pub async fn find(db: &mut Connection, user_id: UserId, order_no: &OrderNo) -> Result<Order> {
    find_where(db, "o.order_no = ? AND o.user_id = ?", params![order_no, user_id]).await
}

/// An order of any user; 404 if there is none.
pub async fn find_any(db: &mut Connection, order_no: &OrderNo) -> Result<Order> {
    find_where(db, "o.order_no = ?", params![order_no]).await
}

async fn find_where(db: &mut Connection, condition: &str, values: Vec<ParameterValue>) -> Result<Order> {
    let sql = format!("SELECT {} FROM {TABLES} WHERE {condition}", OrderRow::COLUMNS);
    let row = db.query_one::<OrderRow>(&sql, values).await?;
    let row = row.ok_or_else(|| Problem::not_found("order"))?;
    with_items(db, vec![row], 1).await?.pop().ok_or_else(Problem::internal)
}

/// A page of a user's orders, newest first.
pub async fn list(
    db: &mut Connection,
    user_id: UserId,
    status: Option<OrderState>,
    page: &PageQuery,
) -> Result<Page<Order>> {
    list_where(db, Some(user_id), status, page).await
}

/// A page of all orders, newest first.
pub async fn list_all(db: &mut Connection, status: Option<OrderState>, page: &PageQuery) -> Result<Page<Order>> {
    list_where(db, None, status, page).await
}

async fn list_where(
    db: &mut Connection,
    user_id: Option<UserId>,
    status: Option<OrderState>,
    page: &PageQuery,
) -> Result<Page<Order>> {
    let (limit, before) = (page.limit()?, page.cursor::<OrderNo>()?);
    let (mut conditions, mut values) = (vec!["1 = 1"], vec![]);
    if let Some(user_id) = user_id {
        conditions.push("o.user_id = ?");
        values.extend(params![user_id]);
    }
    if let Some(status) = status {
        conditions.push("o.status = ?");
        values.extend(params![status]);
    }
    if let Some(before) = before {
        conditions.push("o.order_no < ?");
        values.extend(params![&before]);
    }
    values.extend(params![i64::from(limit).saturating_add(1)]);
    let conditions = conditions.join(" AND ");
    let sql = format!("SELECT {} FROM {TABLES} WHERE {conditions} ORDER BY o.order_no DESC LIMIT ?", OrderRow::COLUMNS);
    let rows = db.query::<OrderRow>(&sql, values).await?;
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    Ok(Page::new(with_items(db, rows, shown).await?, limit, |order| order.order_no.clone()))
}

/// The orders, of which the first `shown` have their items: a page's last row only shows that there is a next page.
async fn with_items(db: &mut Connection, rows: Vec<OrderRow>, shown: usize) -> Result<Vec<Order>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT {} FROM order_items WHERE order_no IN ({}) ORDER BY order_no, line",
        ItemRow::COLUMNS,
        placeholders(rows.len().min(shown))
    );
    let numbers = rows.iter().take(shown).map(|row| param(&row.order_no)).collect();
    let mut items = BTreeMap::<OrderNo, Vec<OrderItem>>::new();
    for row in db.query::<ItemRow>(&sql, numbers).await? {
        items.entry(row.order_no).or_default().push(OrderItem {
            product_id: row.product_id,
            name: row.name,
            image_url: row.image_url,
            price_cents: row.price_cents,
            quantity: row.quantity,
            amount_cents: row.amount_cents,
            discount_cents: row.discount_cents,
        });
    }
    Ok(rows.into_iter().map(|row| assemble(&mut items, row)).collect())
}

fn assemble(items: &mut BTreeMap<OrderNo, Vec<OrderItem>>, row: OrderRow) -> Order {
    Order {
        items: items.remove(&row.order_no).unwrap_or_default(),
        // This crate wrote the JSON, so it can be parsed.
        discounts: serde_json::from_str(&row.discounts).unwrap_or_default(),
        address: row.address.and_then(|json| serde_json::from_str(&json).ok()),
        order_no: row.order_no,
        status: row.status,
        subtotal_cents: row.subtotal_cents,
        discount_cents: row.discount_cents,
        total_cents: row.total_cents,
        currency: row.currency,
        note: row.note,
        created_at: row.created_at,
        expires_at: row.expires_at,
        paid_at: row.paid_at,
        shipped_at: row.shipped_at,
        completed_at: row.completed_at,
        cancelled_at: row.cancelled_at,
        cancel_reason: row.cancel_reason,
        carrier: row.carrier,
        tracking_no: row.tracking_no,
        refund: refund(row.refund_no, row.refund_status, row.refund_cents, row.refund_reason, row.reject_reason),
    }
}

fn refund(
    refund_no: Option<String>,
    status: Option<RefundStatus>,
    amount_cents: Option<Cents>,
    reason: Option<String>,
    reject_reason: Option<String>,
) -> Option<Refund> {
    Some(Refund { refund_no: refund_no?, status: status?, amount_cents: amount_cents?, reason: reason?, reject_reason })
}

/// A user's orders that are not paid, and how many others are not done.
pub async fn open_orders(db: &mut Connection, user_id: UserId) -> Result<(Vec<OrderNo>, usize)> {
    let sql = format!(
        "SELECT {} FROM orders WHERE user_id = ? AND status NOT IN ('completed', 'cancelled', 'refunded')",
        OpenRow::COLUMNS
    );
    let rows = db.query::<OpenRow>(&sql, params![user_id]).await?;
    let (unpaid, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.status == OrderState::Pending);
    Ok((unpaid.into_iter().map(|row| row.order_no).collect(), others.len()))
}

row! {
    struct OpenRow { order_no: OrderNo, status: OrderState }
}

row! {
    /// How many orders have a status, which may be one of a later version; at most [`mysql::MAX_COUNT`].
    pub struct StatusCount { pub status: String, pub count: i64 }
}

/// The number of orders by status. It reads no more of the table than it counts, as `kit::jobs::counts` does.
pub async fn count_by_status(db: &mut Connection) -> Result<Vec<StatusCount>> {
    const NEXT: &str = "SELECT status FROM orders WHERE status > ? ORDER BY status LIMIT 1";
    let select = format!("SELECT ? AS status, {} AS count", mysql::bounded_count("orders WHERE status = ?"));
    let (mut counts, mut last) = (Vec::new(), String::new());
    while let Some((status,)) = db.query_one::<(String,)>(NEXT, params![&last]).await? {
        counts.extend(db.query_one::<StatusCount>(&select, params![&status, &status]).await?);
        last = status;
    }
    Ok(counts)
}
