//! What the shop told a user.

use axum::Json as Reply;
use kit::{
    Result, Timestamp, User,
    extract::Query,
    mysql,
    page::{Page, PageQuery},
    params, row,
};
use serde::Serialize;
use utoipa::ToSchema;

row! {
    #[derive(Debug, Serialize, ToSchema)]
    pub struct Message {
        message_id: i64,
        /// `order_paid`, `order_shipped`, `order_cancelled`, `order_expired`, `order_refunded` or `refund_rejected`.
        kind: String,
        #[schema(required)]
        order_no: Option<String>,
        subject: String,
        body: String,
        created_at: Timestamp,
    }
}

/// What the shop told the user, newest first
#[utoipa::path(
    get, operation_id = "messages", path = "/api/user/message", tag = "accounts", security(("bearer" = [])), params(PageQuery),
    responses((status = 200, body = Page<Message>), (status = 422, description = "`invalid`"))
)]
pub async fn list(user: User, Query(page): Query<PageQuery>) -> Result<Reply<Page<Message>>> {
    const MESSAGES: &str = "
        SELECT id AS message_id, kind, order_no, subject, body, created_at FROM messages
        WHERE user_id = ? AND id < ? ORDER BY id DESC LIMIT ?";
    let (limit, before) = (page.limit()?, page.cursor::<i64>()?.unwrap_or(i64::MAX));
    let values = params![user.id, before, i64::from(limit).saturating_add(1)];
    let rows = mysql::connection().await?.query::<Message>(MESSAGES, values).await?;
    Ok(Reply(Page::new(rows, limit, |message: &Message| message.message_id)))
}
