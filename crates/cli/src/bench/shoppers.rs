//! Whom the load is made by: users of their own, signed in, and products that don't run out.

use std::net::SocketAddr;

use anyhow::Context;
use hyper::Method;
use load::http::{Client, request};
use serde_json::json;

use crate::{database, project::random_hex, temporary_shop::TemporaryShop};

/// Registers so many users; their access tokens.
pub async fn sign_in(address: SocketAddr, number: usize) -> anyhow::Result<Vec<String>> {
    let mut client = Client::connect(address).await?;
    let mut tokens = Vec::new();
    for _ in 0..number {
        let account = json!({ "username": format!("bench-{}", random_hex(6)?), "password": random_hex(8)? });
        client.json(request(Method::POST, "/api/user/register", None, Some(&account))).await?;
        let session = client.json(request(Method::POST, "/api/user/login", None, Some(&account))).await?;
        tokens.push(session["access_token"].as_str().context("a session without a token")?.to_owned());
    }
    Ok(tokens)
}

/// All products, with stock for as long as the run may last.
pub async fn stock_up(scratch: &TemporaryShop) -> anyhow::Result<Vec<i64>> {
    const PLENTY: i64 = 100_000_000;
    let mut connection = database::connect(&scratch.databases.mysql).await?;
    sqlx::query("UPDATE products SET available = available + ?").bind(PLENTY).execute(&mut connection).await?;
    sqlx::query(
        "INSERT INTO stock_movements (product_id, delta, reason, created_at)
         SELECT id, ?, 'bench', created_at FROM products",
    )
    .bind(PLENTY)
    .execute(&mut connection)
    .await?;
    Ok(sqlx::query_scalar("SELECT id FROM products ORDER BY id").fetch_all(&mut connection).await?)
}
