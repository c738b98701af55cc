//! `/api/user/export`

use axum::Json as Reply;
use kit::{ProductId, Result, auth::UncountedUser, mysql};
use ordering::cart::Cart;
use personal_data::Export;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub struct UserExport {
    #[serde(flatten)]
    export: Export,
    cart: Vec<ExportedCartLine>,
}

#[derive(Serialize, ToSchema)]
struct ExportedCartLine {
    product_id: ProductId,
    #[schema(minimum = 1)]
    quantity: i64,
}

/// Export my data
///
/// Everything that the shop keeps of me, by table and column: orders, messages, sessions, what the staff did to my account.
/// Left out are secrets, such as the hash of my password.
#[utoipa::path(
    get, operation_id = "export_user", path = "/api/user/export", tag = "accounts", security(("bearer" = [])),
    responses((status = 200, body = UserExport))
)]
pub async fn export(UncountedUser(user): UncountedUser) -> Result<Reply<UserExport>> {
    let export = personal_data::export(&mut mysql::connection().await?, user.id).await?;
    let lines = Cart::load(user.id).await?.lines();
    let line = |line: products::Line| ExportedCartLine { product_id: line.product_id, quantity: line.quantity };
    Ok(Reply(UserExport { export, cart: lines.into_iter().map(line).collect() }))
}
