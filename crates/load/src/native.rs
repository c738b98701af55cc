//! The native baseline: a plain axum process with pooled connections. It reads the same product from the same MySQL,
//! and sells in a flash sale with the same script, after verifying the token in the same way.

use std::{process::ExitCode, sync::Arc};

use anyhow::Context;
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    http::{HeaderMap, header},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use mysql_async::{Pool, PoolConstraints, PoolOpts, prelude::Queryable};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{connect_redis, flash_sale, mysql_options};

#[derive(Serialize)]
struct Product {
    id: i64,
    name: String,
    description: String,
    image_url: Option<String>,
    category_id: Option<i64>,
    price_cents: i64,
    available: i64,
    sold: i64,
    created_at: i64,
    updated_at: i64,
}

/// Prints its address and serves until it is stopped. The URLs of the databases come from the environment.
pub async fn run() -> anyhow::Result<ExitCode> {
    let options = mysql_options(&std::env::var("MALL_MYSQL_URL")?)?;
    let constraints = PoolConstraints::new(16, 16).context("no pool")?;
    let pool_options = PoolOpts::default().with_constraints(constraints).with_reset_connection(false);
    let pool = Pool::new(options.pool_opts(pool_options));
    let mut redis = connect_redis(&std::env::var("MALL_REDIS_URL")?).await?;
    let script = redis::cmd("SCRIPT").arg("LOAD").arg(flash_sale::SCRIPT).query_async(&mut redis).await?;
    let secret = std::env::var("SPIN_VARIABLE_JWT_SECRET").unwrap_or_default();
    let app = Router::new()
        .route("/api/product/{id}", get(product))
        .with_state(pool)
        .route("/api/seckill", post(buy))
        .with_state(Arc::new(FlashSale { redis, script, secret }));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(axum::serve::ListenerExt::tap_io(listener, |stream| drop(stream.set_nodelay(true))), app).await?;
    Ok(ExitCode::SUCCESS)
}

async fn product(State(pool): State<Pool>, Path(id): Path<i64>) -> Result<Json<Product>, StatusCode> {
    let product = find(&pool, id).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    product.map(Json).ok_or(StatusCode::NOT_FOUND)
}

async fn find(pool: &Pool, id: i64) -> mysql_async::Result<Option<Product>> {
    const PRODUCT: &str = "
        SELECT id, name, description, image_url, category_id, price_cents, available, sold, created_at, updated_at
        FROM products WHERE id = ? AND on_shelf = 1";
    let mut connection = pool.get_conn().await?;
    // As other pools do, and the shop's: the connection may have been closed meanwhile.
    connection.ping().await?;
    let product =
        |(id, name, description, image_url, category_id, price_cents, available, sold, created_at, updated_at)| {
            Product {
                id,
                name,
                description,
                image_url,
                category_id,
                price_cents,
                available,
                sold,
                created_at,
                updated_at,
            }
        };
    Ok(connection.exec_first(PRODUCT, (id,)).await?.map(product))
}

struct FlashSale {
    redis: redis::aio::MultiplexedConnection,
    script: String,
    secret: String,
}

#[derive(Deserialize)]
struct Purchase {
    activity_id: i64,
}

async fn buy(
    State(sale): State<Arc<FlashSale>>,
    headers: HeaderMap,
    Json(purchase): Json<Purchase>,
) -> Result<(StatusCode, Json<Value>), StatusCode> {
    let user = verified(&sale.secret, &headers).ok_or(StatusCode::UNAUTHORIZED)?;
    let ticket = ulid::Ulid::generate().to_string();
    let command = flash_sale::command(&sale.script, purchase.activity_id, user, user, &ticket);
    let words: Vec<String> =
        command.query_async(&mut sale.redis.clone()).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    match words.first().map(String::as_str) {
        Some("queued") => Ok((StatusCode::ACCEPTED, Json(json!({ "ticket": ticket, "status": "queued" })))),
        _ => Err(StatusCode::CONFLICT),
    }
}

/// The user of a token that the shop has signed and that has not expired.
fn verified(secret: &str, headers: &HeaderMap) -> Option<i64> {
    let token = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
    let (content, signature) = token.rsplit_once('.')?;
    let signed = flash_sale::signature(secret.as_bytes(), content.as_bytes()).ok()?;
    if URL_SAFE_NO_PAD.decode(signature).ok()? != signed {
        return None;
    }
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(content.rsplit_once('.')?.1).ok()?).ok()?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
    let is_valid = claims["iss"] == "wasmall" && claims["aud"] == "wasmall" && claims["exp"].as_u64()? > now;
    if is_valid { claims["sub"].as_str()?.parse().ok() } else { None }
}
