//! Flash sales: set up by admins, bought from in one round trip to Redis.
// Money and stock are counted here.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod memory;

use axum::{
    Json as Reply, Router,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{StatusCode, header};
use kit::{
    Code, Problem, Result, Timestamp, User,
    auth::Bearer,
    check::Checks,
    config,
    extract::{Json, Path, Query},
    idempotency::{self, Idempotent},
    jobs::{self, Queue},
    mysql,
    page::{Page, PageQuery},
    staff::{SECKILL_WRITE, Staff},
};
use ordering::{
    Cents, facts,
    sale::{
        self, Activity, NewActivity, SaleState,
        gate::{self, Admission, Pace},
    },
};
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

const MAX_PRICE: i64 = 100_000_000_000;
const MAX_STOCK: i64 = 1_000_000_000;
const MAX_LIMIT: i64 = 1000;

/// A flash sale.
#[derive(Debug, Serialize, ToSchema)]
struct Sale {
    activity_id: i64,
    product_id: i64,
    name: String,
    price_cents: Cents,
    /// ISO 4217.
    currency: String,
    /// How many there were.
    stock: i64,
    /// How many there are.
    left: i64,
    per_user_limit: i64,
    starts_at: Timestamp,
    ends_at: Timestamp,
    state: SaleState,
}

impl Sale {
    /// With what Redis has left of it; what MySQL knows, if Redis has lost it.
    async fn of(activity: Activity) -> Result<Self> {
        let over = activity.closed_at.is_some() || Timestamp::now() >= activity.ends_at;
        let unsold = activity.stock.saturating_sub(activity.booked);
        let left = if over { 0 } else { gate::left(activity.id).await?.unwrap_or(unsold).max(0) };
        Self::with(activity, left).await
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
struct NewSale {
    product_id: i64,
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    stock: i64,
    /// 1 to 100,000,000,000.
    price_cents: Cents,
    /// A start in the past is now.
    starts_at: Timestamp,
    ends_at: Timestamp,
    /// How many one user may buy; 1 unless said.
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
        let mut checks = Checks::new();
        checks.number("stock", new.stock, 1, MAX_STOCK);
        checks.number("price_cents", new.price_cents.0, 1, MAX_PRICE);
        checks.number("per_user_limit", new.per_user_limit, 1, MAX_LIMIT);
        checks.that(new.ends_at > new.starts_at, "ends_at", "must lie after starts_at, and after now").done()?;
        Ok(new)
    }
}

/// Set up a sale
///
/// The units are set aside: they move from the product's `available` to its `reserved`.
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
    let made = std::sync::Mutex::new(None);
    let response = request
        .once(&staff.user, async |_, tx| {
            let activity = sale::init(tx, &new).await?;
            if let Ok(mut made) = made.lock() {
                *made = Some(activity.clone());
            }
            // As it is before anybody has bought.
            let left = activity.stock;
            let sale = Sale::with(activity, left).await?;
            staff.record(tx, "seckill.init", sale.activity_id, (), &sale).await?;
            idempotency::Reply::new(StatusCode::CREATED, &sale)
        })
        .await?;
    // A reply that is repeated made nothing now. What fails here `drain` does a moment later.
    let made = made.into_inner().unwrap_or_default();
    if let Some(activity) = made.filter(|_| response.status() == StatusCode::CREATED) {
        let _ = gate::open(&activity, &[], false).await;
        facts::forget([activity.product_id]).await;
    }
    Ok(response)
}

/// Sales, the newest first
#[utoipa::path(
    get, path = "/api/seckill", tag = "flash sale", params(PageQuery),
    responses((status = 200, body = Page<Sale>), (status = 422, description = "`invalid`"))
)]
async fn list(Query(page): Query<PageQuery>) -> Result<Reply<Page<Sale>>> {
    let (limit, before) = (page.limit()?, page.cursor::<i64>()?.unwrap_or(i64::MAX));
    let rows = sale::list(&mut mysql::connection().await?, before, i64::from(limit).saturating_add(1)).await?;
    let mut sales = Vec::with_capacity(rows.len());
    for row in rows {
        sales.push(Sale::of(row).await?);
    }
    Ok(Reply(Page::new(sales, limit, |sale: &Sale| sale.activity_id)))
}

