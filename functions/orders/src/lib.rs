//! Orders: placed without a cart, listed, shown, cancelled, shipped, confirmed.
// Arithmetic on money and stock must not overflow.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use axum::{
    Json as Reply, Router,
    response::Response,
    routing::{get, post},
};
use flash_sale::release_units;
use http::StatusCode;
use kit::{
    AddressId, OrderNo, ProductId, Result, User,
    auth::UncountedUser,
    config,
    extract::{Json, OptionalJson, Path, Query},
    idempotency::{self, Idempotent},
    mysql,
    pagination::{Page, PageQuery},
    permissions::{ORDERS_REFUND, ORDERS_SHIP},
    staff::Staff,
    validate::Validator,
};
use ordering::{
    Actor, OffShelf, Order, OrderState, PlaceOrder,
    fulfilment::{self, Shipment},
    history::{self, Change},
};
use products::Line;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

kit::function!(router);

/// The permissions that allow seeing the orders of all users.
const HANDLES_ORDERS: u16 = ORDERS_SHIP | ORDERS_REFUND;

pub fn router() -> Router {
    Router::new()
        .route("/api/order", get(list).post(create))
        .route("/api/order/all", get(list_all))
        .route("/api/order/{order_no}", get(show))
        .route("/api/order/{order_no}/log", get(log))
        .route("/api/order/{order_no}/cancel", post(cancel))
        .route("/api/order/{order_no}/ship", post(ship))
        .route("/api/order/{order_no}/confirm", post(confirm))
}

#[derive(OpenApi)]
#[openapi(paths(create, list, list_all, show, log, cancel, ship, confirm))]
pub struct Api;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "items": [{ "product_id": 1, "quantity": 2 }], "note": "Please ring twice" }))]
struct NewOrder {
    #[schema(min_items = 1, max_items = 100)]
    items: Vec<NewOrderItem>,
    /// One of the user's addresses.
    address_id: Option<AddressId>,
    #[schema(min_length = 1, max_length = 32, example = "WELCOME10")]
    coupon_code: Option<String>,
    #[schema(max_length = 500)]
    note: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewOrderItem {
    product_id: ProductId,
    #[schema(minimum = 1, maximum = 999, example = 2)]
    quantity: i64,
}

/// Place an order without the cart
///
/// `out_of_stock` names each product of which there is too little; then nothing is reserved.
#[utoipa::path(
    post, path = "/api/order", tag = "orders", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = NewOrder,
    responses(
        (status = 201, body = Order),
        (status = 409, description = "`out_of_stock`, `coupon_invalid`, `pending_limit`, `idempotency_in_progress`"),
    )
)]
async fn create(user: User, request: Idempotent<NewOrder>) -> Result<Response> {
    let currency = config::currency().await?;
    let ttl_seconds = config::number("order_ttl_seconds", 1, 31_536_000).await?;
    let max_pending = config::number("max_pending_orders", 1, 1_000_000).await?;
    request
        .once(&user, async |new, tx| {
            let line = |item: &NewOrderItem| Line { product_id: item.product_id, quantity: item.quantity };
            let request = PlaceOrder {
                user_id: user.id,
                lines: &new.items.iter().map(line).collect::<Vec<_>>(),
                off_shelf: OffShelf::Refuse,
                address_id: new.address_id,
                coupon_code: new.coupon_code.as_deref(),
                note: new.note.as_deref(),
                currency: &currency,
                ttl_seconds,
                max_pending,
            };
            idempotency::Reply::new(StatusCode::CREATED, &ordering::place(tx, &request).await?)
        })
        .await
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct OrderFilter {
    /// Only orders with this status.
    #[param(inline)]
    status: Option<OrderState>,
    /// The maximum number of items.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
    /// `next_cursor` of the previous page.
    #[param(pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
}

impl OrderFilter {
    fn page(self) -> PageQuery {
        PageQuery { limit: self.limit, cursor: self.cursor }
    }
}

/// List my orders
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/order", tag = "orders", security(("bearer" = [])), params(OrderFilter),
    responses((status = 200, body = Page<Order>), (status = 422, description = "`invalid`"))
)]
async fn list(user: User, Query(filter): Query<OrderFilter>) -> Result<Reply<Page<Order>>> {
    let status = filter.status;
    ordering::list(&mut mysql::connection().await?, user.id, status, &filter.page()).await.map(Reply)
}

/// List the orders of all users
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/order/all", tag = "orders", security(("bearer" = [])), params(OrderFilter),
    responses(
        (status = 200, body = Page<Order>),
        (status = 403, description = "`forbidden`"),
        (status = 422, description = "`invalid`"),
    )
)]
async fn list_all(_: Staff<HANDLES_ORDERS>, Query(filter): Query<OrderFilter>) -> Result<Reply<Page<Order>>> {
    let status = filter.status;
    ordering::list_all(&mut mysql::connection().await?, status, &filter.page()).await.map(Reply)
}

