//! Payment of an order.
// Arithmetic on money and stock must not overflow.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod mock_page;

use axum::{
    Json, Router,
    response::Response,
    routing::{get, post},
};
use http::StatusCode;
use kit::{
    OrderNo, PaymentNo, Problem, Result, User, config,
    extract::{Path, Query},
    idempotency::{Idempotent, Reply},
    mysql,
    pagination::{Page, PageQuery},
    validate::Validator,
};
use ordering::{PayOrder, Payment, Provider, payment, payment_list};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

kit::function!(router);

pub fn router() -> Router {
    Router::new()
        .route("/api/order/{order_no}/pay", post(pay))
        .route("/api/order/{order_no}/payment", get(list))
        .route("/api/payment/provider", get(providers))
        .route("/api/payment/{payment_no}", get(show))
        .route("/api/payment/{payment_no}/cancel", post(cancel))
        .route("/api/payment/mock-later/{payment_no}", get(mock_page::show))
        .route("/api/payment/mock-later/{payment_no}/pay", post(mock_page::pay))
        .route("/api/payment/mock-later/{payment_no}/decline", post(mock_page::decline))
}

#[derive(OpenApi)]
#[openapi(paths(pay, list, providers, show, cancel, mock_page::show, mock_page::pay, mock_page::decline))]
pub struct Api;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "provider": "mock" }))]
struct PaymentRequest {
    /// One of `GET /api/payment/provider`. `mock` settles at once, `mock-fail` declines, `mock-later` waits until the
    /// customer pays or declines on a page.
    #[schema(example = "mock")]
    provider: String,
    /// One of the provider's flows; by default the first.
    #[schema(example = "page")]
    flow: Option<String>,
    /// Where the customer goes from the provider's page.
    #[schema(format = "uri", max_length = 2048, example = "https://shop.example/order")]
    return_url: Option<String>,
    /// The customer's id at WeChat, for its flow `jsapi`. Other providers ignore it.
    #[schema(max_length = 128)]
    openid: Option<String>,
}

impl PaymentRequest {
    /// The provider and the flow; 422 if the shop does not have them, or if `return_url` is not an address.
    async fn check(&self) -> Result<(Provider, Option<&'static str>)> {
        let configured = Provider::configured().await?;
        let provider = configured.iter().copied().find(|provider| provider.name() == self.provider);
        let names: Vec<_> = configured.iter().map(|provider| provider.name()).collect();
        let flows = provider.map(Provider::flows).unwrap_or_default();
        let flow = match self.flow.as_deref() {
            None => flows.first(),
            Some(name) => flows.iter().find(|flow| **flow == name),
        };
        let is_flow = self.flow.is_none() || flow.is_some();
        let of_flows = if flows.is_empty() { "the provider has none".into() } else { must_be_one_of(flows) };
        let is_url = self.return_url.as_deref().is_none_or(is_web_address);
        Validator::new()
            .require(provider.is_some(), "provider", must_be_one_of(&names))
            .require(provider.is_none() || is_flow, "flow", of_flows)
            .text("openid", self.openid.as_deref().unwrap_or_default(), 0, 128)
            .require(is_url, "return_url", "must be an http or https URL of at most 2048 characters")
            .finish()?;
        let provider = provider.ok_or_else(Problem::internal)?;
        Ok((provider, flow.copied()))
    }
}

fn must_be_one_of(names: &[&str]) -> String {
    format!("must be one of {}", names.join(", "))
}

/// The characters are those of RFC 3986.
fn is_web_address(url: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    url.len() <= 2048
        && url.bytes().all(is_allowed)
        && url.parse::<http::Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
        })
}

