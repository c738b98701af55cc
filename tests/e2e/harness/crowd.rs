use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use sqlx::{AssertSqlSafe, Executor};

use super::{OwnShop, Servers, Settings, Shop, User, token};

/// Signs the tokens of people who never signed in.
const SECRET: &str = "the secret of a crowd of thousands of people";

impl Servers {
    /// A shop on these servers that knows the tokens of [`Servers::crowd`], and puts no limit on how fast one may buy.
    pub fn shop(&self) -> Settings {
        OwnShop::on(self)
            .variable("jwt_secret", SECRET)
            .variable("seckill_rate", 100_000)
            .variable("seckill_burst", 100_000)
    }

    /// So many new users at a shop, without the time that passwords cost.
    pub async fn crowd(&self, shop: &Shop, count: i64) -> Vec<User> {
        let mut mysql = self.mysql().await;
        let first = 1 + self.number("SELECT COALESCE(MAX(id), 0) FROM users").await;
        let rows: Vec<_> = (first..first + count).map(|id| format!("({id}, 'crowd-{id}', '', 'user', 0)")).collect();
        let sql =
            format!("INSERT INTO users (id, username, password_hash, role, created_at) VALUES {}", rows.join(","));
        mysql.execute(AssertSqlSafe(sql)).await.expect("a crowd");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
        let user = |id: i64| {
            let claims = json!({ "iat": now, "nbf": now, "exp": now + 3600, "iss": "wasmall", "aud": "wasmall",
                                 "sub": id.to_string(), "role": "user", "sid": 1_000_000_000 + id });
            let access = token::signed(&json!({ "alg": "HS256", "typ": "JWT" }), &claims, SECRET.as_bytes());
            User {
                shop: shop.clone(),
                user_id: id,
                username: format!("crowd-{id}"),
                password: String::new(),
                access,
                refresh: String::new(),
            }
        };
        (first..first + count).map(user).collect()
    }
}
