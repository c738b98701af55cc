//! Users for the load, signed in, and enough stock for what they buy.

use std::net::SocketAddr;

use anyhow::Context;
use hyper::Method;
use load::{
    http::{Client, request},
    plan::Account,
};
use mysql_async::prelude::Queryable;
use serde_json::json;

use crate::{database, project::random_hex, temporary_shop::TemporaryShop};

/// Registers users; returns their access tokens.
pub async fn sign_in(address: SocketAddr, number: usize) -> anyhow::Result<Vec<String>> {
    let mut client = Client::connect(address).await?;
    let mut tokens = Vec::new();
    for _ in 0..number {
        let account = register(&mut client).await?;
        tokens.push(login(&mut client, &account).await?);
    }
    Ok(tokens)
}

pub async fn register(client: &mut Client) -> anyhow::Result<Account> {
    let account = Account { username: format!("bench-{}", random_hex(6)?), password: random_hex(8)? };
    client.json(request(Method::POST, "/api/user/register", None, Some(&json!(account)))).await?;
    Ok(account)
}

/// Returns an access token.
pub async fn login(client: &mut Client, account: &Account) -> anyhow::Result<String> {
    let session = client.json(request(Method::POST, "/api/user/login", None, Some(&json!(account)))).await?;
    Ok(session["access_token"].as_str().context("a session without a token")?.to_owned())
}

/// Adds stock for a whole run to all products; returns their ids.
pub async fn stock_up(scratch: &TemporaryShop) -> anyhow::Result<Vec<i64>> {
    const PLENTY: i64 = 100_000_000;
    const MOVEMENTS: &str = "
        INSERT INTO stock_movements (product_id, delta, reason, created_at)
        SELECT id, ?, 'bench', created_at FROM products";
    let mut connection = database::connect(&scratch.databases.mysql).await?;
    connection.exec_drop("UPDATE products SET available = available + ?", (PLENTY,)).await?;
    connection.exec_drop(MOVEMENTS, (PLENTY,)).await?;
    Ok(connection.query("SELECT id FROM products ORDER BY id").await?)
}
