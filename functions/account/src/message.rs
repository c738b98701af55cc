//! `/api/user/message`

use accounts::message::{self, Message};
use axum::Json as Reply;
use kit::{
    Result, User,
    extract::Query,
    mysql,
    pagination::{Page, PageQuery},
};

/// List my messages
///
/// What the shop told the user about their orders and their account, newest first.
#[utoipa::path(
    get, operation_id = "messages", path = "/api/user/message", tag = "accounts", security(("bearer" = [])),
    params(PageQuery),
    responses((status = 200, body = Page<Message>), (status = 422, description = "`invalid`"))
)]
pub async fn list(user: User, Query(page): Query<PageQuery>) -> Result<Reply<Page<Message>>> {
    message::list(&mut mysql::connection().await?, user.id, &page).await.map(Reply)
}
