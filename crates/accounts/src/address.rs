//! A user's addresses, of which one may be the default.

use kit::{
    AddressId, Problem, Result, UserId,
    mysql::{Connection, Transaction},
    params, row,
};
use serde::Serialize;
use utoipa::ToSchema;

row! {
    #[derive(Serialize, ToSchema)]
    pub struct Address {
        pub address_id: AddressId as "id",
        #[schema(example = "Alice Chen")]
        pub receiver: String,
        #[schema(example = "+86 10 1234 5678")]
        pub phone: String,
        #[schema(example = "Beijing, Chaoyang")]
        pub region: String,
        #[schema(example = "1 Example Road, apartment 2")]
        pub detail: String,
        pub is_default: bool,
    }
}

/// The text of an address.
#[derive(Clone, Copy)]
pub struct AddressText<'a> {
    pub receiver: &'a str,
    pub phone: &'a str,
    pub region: &'a str,
    pub detail: &'a str,
}

/// One of the user's addresses; none if it does not exist or is another user's.
pub async fn find(db: &mut Connection, user_id: UserId, address_id: AddressId) -> Result<Option<Address>> {
    let sql = format!("SELECT {} FROM addresses WHERE id = ? AND user_id = ?", Address::COLUMNS);
    Ok(db.query_one(&sql, params![address_id, user_id]).await?)
}

/// Like [`find`], but 404 instead of none.
pub async fn get(db: &mut Connection, user_id: UserId, address_id: AddressId) -> Result<Address> {
    find(db, user_id, address_id).await?.ok_or_else(|| Problem::not_found("address"))
}

/// All of a user's addresses, the default first.
pub async fn list(db: &mut Connection, user_id: UserId) -> Result<Vec<Address>> {
    let sql = format!("SELECT {} FROM addresses WHERE user_id = ? ORDER BY is_default DESC, id DESC", Address::COLUMNS);
    Ok(db.query(&sql, params![user_id]).await?)
}

pub async fn count(db: &mut Connection, user_id: UserId) -> Result<i64> {
    const COUNT: &str = "SELECT COUNT(*) AS n FROM addresses WHERE user_id = ?";
    Ok(db.query_one::<(i64,)>(COUNT, params![user_id]).await?.map_or(0, |(count,)| count))
}

/// Adds an address of a locked user.
pub async fn insert(
    tx: &mut Transaction,
    user_id: UserId,
    text: AddressText<'_>,
    is_default: bool,
) -> Result<AddressId> {
    const INSERT: &str = "
        INSERT INTO addresses (user_id, receiver, phone, region, detail, is_default) VALUES (?, ?, ?, ?, ?, ?)";
    if is_default {
        clear_default(tx, user_id).await?;
    }
    let values = params![user_id, text.receiver, text.phone, text.region, text.detail, is_default];
    tx.execute(INSERT, values).await?;
    Ok(tx.last_insert_id().await?)
}

/// Replaces an address of a locked user.
pub async fn replace(
    tx: &mut Transaction,
    user_id: UserId,
    address_id: AddressId,
    text: AddressText<'_>,
    is_default: bool,
) -> Result<()> {
    const REPLACE: &str = "
        UPDATE addresses SET receiver = ?, phone = ?, region = ?, detail = ?, is_default = ?
        WHERE id = ? AND user_id = ?";
    if is_default {
        clear_default(tx, user_id).await?;
    }
    let values = params![text.receiver, text.phone, text.region, text.detail, is_default, address_id, user_id];
    Ok(tx.execute(REPLACE, values).await?)
}

pub async fn delete(tx: &mut Transaction, user_id: UserId, address_id: AddressId) -> Result<()> {
    const DELETE: &str = "DELETE FROM addresses WHERE id = ? AND user_id = ?";
    Ok(tx.execute(DELETE, params![address_id, user_id]).await?)
}

async fn clear_default(tx: &mut Transaction, user_id: UserId) -> Result<()> {
    const CLEAR: &str = "UPDATE addresses SET is_default = 0 WHERE user_id = ? AND is_default = 1";
    Ok(tx.execute(CLEAR, params![user_id]).await?)
}
