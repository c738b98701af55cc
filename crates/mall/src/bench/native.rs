//! The yardstick: one native process, axum and a pool of connections, reading the same product from the same MySQL.

use std::process::ExitCode;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use serde::Serialize;
use sqlx::{MySqlPool, mysql::MySqlPoolOptions};

use crate::address::Mysql;

#[derive(Serialize, sqlx::FromRow)]
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

/// Prints its address, then serves until it is ended. Where MySQL is comes by the environment.
pub async fn run() -> anyhow::Result<ExitCode> {
    let mysql: Mysql = std::env::var("MALL_MYSQL_URL")?.parse()?;
    let options = mysql.options().database(&mysql.database);
    let pool = MySqlPoolOptions::new().max_connections(16).connect_with(options).await?;
    let app = Router::new().route("/api/product/{id}", get(product)).with_state(pool);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(axum::serve::ListenerExt::tap_io(listener, |stream| drop(stream.set_nodelay(true))), app).await?;
    Ok(ExitCode::SUCCESS)
}

async fn product(State(pool): State<MySqlPool>, Path(id): Path<i64>) -> Result<Json<Product>, StatusCode> {
    let product = sqlx::query_as(
        "SELECT id, name, description, image_url, category_id, price_cents, available, sold, created_at, updated_at
         FROM products WHERE id = ? AND on_shelf = 1",
    );
    let product = product.bind(id).fetch_optional(&pool).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    product.map(Json).ok_or(StatusCode::NOT_FOUND)
}
