//! Orders: placed directly, listed, looked at, cancelled, shipped, confirmed.
// Money and stock are counted here.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

use axum::{
    Json as Reply, Router,
    response::Response,
    routing::{get, post},
};
use http::StatusCode;
use kit::{
    Result, User,
    check::Checks,
    config,
    extract::{Json, OptionalJson, Path, Query},
    idempotency::{self, Idempotent},
    mysql,
    page::{Page, PageQuery},
    staff::{ORDERS_REFUND, ORDERS_SHIP, Staff},
};
use ordering::{
    Actor, Line, OffShelf, Order, OrderState, Purchase, facts,
    fulfil::{self, Parcel},
    history::{self, Change},
    parse_order_no, sale,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

kit::function!(router);

/// Who may see everybody's orders.
const HANDLES_ORDERS: u8 = ORDERS_SHIP | ORDERS_REFUND;

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
struct NewOrder {
    #[schema(min_items = 1, max_items = 100)]
    items: Vec<NewItem>,
    /// One of the user's own.
    address_id: Option<i64>,
    #[schema(min_length = 1, max_length = 32)]
    coupon_code: Option<String>,
    #[schema(max_length = 500)]
    note: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewItem {
    product_id: i64,
    #[schema(minimum = 1, maximum = 999)]
    quantity: i64,
}

/// Order without the cart
///
/// `out_of_stock` names each product that there is too little of; nothing is reserved then.
#[utoipa::path(
    post, path = "/api/order", tag = "orders", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = NewOrder,
    responses(
        (status = 201, body = Order),
        (status = 409, description = "`out_of_stock`, `coupon_invalid`, `idempotency_in_progress`"),
    )
)]
async fn create(user: User, request: Idempotent<NewOrder>) -> Result<Response> {
    let currency = config::currency().await?;
    let ttl_seconds = config::number("order_ttl_seconds", 1, 31_536_000).await?;
    let response = request
        .once(&user, async |new, tx| {
            let line = |item: &NewItem| Line { product_id: item.product_id, quantity: item.quantity };
            let purchase = Purchase {
                user_id: user.id,
                lines: &new.items.iter().map(line).collect::<Vec<_>>(),
                off_shelf: OffShelf::Refuse,
                address_id: new.address_id,
                coupon_code: new.coupon_code.as_deref(),
                note: new.note.as_deref(),
                currency: &currency,
                ttl_seconds,
            };
            idempotency::Reply::new(StatusCode::CREATED, &ordering::place(tx, &purchase).await?)
        })
        .await?;
    facts::forget(request.body.items.iter().map(|item| item.product_id)).await;
    Ok(response)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct OrderFilter {
    #[param(inline)]
    status: Option<OrderState>,
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl OrderFilter {
    fn page(self) -> PageQuery {
        PageQuery { limit: self.limit, cursor: self.cursor }
    }
}

/// One's own orders, newest first
#[utoipa::path(
    get, path = "/api/order", tag = "orders", security(("bearer" = [])), params(OrderFilter),
    responses((status = 200, body = Page<Order>), (status = 422, description = "`invalid`"))
)]
async fn list(user: User, Query(filter): Query<OrderFilter>) -> Result<Reply<Page<Order>>> {
    let status = filter.status;
    ordering::list(&mut mysql::connection().await?, user.id, status, &filter.page()).await.map(Reply)
}

/// Everybody's orders, newest first
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

/// One of one's own orders
#[utoipa::path(
    get, path = "/api/order/{order_no}", tag = "orders", security(("bearer" = [])),
    params(("order_no" = String, Path)),
    responses((status = 200, body = Order), (status = 404, description = "`not_found`"))
)]
async fn show(user: User, Path(order_no): Path<String>) -> Result<Reply<Order>> {
    let order_no = parse_order_no(&order_no)?;
    ordering::find(&mut mysql::connection().await?, user.id, order_no).await.map(Reply)
}