/// Get an order of mine
///
/// Another user's order is `not_found`.
#[utoipa::path(
    get, path = "/api/order/{order_no}", tag = "orders", security(("bearer" = [])),
    params(("order_no" = OrderNo, Path)),
    responses((status = 200, body = Order), (status = 404, description = "`not_found`"))
)]
async fn show(user: User, Path(order_no): Path<OrderNo>) -> Result<Reply<Order>> {
    ordering::find(&mut mysql::connection().await?, user.id, &order_no).await.map(Reply)
}

/// List the changes of an order's status
///
/// Oldest first. For the order's user, and for staff who ship or refund.
#[utoipa::path(
    get, path = "/api/order/{order_no}/log", tag = "orders", security(("bearer" = [])),
    params(("order_no" = OrderNo, Path), PageQuery),
    responses(
        (status = 200, body = Page<Change>),
        (status = 404, description = "`not_found`"),
        (status = 422, description = "`invalid`"),
    )
)]
async fn log(
    UncountedUser(user): UncountedUser,
    Path(order_no): Path<OrderNo>,
    Query(page): Query<PageQuery>,
) -> Result<Reply<Page<Change>>> {
    let mut db = mysql::connection().await?;
    match user.may(HANDLES_ORDERS) {
        true => ordering::find_any(&mut db, &order_no).await?,
        false => ordering::find(&mut db, user.id, &order_no).await?,
    };
    history::list(&mut db, &order_no, &page).await.map(Reply)
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({ "reason": "Ordered by mistake" }))]
struct Cancellation {
    #[schema(max_length = 200)]
    reason: Option<String>,
}

/// Cancel an unpaid order
///
/// Its stock and its coupon are released.
#[utoipa::path(
    post, path = "/api/order/{order_no}/cancel", tag = "orders", security(("bearer" = [])),
    params(("order_no" = OrderNo, Path)),
    request_body = Option<Cancellation>,
    responses(
        (status = 200, body = Order),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`order_state`"),
    )
)]
async fn cancel(
    user: User,
    Path(order_no): Path<OrderNo>,
    OptionalJson(cancellation): OptionalJson<Cancellation>,
) -> Result<Reply<Order>> {
    let reason = cancellation.reason.as_deref();
    Validator::new().text("reason", reason.unwrap_or_default(), 0, 200).finish()?;
    let order = mysql::transaction(async |tx| {
        ordering::cancel(tx, user.id, &order_no, reason, release_units).await?;
        ordering::find(tx, user.id, &order_no).await
    });
    order.await.map(Reply)
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "carrier": "SF Express", "tracking_no": "SF1234567890" }))]
struct ShipRequest {
    #[schema(min_length = 1, max_length = 200, example = "SF Express")]
    carrier: String,
    #[schema(min_length = 1, max_length = 200, example = "SF1234567890")]
    tracking_no: String,
}

/// Ship a paid order
///
/// The order is then `shipped`, and its user gets a message.
#[utoipa::path(
    post, path = "/api/order/{order_no}/ship", tag = "orders", security(("bearer" = [])),
    params(("order_no" = OrderNo, Path)),
    request_body = ShipRequest,
    responses(
        (status = 200, body = Order),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`order_state`"),
    )
)]
async fn ship(
    staff: Staff<ORDERS_SHIP>,
    Path(order_no): Path<OrderNo>,
    Json(request): Json<ShipRequest>,
) -> Result<Reply<Order>> {
    let mut validator = Validator::new();
    validator.text("carrier", &request.carrier, 1, 200);
    validator.text("tracking_no", &request.tracking_no, 1, 200).finish()?;
    let auto_confirm_seconds = config::auto_confirm_seconds().await?;
    let shipment = Shipment { carrier: &request.carrier, tracking_no: &request.tracking_no };
    let order = mysql::transaction(async |tx| {
        fulfilment::ship(tx, &order_no, shipment, auto_confirm_seconds, Actor::Admin(staff.user.id)).await?;
        staff.record(tx, "order.ship", &order_no, (), &request).await?;
        ordering::find_any(tx, &order_no).await
    });
    order.await.map(Reply)
}

/// Confirm the receipt of a shipped order
///
/// The order is then `completed`. Without confirmation it completes automatically, by default after 7 days.
#[utoipa::path(
    post, path = "/api/order/{order_no}/confirm", tag = "orders", security(("bearer" = [])),
    params(("order_no" = OrderNo, Path)),
    responses(
        (status = 200, body = Order),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`order_state`"),
    )
)]
async fn confirm(user: User, Path(order_no): Path<OrderNo>) -> Result<Reply<Order>> {
    let order = mysql::transaction(async |tx| {
        fulfilment::confirm(tx, user.id, &order_no).await?;
        ordering::find(tx, user.id, &order_no).await
    });
    order.await.map(Reply)
}