/// Look at a sale
#[utoipa::path(
    get, path = "/api/seckill/{activity_id}", tag = "flash sale", params(("activity_id" = i64, Path)),
    responses((status = 200, body = Sale), (status = 404, description = "`not_found`"))
)]
async fn show(Path(activity_id): Path<i64>) -> Result<Reply<Sale>> {
    let activity = sale::find(&mut mysql::connection().await?, activity_id).await?;
    Sale::of(activity).await.map(Reply)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Purchase {
    activity_id: i64,
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum TicketStatus {
    /// The unit is the user's; the order is on its way.
    Queued,
    Ordered,
    Failed,
}

#[derive(Debug, Serialize, ToSchema)]
struct Ticket {
    ticket: String,
    status: TicketStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    order_no: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status_url: Option<String>,
}

impl Ticket {
    fn respond(ticket: String, order_no: Option<String>, status: StatusCode) -> Response {
        let url = format!("/api/seckill/ticket/{ticket}");
        let location = [(header::LOCATION, url.clone())];
        let state = if order_no.is_some() { TicketStatus::Ordered } else { TicketStatus::Queued };
        let body = Ticket { ticket, status: state, order_no, status_url: Some(url) };
        (status, location, Reply(body)).into_response()
    }
}

/// Buy
///
/// The ticket is the unit: its order follows in a moment. Where one user may buy one, asking again gives the same ticket.
#[utoipa::path(
    post, path = "/api/seckill", tag = "flash sale", security(("bearer" = [])),
    request_body = Purchase,
    responses(
        (status = 202, body = Ticket, headers(("Location" = String))),
        (status = 200, body = Ticket, description = "The ticket that the user has already"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`seckill_sold_out`, `seckill_not_started`, `seckill_ended`, `seckill_limit`"),
        (status = 429, description = "`rate_limited`"),
    )
)]
async fn buy(Bearer(user): Bearer, Json(purchase): Json<Purchase>) -> Result<Response> {
    let activity_id = purchase.activity_id;
    if let Some(problem) = memory::recall(activity_id, user.id) {
        return Err(problem);
    }
    let pace = Pace {
        rate: config::number("seckill_rate", 1, 1_000_000).await?,
        burst: config::number("seckill_burst", 1, 1_000_000).await?,
    };
    match gate::buy(activity_id, user.id, user.session_id, pace).await? {
        Admission::Queued(ticket) => Ok(Ticket::respond(ticket, None, StatusCode::ACCEPTED)),
        Admission::Same(ticket, order_no) => Ok(Ticket::respond(ticket, order_no, StatusCode::OK)),
        Admission::Refused(problem, buyers) => {
            if let Some(buyers) = buyers {
                memory::remember(activity_id, &problem, buyers);
            }
            Err(problem)
        }
        Admission::Unknown => unknown(activity_id).await,
    }
}

/// Redis has no such sale: there is none, it is long over, or Redis has lost it.
async fn unknown(activity_id: i64) -> Result<Response> {
    let activity = sale::find(&mut mysql::connection().await?, activity_id).await?;
    if activity.closed_at.is_some() {
        return Err(Problem::new(Code::SeckillEnded, "The sale has ended"));
    }
    jobs::ring_now(Queue::Drain).await?;
    Err(Problem::unavailable())
}

/// What became of a ticket
#[utoipa::path(
    get, path = "/api/seckill/ticket/{ticket}", tag = "flash sale", security(("bearer" = [])),
    params(("ticket" = String, Path)),
    responses((status = 200, body = Ticket), (status = 404, description = "`not_found`"))
)]
async fn ticket(user: User, Path(ticket): Path<String>) -> Result<Reply<Ticket>> {
    let none = || Problem::not_found("ticket");
    if gate::activity_of(&ticket).is_none() {
        return Err(none());
    }
    let booked = sale::ticket(&mut mysql::connection().await?, &ticket).await?;
    let (owner, status, order_no) = match booked {
        Some(row) if row.status == "failed" => (row.user_id, TicketStatus::Failed, None),
        Some(row) => (row.user_id, TicketStatus::Ordered, row.order_no),
        None => {
            let (owner, _) = gate::holder(&ticket).await?.ok_or_else(none)?;
            (owner, TicketStatus::Queued, None)
        }
    };
    match owner == user.id {
        true => Ok(Reply(Ticket { ticket, status, order_no, status_url: None })),
        false => Err(none()),
    }
}
