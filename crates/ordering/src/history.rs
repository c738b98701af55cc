//! How an order came to its state: every change is kept.

use kit::{
    Problem, Result, Timestamp,
    mysql::{Connection, Transaction},
    page::{Page, PageQuery},
    params, row,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{Event, OrderState, stock::Locked};

/// Who changed an order.
#[derive(Debug, Clone, Copy)]
pub enum Actor {
    User(i64),
    Admin(i64),
    /// A worker, by itself.
    Shop,
}

impl Actor {
    fn columns(self) -> (&'static str, Option<i64>) {
        match self {
            Actor::User(id) => ("user", Some(id)),
            Actor::Admin(id) => ("admin", Some(id)),
            Actor::Shop => ("shop", None),
        }
    }
}

row! {
    /// A change of an order's state.
    #[derive(Debug, Serialize, ToSchema)]
    pub struct Change {
        #[serde(skip)]
        pub id: i64,
        /// Null for the order's beginning.
        #[schema(required)]
        pub from: Option<OrderState>,
        pub to: OrderState,
        /// `placed`, `paid`, `cancelled`, `expired`, `shipped`, `confirmed`, `refund_requested`, `refund_rejected` or
        /// `refunded`.
        pub cause: String,
        /// What somebody said of it.
        #[schema(required)]
        pub reason: Option<String>,
        /// `user`, `admin` or `shop`.
        pub actor: String,
        pub at: Timestamp,
    }
}

/// Notes how orders began, at least one: their numbers, and who placed them.
pub(crate) async fn begun(tx: &mut Transaction, orders: &[(&str, i64)]) -> Result<()> {
    let entries = orders.iter().map(|(order_no, user_id)| Entry {
        order_no,
        from: None,
        to: OrderState::Pending,
        cause: "placed",
        reason: None,
        actor: Actor::User(*user_id),
    });
    insert(tx, entries.collect()).await
}

/// The state that a locked order is in after the event, which is noted; 409 `order_state` if it can't happen now.
pub(crate) async fn change(
    tx: &mut Transaction,
    order: &Locked,
    event: Event,
    reason: Option<&str>,
    actor: Actor,
) -> Result<OrderState> {
    change_all(tx, std::slice::from_ref(order), event, reason, actor).await
}

/// The same for some orders, at least one: an event leads all to one state.
pub(crate) async fn change_all(
    tx: &mut Transaction,
    orders: &[Locked],
    event: Event,
    reason: Option<&str>,
    actor: Actor,
) -> Result<OrderState> {
    let mut next = Err(Problem::internal());
    let mut entries = Vec::new();
    for order in orders {
        let to = order.status.after(event)?;
        next = Ok(to);
        let (order_no, from) = (&order.order_no, Some(order.status));
        entries.push(Entry { order_no, from, to, cause: event.cause(), reason, actor });
    }
    insert(tx, entries).await?;
    next
}

struct Entry<'a> {
    order_no: &'a str,
    from: Option<OrderState>,
    to: OrderState,
    cause: &'static str,
    reason: Option<&'a str>,
    actor: Actor,
}

async fn insert(tx: &mut Transaction, entries: Vec<Entry<'_>>) -> Result<()> {
    let sql = format!(
        "INSERT INTO order_log (order_no, from_status, to_status, cause, reason, actor, user_id, created_at) VALUES {}",
        vec!["(?, ?, ?, ?, ?, ?, ?, ?)"; entries.len()].join(", ")
    );
    let now = Timestamp::now();
    let values = entries.into_iter().flat_map(|Entry { order_no, from, to, cause, reason, actor }| {
        let (actor, user_id) = actor.columns();
        params![order_no, from.map(OrderState::name), to.name(), cause, reason, actor, user_id, now]
    });
    Ok(tx.execute(&sql, values.collect()).await?)
}

/// A page of an order's changes, the first one first.
pub async fn list(db: &mut Connection, order_no: &str, page: &PageQuery) -> Result<Page<Change>> {
    const LIST: &str = "
        SELECT id, from_status AS `from`, to_status AS `to`, cause, reason, actor, created_at AS at
        FROM order_log WHERE order_no = ? AND id > ? ORDER BY id LIMIT ?";
    let (limit, after) = (page.limit()?, page.cursor::<i64>()?.unwrap_or_default());
    let changes = db.query::<Change>(LIST, params![order_no, after, i64::from(limit).saturating_add(1)]).await?;
    Ok(Page::new(changes, limit, |change: &Change| change.id))
}