/// How an order came to its state, the beginning first
///
/// For the user whose order it is, and for those who ship or refund.
#[utoipa::path(
    get, path = "/api/order/{order_no}/log", tag = "orders", security(("bearer" = [])),
    params(("order_no" = String, Path), PageQuery),
    responses(
        (status = 200, body = Page<Change>),
        (status = 404, description = "`not_found`"),
        (status = 422, description = "`invalid`"),
    )
)]
async fn log(user: User, Path(order_no): Path<String>, Query(page): Query<PageQuery>) -> Result<Reply<Page<Change>>> {
    let order_no = parse_order_no(&order_no)?;
    let mut db = mysql::connection().await?;
    match user.may(HANDLES_ORDERS) {
        true => ordering::find_any(&mut db, order_no).await?,
        false => ordering::find(&mut db, user.id, order_no).await?,
    };
    history::list(&mut db, order_no, &page).await.map(Reply)
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct Cancellation {
    #[schema(max_length = 200)]
    reason: Option<String>,
}

/// Cancel an order that is not paid
#[utoipa::path(
    post, path = "/api/order/{order_no}/cancel", tag = "orders", security(("bearer" = [])),
    params(("order_no" = String, Path)),
    request_body = Option<Cancellation>,
    responses(
        (status = 200, body = Order),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`order_state`"),
    )
)]
async fn cancel(
    user: User,
    Path(order_no): Path<String>,
    OptionalJson(cancellation): OptionalJson<Cancellation>,
) -> Result<Reply<Order>> {
    let order_no = parse_order_no(&order_no)?;
    let reason = cancellation.reason.as_deref();
    Checks::new().text("reason", reason.unwrap_or_default(), 0, 200).done()?;
    let (order, ticket) = mysql::transaction(async |tx| {
        let ticket = ordering::cancel(tx, user.id, order_no, reason).await?;
        Ok((ordering::find(tx, user.id, order_no).await?, ticket))
    })
    .await?;
    if let Some(ticket) = ticket {
        sale::forget(&ticket).await;
    }
    facts::forget(order.items.iter().map(|item| item.product_id)).await;
    Ok(Reply(order))
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Shipment {
    #[schema(min_length = 1, max_length = 200)]
    carrier: String,
    #[schema(min_length = 1, max_length = 200)]
    tracking_no: String,
}

/// Ship a paid order
#[utoipa::path(
    post, path = "/api/order/{order_no}/ship", tag = "orders", security(("bearer" = [])),
    params(("order_no" = String, Path)),
    request_body = Shipment,
    responses(
        (status = 200, body = Order),
        (status = 403, description = "`forbidden`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`order_state`"),
    )
)]
async fn ship(
    staff: Staff<ORDERS_SHIP>,
    Path(order_no): Path<String>,
    Json(shipment): Json<Shipment>,
) -> Result<Reply<Order>> {
    let order_no = parse_order_no(&order_no)?;
    let mut checks = Checks::new();
    checks.text("carrier", &shipment.carrier, 1, 200);
    checks.text("tracking_no", &shipment.tracking_no, 1, 200).done()?;
    let auto_confirm_seconds = config::auto_confirm_seconds().await?;
    let parcel = Parcel { carrier: &shipment.carrier, tracking_no: &shipment.tracking_no };
    let order = mysql::transaction(async |tx| {
        fulfil::ship(tx, order_no, parcel, auto_confirm_seconds, Actor::Admin(staff.user.id)).await?;
        staff.record(tx, "order.ship", order_no, (), &shipment).await?;
        ordering::find_any(tx, order_no).await
    });
    order.await.map(Reply)
}

/// Say that a shipped order has arrived
///
/// It is `completed` then. Without a word it completes by itself, after 7 days unless the shop says otherwise.
#[utoipa::path(
    post, path = "/api/order/{order_no}/confirm", tag = "orders", security(("bearer" = [])),
    params(("order_no" = String, Path)),
    responses(
        (status = 200, body = Order),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`order_state`"),
    )
)]
async fn confirm(user: User, Path(order_no): Path<String>) -> Result<Reply<Order>> {
    let order_no = parse_order_no(&order_no)?;
    let order = mysql::transaction(async |tx| {
        fulfil::confirm(tx, user.id, order_no).await?;
        ordering::find(tx, user.id, order_no).await
    });
    order.await.map(Reply)
}
