//! `/api/user/address`

use accounts::{
    account,
    address::{self, Address, AddressText},
};
use axum::Json as Reply;
use http::StatusCode;
use kit::{
    AddressId, Result, User,
    extract::{Json, Path},
    mysql,
    validate::Validator,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const MAX_ADDRESSES: i64 = 100;

#[derive(Serialize, ToSchema)]
pub struct Addresses {
    items: Vec<Address>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "receiver": "Alice Chen", "phone": "+86 10 1234 5678", "region": "Beijing, Chaoyang",
    "detail": "1 Example Road, apartment 2"
}))]
pub struct NewAddress {
    #[schema(min_length = 1, max_length = 200)]
    receiver: String,
    /// Digits, `+`, `-` and spaces.
    #[schema(min_length = 5, max_length = 20, pattern = "^[0-9+ -]*[0-9][0-9+ -]*$", example = "+86 10 1234 5678")]
    phone: String,
    #[schema(min_length = 1, max_length = 200)]
    region: String,
    #[schema(min_length = 1, max_length = 200)]
    detail: String,
    /// Whether it becomes the default address, in place of the current one. A user's first address does unless this is
    /// false; any other only if this is true.
    is_default: Option<bool>,
}

impl NewAddress {
    fn validate(&self) -> Result<()> {
        let phone = &self.phone;
        let is_phone = (5..=20).contains(&phone.len())
            && phone.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b' '))
            && phone.bytes().any(|b| b.is_ascii_digit());
        Validator::new()
            .text("receiver", &self.receiver, 1, 200)
            .require(is_phone, "phone", "must have 5 to 20 digits, +, - and spaces")
            .text("region", &self.region, 1, 200)
            .text("detail", &self.detail, 1, 200)
            .finish()
    }

    fn text(&self) -> AddressText<'_> {
        AddressText { receiver: &self.receiver, phone: &self.phone, region: &self.region, detail: &self.detail }
    }
}

/// List my addresses
///
/// The default address comes first.
#[utoipa::path(
    get, operation_id = "addresses", path = "/api/user/address", tag = "accounts", security(("bearer" = [])),
    responses((status = 200, body = Addresses))
)]
pub async fn list(user: User) -> Result<Reply<Addresses>> {
    let items = address::list(&mut mysql::connection().await?, user.id).await?;
    Ok(Reply(Addresses { items }))
}

/// Add an address
///
/// A user can have 100 addresses.
#[utoipa::path(
    post, operation_id = "create_address", path = "/api/user/address", tag = "accounts", security(("bearer" = [])),
    request_body = NewAddress,
    responses((status = 201, body = Address))
)]
pub async fn create(user: User, Json(new): Json<NewAddress>) -> Result<(StatusCode, Reply<Address>)> {
    new.validate()?;
    let address = mysql::transaction(async |tx| {
        account::lock(tx, user.id).await?;
        let count = address::count(tx, user.id).await?;
        let limit_reached = format!("You have reached the limit of {MAX_ADDRESSES} addresses");
        Validator::new().require(count < MAX_ADDRESSES, "body", limit_reached).finish()?;
        let is_default = new.is_default.unwrap_or(count == 0);
        let address_id = address::insert(tx, user.id, new.text(), is_default).await?;
        address::get(tx, user.id, address_id).await
    })
    .await?;
    Ok((StatusCode::CREATED, Reply(address)))
}

/// Replace an address
///
/// Orders keep their copy of the previous one.
#[utoipa::path(
    put, operation_id = "replace_address", path = "/api/user/address/{address_id}", tag = "accounts",
    security(("bearer" = [])),
    params(("address_id" = AddressId, Path)),
    request_body = NewAddress,
    responses((status = 200, body = Address), (status = 404, description = "`not_found`"))
)]
pub async fn replace(
    user: User,
    Path(address_id): Path<AddressId>,
    Json(new): Json<NewAddress>,
) -> Result<Reply<Address>> {
    new.validate()?;
    let address = mysql::transaction(async |tx| {
        account::lock(tx, user.id).await?;
        address::get(tx, user.id, address_id).await?;
        address::replace(tx, user.id, address_id, new.text(), new.is_default.unwrap_or(false)).await?;
        address::get(tx, user.id, address_id).await
    });
    address.await.map(Reply)
}

/// Delete an address
///
/// Orders keep their copy of it.
#[utoipa::path(
    delete, operation_id = "remove_address", path = "/api/user/address/{address_id}", tag = "accounts",
    security(("bearer" = [])),
    params(("address_id" = AddressId, Path)),
    responses((status = 204), (status = 404, description = "`not_found`"))
)]
pub async fn delete(user: User, Path(address_id): Path<AddressId>) -> Result<StatusCode> {
    mysql::transaction(async |tx| {
        address::get(tx, user.id, address_id).await?;
        address::delete(tx, user.id, address_id).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
