use std::time::{SystemTime, UNIX_EPOCH};

use mysql_async::prelude::Queryable;
use serde_json::json;

use super::{DedicatedShop, Servers, Shop, ShopBuilder, User, token};

/// Signs the tokens of users who never signed in.
const SECRET: &str = "the secret of the users that tests insert";

impl Servers {
    /// A shop on these servers that accepts the tokens of [`Servers::insert_users`] and does not limit flash-sale requests.
    pub fn unthrottled_shop(&self) -> ShopBuilder {
        DedicatedShop::on(self)
            .variable("jwt_secret", SECRET)
            .variable("seckill_rate", 100_000)
            .variable("seckill_burst", 100_000)
    }

    /// New users in the database, with tokens: without the cost of hashing passwords.
    pub async fn insert_users(&self, shop: &Shop, count: i64) -> Vec<User> {
        let mut mysql = self.mysql().await;
        let first = 1 + self.number("SELECT COALESCE(MAX(id), 0) FROM users").await;
        let rows: Vec<_> = (first..first + count).map(|id| format!("({id}, 'inserted-{id}', '', 'user', 0)")).collect();
        let sql =
            format!("INSERT INTO users (id, username, password_hash, role, created_at) VALUES {}", rows.join(","));
        mysql.query_drop(sql).await.expect("the users");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
        let user = |id: i64| {
            let claims = json!({ "iat": now, "nbf": now, "exp": now + 3600, "iss": "wasmall", "aud": "wasmall",
                                 "sub": id.to_string(), "role": "user", "sid": 1_000_000_000 + id });
            let access = token::signed(&json!({ "alg": "HS256", "typ": "JWT" }), &claims, SECRET.as_bytes());
            User {
                shop: shop.clone(),
                user_id: id,
                username: format!("inserted-{id}"),
                password: String::new(),
                access,
                refresh: String::new(),
            }
        };
        (first..first + count).map(user).collect()
    }
}
