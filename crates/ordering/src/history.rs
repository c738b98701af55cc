//! An order's log: every change of its state.

use kit::{
    OrderNo, Problem, Result, Timestamp, UserId,
    mysql::{Connection, Transaction},
    pagination::{Page, PageQuery},
    params, row,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    locked_order::LockedOrder,
    state::{Event, OrderState},
};

/// Who changed an order.
#[derive(Debug, Clone, Copy)]
pub enum Actor {
    User(UserId),
    Admin(UserId),
    /// A worker.
    Shop,
}

impl Actor {
    fn columns(self) -> (&'static str, Option<UserId>) {
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
        /// Null for the first entry.
        #[schema(required)]
        pub from: Option<OrderState> as "from_status",
        pub to: OrderState as "to_status",
        /// `placed`, `paid`, `cancelled`, `expired`, `shipped`, `confirmed`, `refund_requested`, `refund_rejected` or
        /// `refunded`.
        #[schema(example = "paid")]
        pub cause: String,
        /// The reason that was given.
        #[schema(required)]
        pub reason: Option<String>,
        /// `user`, `admin` or `shop`.
        #[schema(example = "user")]
        pub actor: String,
        pub at: Timestamp as "created_at",
    }
}

/// Records that orders, at least one, were placed, and by whom.
pub(crate) async fn record_placed(tx: &mut Transaction, orders: &[(&OrderNo, UserId)]) -> Result<()> {
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

/// Records an event of a locked order and returns the state that follows; 409 `order_state` if it can't happen now. The
/// caller writes the state to the order.
pub(crate) async fn transition(
    tx: &mut Transaction,
    order: &LockedOrder,
    event: Event,
    reason: Option<&str>,
    actor: Actor,
) -> Result<OrderState> {
    transition_all(tx, std::slice::from_ref(order), event, reason, actor).await
}

/// The same for several orders, at least one: the event leads all of them to the same state.
pub(crate) async fn transition_all(
    tx: &mut Transaction,
    orders: &[LockedOrder],
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
    order_no: &'a OrderNo,
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
        params![order_no, from, to, cause, reason, actor, user_id, now]
    });
    Ok(tx.execute(&sql, values.collect()).await?)
}

/// A page of an order's changes, oldest first.
pub async fn list(db: &mut Connection, order_no: &OrderNo, page: &PageQuery) -> Result<Page<Change>> {
    let sql = format!("SELECT {} FROM order_log WHERE order_no = ? AND id > ? ORDER BY id LIMIT ?", Change::COLUMNS);
    let (limit, after) = (page.limit()?, page.cursor::<i64>()?.unwrap_or_default());
    let changes = db.query::<Change>(&sql, params![order_no, after, i64::from(limit).saturating_add(1)]).await?;
    Ok(Page::new(changes, limit, |change: &Change| change.id))
}
