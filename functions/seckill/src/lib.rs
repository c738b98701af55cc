//! Flash sales: created by the staff; a purchase is one round trip to Redis.
// Arithmetic on money and stock must not overflow.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod refusal_cache;

use std::collections::BTreeMap;

use axum::{
    Json as Reply, Router,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use flash_sale::{
    Activity, NewActivity, SaleState, TicketState, activity_of,
    admission::{self, Admission},
    booked_ticket,
};
use http::{StatusCode, header};
use kit::{
    ActivityId, Cents, Code, OrderNo, Problem, ProductId, Result, Timestamp, User,
    auth::TokenUser,
    config,
    extract::{Json, Path, Query},
    idempotency::{self, Idempotent},
    jobs::{self, Queue},
    log, mysql,
    pagination::{Page, PageQuery},
    permissions::SECKILL_WRITE,
    rate_limit::RateLimit,
    staff::Staff,
    validate::Validator,
};
use products::{MAX_PRICE, MAX_STOCK};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

kit::function!(router);

pub fn router() -> Router {
    Router::new()
        .route("/api/seckill", get(list).post(buy))
        .route("/api/seckill/init", post(init))
        .route("/api/seckill/{activity_id}", get(show))
        .route("/api/seckill/ticket/{ticket}", get(ticket))
}

#[derive(OpenApi)]
#[openapi(paths(init, list, show, buy, ticket))]
pub struct Api;

const MAX_LIMIT: i64 = 1000;

/// A flash sale.
#[derive(Debug, Serialize, ToSchema)]
struct Sale {
    activity_id: ActivityId,
    product_id: ProductId,
    #[schema(example = "Wireless headphones")]
    name: String,
    price_cents: Cents,
    /// ISO 4217.
    #[schema(pattern = "^[A-Z]{3}$", example = "CNY")]
    currency: String,
    /// How many units were set aside.
    #[schema(minimum = 1)]
    stock: i64,
    /// How many units are left.
    #[schema(minimum = 0)]
    left: i64,
    #[schema(minimum = 1)]
    per_user_limit: i64,
    starts_at: Timestamp,
    ends_at: Timestamp,
    state: SaleState,
}

impl Sale {
    /// With the number of units left according to Redis or, if Redis has lost a sale, to MySQL.
    async fn all(activities: Vec<Activity>) -> Result<Vec<Self>> {
        let now = Timestamp::now();
        let is_over = |activity: &Activity| activity.closed_at.is_some() || now >= activity.ends_at;
        let open: Vec<_> = activities.iter().filter(|activity| !is_over(activity)).map(|open| open.id).collect();
        let left: BTreeMap<_, _> = open.iter().copied().zip(admission::left(&open).await?).collect();
        let mut sales = Vec::with_capacity(activities.len());
        for activity in activities {
            let left = left.get(&activity.id).map_or(0, |left| left.unwrap_or(activity.unsold()).max(0));
            sales.push(Self::with(activity, left).await?);
        }
        Ok(sales)
    }

    async fn with(activity: Activity, left: i64) -> Result<Self> {
        Ok(Sale {
            activity_id: activity.id,
            product_id: activity.product_id,
            state: activity.state(left, Timestamp::now()),
            name: activity.name,
            price_cents: activity.price_cents,
            currency: config::currency().await?,
            stock: activity.stock,
            left,
            per_user_limit: activity.per_user_limit,
            starts_at: activity.starts_at,
            ends_at: activity.ends_at,
        })
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "product_id": 1, "stock": 50, "price_cents": 990, "starts_at": "2026-11-11T00:00:00Z",
    "ends_at": "2030-11-12T00:00:00Z", "per_user_limit": 1
}))]
struct NewSale {
    product_id: ProductId,
    #[schema(minimum = 1, maximum = 1_000_000_000, example = 50)]
    stock: i64,
    #[schema(value_type = i64, minimum = 1, maximum = 100_000_000_000_i64, example = 990)]
    price_cents: Cents,
    /// A time in the past means now.
    starts_at: Timestamp,
    ends_at: Timestamp,
    /// How many units one user may buy. Default: 1.
    #[schema(minimum = 1, maximum = 1000)]
    per_user_limit: Option<i64>,
}

impl NewSale {
    fn checked(&self) -> Result<NewActivity> {
        let now = Timestamp::now();
        let new = NewActivity {
            product_id: self.product_id,
            stock: self.stock,
            price_cents: self.price_cents,
            starts_at: self.starts_at.max(now),
            ends_at: self.ends_at,
            per_user_limit: self.per_user_limit.unwrap_or(1),
        };
        let mut validator = Validator::new();
        validator.number("stock", new.stock, 1, MAX_STOCK);
        validator.number("price_cents", new.price_cents.0, 1, MAX_PRICE);
        validator.number("per_user_limit", new.per_user_limit, 1, MAX_LIMIT);
        validator
            .require(new.ends_at > new.starts_at, "ends_at", "must be after starts_at, and in the future")
            .finish()?;
        Ok(new)
    }
}

/// Create a flash sale
///
/// Its units are set aside: they move from the product's `available` to its `reserved`.
#[utoipa::path(
    post, path = "/api/seckill/init", tag = "flash sale", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = NewSale,
    responses(
        (status = 201, body = Sale),
        (status = 403, description = "`forbidden`"),
        (status = 409, description = "`out_of_stock`, `idempotency_in_progress`"),
    )
)]
async fn init(staff: Staff<SECKILL_WRITE>, request: Idempotent<NewSale>) -> Result<Response> {
    let new = request.body.checked()?;
    request
        .once(&staff.user, async |_, tx| {
            let activity = flash_sale::create(tx, &new).await?;
            // Nobody has bought yet.
            let sale = Sale::with(activity.clone(), activity.stock).await?;
            staff.record(tx, "seckill.init", sale.activity_id, (), &sale).await?;
            tx.after_commit(async move {
                // If this fails, `drain` does it a moment later.
                log::warn_if_failed("the sale could not be opened yet", admission::open(&activity, &[], false).await);
            });
            idempotency::Reply::new(StatusCode::CREATED, &sale)
        })
        .await
}

