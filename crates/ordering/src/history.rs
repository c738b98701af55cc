//! How an order came to its state: every change is kept.

use kit::{
    Result, Timestamp,
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

/// Notes how the order began.
pub(crate) async fn begun(tx: &mut Transaction, user_id: i64, order_no: &str) -> Result<()> {
    insert(tx, order_no, None, OrderState::Pending, "placed", None, Actor::User(user_id)).await
}

/// The state that a locked order is in after the event, which is noted; 409 `order_state` if it can't happen now.
pub(crate) async fn change(
    tx: &mut Transaction,
    order: &Locked,
    event: Event,
    reason: Option<&str>,
    actor: Actor,
) -> Result<OrderState> {
    let next = order.status.after(event)?;
    insert(tx, &order.order_no, Some(order.status), next, event.cause(), reason, actor).await?;
    Ok(next)
}

async fn insert(
    tx: &mut Transaction,
    order_no: &str,
    from: Option<OrderState>,
    to: OrderState,
    cause: &str,
    reason: Option<&str>,
    actor: Actor,
) -> Result<()> {
    const INSERT: &str = "
        INSERT INTO order_log (order_no, from_status, to_status, cause, reason, actor, user_id, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    let (actor, user_id) = actor.columns();
    let from = from.map(OrderState::name);
    Ok(tx.execute(INSERT, params![order_no, from, to.name(), cause, reason, actor, user_id, Timestamp::now()]).await?)
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
