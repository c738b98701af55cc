//! `/api/user/address`: where parcels go. One of them may be the default.

use accounts::lock;
use axum::Json as Reply;
use http::StatusCode;
use kit::{
    Problem, Result, User,
    check::Checks,
    extract::{Json, Path},
    mysql::{self, Transaction},
    params, row,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const MOST: i64 = 100;

row! {
    #[derive(Serialize, ToSchema)]
    pub struct Address {
        address_id: i64,
        receiver: String,
        phone: String,
        region: String,
        detail: String,
        is_default: bool,
    }
}

#[derive(Serialize, ToSchema)]
pub struct Addresses {
    items: Vec<Address>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAddress {
    #[schema(min_length = 1, max_length = 200)]
    receiver: String,
    /// Digits, `+`, `-` and spaces.
    #[schema(min_length = 5, max_length = 20)]
    phone: String,
    #[schema(min_length = 1, max_length = 200)]
    region: String,
    #[schema(min_length = 1, max_length = 200)]
    detail: String,
    /// The default before it is none any more. Unless said, true for one's first address.
    is_default: Option<bool>,
}

impl NewAddress {
    fn check(&self) -> Result<()> {
        let phone = &self.phone;
        let fits = (5..=20).contains(&phone.len())
            && phone.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b' '))
            && phone.bytes().any(|b| b.is_ascii_digit());
        let mut checks = Checks::new();
        checks.text("receiver", &self.receiver, 1, 200);
        checks.that(fits, "phone", "must have 5 to 20 digits, +, - and spaces");
        checks.text("region", &self.region, 1, 200);
        checks.text("detail", &self.detail, 1, 200).done()
    }
}

const ONE: &str = "
    SELECT id AS address_id, receiver, phone, region, detail, is_default FROM addresses WHERE id = ? AND user_id = ?";

/// A user's own; 404 for anybody else's.
async fn find(tx: &mut Transaction, user_id: i64, address_id: i64) -> Result<Address> {
    tx.query_one(ONE, params![address_id, user_id]).await?.ok_or_else(|| Problem::not_found("address"))
}

/// There is one default at most.
async fn no_default(tx: &mut Transaction, user_id: i64) -> Result<()> {
    const CLEAR: &str = "UPDATE addresses SET is_default = 0 WHERE user_id = ? AND is_default = 1";
    Ok(tx.execute(CLEAR, params![user_id]).await?)
}

/// One's addresses, the default first
#[utoipa::path(
    get, operation_id = "addresses", path = "/api/user/address", tag = "accounts", security(("bearer" = [])),
    responses((status = 200, body = Addresses))
)]
pub async fn list(user: User) -> Result<Reply<Addresses>> {
    const ALL: &str = "
        SELECT id AS address_id, receiver, phone, region, detail, is_default FROM addresses
        WHERE user_id = ? ORDER BY is_default DESC, id DESC";
    let items = mysql::connection().await?.query(ALL, params![user.id]).await?;
    Ok(Reply(Addresses { items }))
}

/// Add an address
#[utoipa::path(
    post, operation_id = "create_address", path = "/api/user/address", tag = "accounts", security(("bearer" = [])),
    request_body = NewAddress,
    responses((status = 201, body = Address))
)]
pub async fn create(user: User, Json(new): Json<NewAddress>) -> Result<(StatusCode, Reply<Address>)> {
    const COUNT: &str = "SELECT COUNT(*) AS n FROM addresses WHERE user_id = ?";
    const INSERT: &str = "
        INSERT INTO addresses (user_id, receiver, phone, region, detail, is_default) VALUES (?, ?, ?, ?, ?, ?)";
    new.check()?;
    let address = mysql::transaction(async |tx| {
        lock(tx, user.id).await?;
        let (count,) = tx.query_one::<(i64,)>(COUNT, params![user.id]).await?.unwrap_or_default();
        Checks::new().that(count < MOST, "body", format!("{MOST} addresses are all that one may have")).done()?;
        let is_default = new.is_default.unwrap_or(count == 0);
        if is_default {
            no_default(tx, user.id).await?;
        }
        tx.execute(INSERT, params![user.id, &new.receiver, &new.phone, &new.region, &new.detail, is_default]).await?;
        let address_id = tx.last_insert_id().await?;
        find(tx, user.id, address_id).await
    })
    .await?;
    Ok((StatusCode::CREATED, Reply(address)))
}

/// Replace an address
///
/// Orders keep the copy that they were placed with.
#[utoipa::path(
    put, operation_id = "replace_address", path = "/api/user/address/{address_id}", tag = "accounts",
    security(("bearer" = [])),
    params(("address_id" = i64, Path)),
    request_body = NewAddress,
    responses((status = 200, body = Address), (status = 404, description = "`not_found`"))
)]
pub async fn replace(user: User, Path(address_id): Path<i64>, Json(new): Json<NewAddress>) -> Result<Reply<Address>> {
    const REPLACE: &str = "
        UPDATE addresses SET receiver = ?, phone = ?, region = ?, detail = ?, is_default = ? WHERE id = ?";
    new.check()?;
    let address = mysql::transaction(async |tx| {
        lock(tx, user.id).await?;
        find(tx, user.id, address_id).await?;
        let is_default = new.is_default.unwrap_or(false);
        if is_default {
            no_default(tx, user.id).await?;
        }
        let values = params![&new.receiver, &new.phone, &new.region, &new.detail, is_default, address_id];
        tx.execute(REPLACE, values).await?;
        find(tx, user.id, address_id).await
    });
    address.await.map(Reply)
}

/// Remove an address
#[utoipa::path(
    delete, operation_id = "remove_address", path = "/api/user/address/{address_id}", tag = "accounts",
    security(("bearer" = [])),
    params(("address_id" = i64, Path)),
    responses((status = 204), (status = 404, description = "`not_found`"))
)]
pub async fn remove(user: User, Path(address_id): Path<i64>) -> Result<StatusCode> {
    const DELETE: &str = "DELETE FROM addresses WHERE id = ?";
    mysql::transaction(async |tx| {
        find(tx, user.id, address_id).await?;
        Ok(tx.execute(DELETE, params![address_id]).await?)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