/// List flash sales
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/seckill", tag = "flash sale", params(PageQuery),
    responses((status = 200, body = Page<Sale>), (status = 422, description = "`invalid`"))
)]
async fn list(Query(page): Query<PageQuery>) -> Result<Reply<Page<Sale>>> {
    let (limit, before) = (page.limit()?, page.cursor::<i64>()?.unwrap_or(i64::MAX));
    let rows = flash_sale::list(&mut mysql::connection().await?, before, i64::from(limit).saturating_add(1)).await?;
    Ok(Reply(Page::new(Sale::all(rows).await?, limit, |sale: &Sale| sale.activity_id)))
}

/// Get a flash sale
///
/// Also one that is over.
#[utoipa::path(
    get, path = "/api/seckill/{activity_id}", tag = "flash sale", params(("activity_id" = ActivityId, Path)),
    responses((status = 200, body = Sale), (status = 404, description = "`not_found`"))
)]
async fn show(Path(activity_id): Path<ActivityId>) -> Result<Reply<Sale>> {
    let activity = flash_sale::find(&mut mysql::connection().await?, activity_id).await?;
    Sale::all(vec![activity]).await?.pop().map(Reply).ok_or_else(Problem::internal)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "activity_id": 1 }))]
struct Purchase {
    activity_id: ActivityId,
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum TicketStatus {
    /// The user has a unit; the order follows.
    Queued,
    Ordered,
    Failed,
}

#[derive(Debug, Serialize, ToSchema)]
struct Ticket {
    #[schema(max_length = 32)]
    ticket: String,
    status: TicketStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    order_no: Option<OrderNo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = "uri-reference")]
    status_url: Option<String>,
}

impl Ticket {
    fn respond(ticket: String, order_no: Option<OrderNo>, status: StatusCode) -> Response {
        let url = format!("/api/seckill/ticket/{ticket}");
        let location = [(header::LOCATION, url.clone())];
        let state = if order_no.is_some() { TicketStatus::Ordered } else { TicketStatus::Queued };
        let body = Ticket { ticket, status: state, order_no, status_url: Some(url) };
        (status, location, Reply(body)).into_response()
    }
}

/// Buy a unit
///
/// The ticket stands for the unit; its order follows in a moment. If the limit is one unit per user, another request gets
/// the same ticket.
#[utoipa::path(
    post, path = "/api/seckill", tag = "flash sale", security(("bearer" = [])),
    request_body = Purchase,
    responses(
        (status = 202, body = Ticket, headers(("Location" = String, description = "The ticket's path"))),
        (status = 200, body = Ticket, description = "The ticket that the user already has"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`seckill_sold_out`, `seckill_not_started`, `seckill_ended`, `seckill_limit`"),
        (status = 429, description = "`rate_limited`"),
    )
)]
async fn buy(TokenUser(user): TokenUser, Json(purchase): Json<Purchase>) -> Result<Response> {
    let activity_id = purchase.activity_id;
    if let Some(problem) = refusal_cache::get(activity_id, user.id) {
        return Err(problem);
    }
    let limit = RateLimit::from_variable("seckill_limit").await?;
    match admission::buy(activity_id, user, limit).await? {
        Admission::Queued(ticket) => Ok(Ticket::respond(ticket, None, StatusCode::ACCEPTED)),
        Admission::Existing(ticket, order_no) => Ok(Ticket::respond(ticket, order_no, StatusCode::OK)),
        Admission::Refused(problem, buyers) => {
            if let Some(buyers) = buyers {
                refusal_cache::put(activity_id, &problem, buyers);
            }
            Err(problem)
        }
        Admission::Unknown => unknown(activity_id).await,
    }
}

/// Redis does not have the sale: it does not exist, ended long ago, or Redis has lost it.
async fn unknown(activity_id: ActivityId) -> Result<Response> {
    let activity = flash_sale::find(&mut mysql::connection().await?, activity_id).await?;
    if activity.closed_at.is_some() {
        return Err(Problem::new(Code::SeckillEnded, "The sale has ended"));
    }
    jobs::wake_queue(Queue::Drain).await?;
    Err(Problem::unavailable().because("Redis has lost the sale"))
}

/// Get a ticket
///
/// `queued` until the order is placed; then `ordered`, with its number, or `failed`.
#[utoipa::path(
    get, path = "/api/seckill/ticket/{ticket}", tag = "flash sale", security(("bearer" = [])),
    params(("ticket" = String, Path, min_length = 1, max_length = 32)),
    responses((status = 200, body = Ticket), (status = 404, description = "`not_found`"))
)]
async fn ticket(user: User, Path(ticket): Path<String>) -> Result<Reply<Ticket>> {
    let none = || Problem::not_found("ticket");
    if activity_of(&ticket).is_none() {
        return Err(none());
    }
    let (owner, status, order_no) = match booked_ticket(&mut mysql::connection().await?, &ticket).await? {
        Some(row) if row.status == TicketState::Failed => (row.user_id, TicketStatus::Failed, None),
        Some(row) => (row.user_id, TicketStatus::Ordered, row.order_no),
        None => (admission::ticket_owner(&ticket).await?.ok_or_else(none)?, TicketStatus::Queued, None),
    };
    match owner == user.id {
        true => Ok(Reply(Ticket { ticket, status, order_no, status_url: None })),
        false => Err(none()),
    }
}