/// Pay an order
///
/// After a declined payment the order stays `pending` and can be paid until it expires. A payment that is `pending` waits
/// for what its `action` says. Meanwhile, the same provider and flow give the same payment again; another provider or flow
/// cancels it.
#[utoipa::path(
    post, path = "/api/order/{order_no}/pay", tag = "orders", security(("bearer" = [])),
    params(("order_no" = OrderNo, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = PaymentRequest,
    responses(
        (status = 200, body = Payment),
        (status = 402, description = "`payment_declined`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`order_state`, `idempotency_in_progress`"),
    )
)]
async fn pay(user: User, Path(order_no): Path<OrderNo>, request: Idempotent<PaymentRequest>) -> Result<Response> {
    let (provider, flow) = request.body.check().await?;
    let public_url = config::text("public_url").await?;
    request
        .once(&user, async |body, tx| {
            let request = PayOrder {
                user_id: user.id,
                order_no: &order_no,
                provider,
                flow,
                return_url: body.return_url.as_deref(),
                public_url: &public_url,
            };
            let payment = ordering::pay(tx, &request).await?;
            match payment.declined() {
                Some(problem) => Ok(Reply::refusal(problem)),
                None => Reply::new(StatusCode::OK, &payment),
            }
        })
        .await
}

/// List the payments of an order
///
/// Newest first; declined ones, too.
#[utoipa::path(
    get, operation_id = "order_payments", path = "/api/order/{order_no}/payment", tag = "orders",
    security(("bearer" = [])),
    params(("order_no" = OrderNo, Path), PageQuery),
    responses(
        (status = 200, body = Page<Payment>),
        (status = 404, description = "`not_found`"),
        (status = 422, description = "`invalid`"),
    )
)]
async fn list(user: User, Path(order_no): Path<OrderNo>, Query(page): Query<PageQuery>) -> Result<Json<Page<Payment>>> {
    payment_list::of_order(&mut mysql::connection().await?, user.id, &order_no, &page).await.map(Json)
}

/// Get a payment of mine
///
/// Another user's payment is `not_found`.
#[utoipa::path(
    get, operation_id = "payment", path = "/api/payment/{payment_no}", tag = "orders", security(("bearer" = [])),
    params(("payment_no" = PaymentNo, Path)),
    responses((status = 200, body = Payment), (status = 404, description = "`not_found`"))
)]
async fn show(user: User, Path(payment_no): Path<PaymentNo>) -> Result<Json<Payment>> {
    payment_list::find(&mut mysql::connection().await?, user.id, &payment_no).await.map(Json)
}

/// Cancel a pending payment
///
/// The order can still be paid. Another user's payment is `not_found`.
#[utoipa::path(
    post, operation_id = "cancel_payment", path = "/api/payment/{payment_no}/cancel", tag = "orders",
    security(("bearer" = [])),
    params(("payment_no" = PaymentNo, Path)),
    responses(
        (status = 200, body = Payment),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`payment_state`"),
    )
)]
async fn cancel(user: User, Path(payment_no): Path<PaymentNo>) -> Result<Json<Payment>> {
    mysql::transaction(async |tx| payment::cancel(tx, user.id, &payment_no).await).await.map(Json)
}

#[derive(Serialize, ToSchema)]
struct Providers {
    items: Vec<ProviderDescription>,
}

#[derive(Serialize, ToSchema)]
struct ProviderDescription {
    provider: Provider,
    /// In which ways it can be paid, if there are several.
    flows: &'static [&'static str],
    /// ISO 4217.
    #[schema(example = json!(["CNY"]))]
    currencies: Vec<String>,
}

/// List the payment providers
///
/// Those that the shop is configured for.
#[utoipa::path(
    get, operation_id = "payment_providers", path = "/api/payment/provider", tag = "orders",
    responses((status = 200, body = Providers))
)]
async fn providers() -> Result<Json<Providers>> {
    let currency = config::currency().await?;
    let describe = |provider: Provider| ProviderDescription {
        provider,
        flows: provider.flows(),
        currencies: vec![currency.clone()],
    };
    Ok(Json(Providers { items: Provider::configured().await?.into_iter().map(describe).collect() }))
}
