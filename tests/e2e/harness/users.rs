use std::process::Command;
use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::{OnceCell, Semaphore};

use super::{Call, Reply, Shop, environment, unique};

/// Hashing passwords is slow by design: more of it at once than there are cores would only delay other tests.
static PASSWORD_HASHING: Semaphore = Semaphore::const_new(4);

/// A signed-in user.
#[derive(Clone)]
pub struct User {
    pub shop: Shop,
    pub user_id: i64,
    pub username: String,
    pub password: String,
    pub access: String,
    pub refresh: String,
}

impl User {
    pub fn call(&self, method: Method, path: &str) -> Call {
        self.shop.call(method, path).bearer(&self.access)
    }

    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> Call {
        self.call(Method::POST, path)
    }

    pub fn put(&self, path: &str) -> Call {
        self.call(Method::PUT, path)
    }

    pub fn delete(&self, path: &str) -> Call {
        self.call(Method::DELETE, path)
    }

    pub async fn add_to_cart(&self, product_id: i64, quantity: i64) -> Value {
        let item = json!({ "product_id": product_id, "quantity": quantity });
        self.post("/api/cart").json(item).await.is(200)
    }

    pub async fn cart(&self) -> Value {
        self.get("/api/cart").await.is(200)
    }

    /// Places an order without the cart; `items` are pairs of product and quantity.
    pub fn place_order(&self, items: &[(i64, i64)]) -> Call {
        let item = |(product_id, quantity): &(i64, i64)| json!({ "product_id": product_id, "quantity": quantity });
        let items: Vec<Value> = items.iter().map(item).collect();
        self.post("/api/order").json(json!({ "items": items }))
    }

    /// Places an order and returns its number.
    pub async fn new_order(&self, items: &[(i64, i64)]) -> String {
        let order = self.place_order(items).await.is(201);
        order["order_no"].as_str().expect("an order number").to_owned()
    }

    pub async fn get_order(&self, order_no: &str) -> Value {
        self.get(&format!("/api/order/{order_no}")).await.is(200)
    }

    pub fn pay(&self, order_no: &str) -> Call {
        self.post(&format!("/api/order/{order_no}/pay")).json(json!({ "provider": "mock" }))
    }

    pub fn cancel(&self, order_no: &str) -> Call {
        self.post(&format!("/api/order/{order_no}/cancel")).json(json!({}))
    }

    /// The same user, signed in at this shop, which has the same database.
    pub async fn sign_in_at(&self, shop: &Shop) -> User {
        shop.sign_in(&self.username, &self.password).await
    }
}

impl Shop {
    /// A new user, signed in.
    pub async fn user(&self) -> User {
        let (username, password) = self.register().await;
        self.sign_in(&username, &password).await
    }

    /// Registers a new user and returns name and password.
    pub async fn register(&self) -> (String, String) {
        let username = format!("u-{}", unique());
        let password = format!("Pass-{}", unique());
        let form = json!({ "username": username, "password": password });
        self.hash_with("/api/user/register", form).await.is(201);
        (username, password)
    }

    /// Makes the shop hash a password. Tries again where it limits that.
    async fn hash_with(&self, path: &str, form: Value) -> Reply {
        let _permit = PASSWORD_HASHING.acquire().await;
        loop {
            let reply = self.post(path).json(form.clone()).await;
            if reply.status != 429 && reply.status != 503 {
                return reply;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    pub async fn sign_in(&self, username: &str, password: &str) -> User {
        let form = json!({ "username": username, "password": password });
        let session = self.hash_with("/api/user/login", form).await.is(200);
        let text = |name: &str| session[name].as_str().unwrap_or_default().to_owned();
        User {
            shop: self.clone(),
            user_id: session["user"]["user_id"].as_i64().expect("a user id"),
            username: username.to_owned(),
            password: password.to_owned(),
            access: text("access_token"),
            refresh: text("refresh_token"),
        }
    }

    /// The admin of the run, made by `cargo mall grant-admin`; a shop with its own database has its own.
    pub async fn admin(&self) -> User {
        static ADMIN: OnceCell<User> = OnceCell::const_new();
        let admin = ADMIN.get_or_init(|| async { Shop::running().new_admin(&environment("MALL_MYSQL_URL")).await });
        match (self.own_admin(), self.own_mysql()) {
            (Some(own), Some(mysql)) => own.get_or_init(|| self.new_admin(mysql)).await.clone(),
            (Some(own), None) => own.get_or_init(async || admin.await.sign_in_at(self).await).await.clone(),
            (None, _) => User { shop: self.clone(), ..admin.await.clone() },
        }
    }

    /// A new user with these permissions.
    pub async fn staff(&self, permissions: &[&str]) -> User {
        let (username, password) = self.register().await;
        let user = self.sign_in(&username, &password).await;
        let role = json!({ "role": "user", "permissions": permissions });
        let path = format!("/api/admin/user/{}/role", user.user_id);
        self.admin().await.put(&path).json(role).await.is(200);
        self.sign_in(&username, &password).await
    }

    async fn new_admin(&self, mysql: &str) -> User {
        let (username, password) = self.register().await;
        grant_admin(&username, mysql);
        self.sign_in(&username, &password).await
    }

    /// Users of the running shop that the tests share: for tests that look at a product, not at the user's orders.
    pub async fn buyers(&self, count: usize) -> Vec<User> {
        static BUYERS: OnceCell<Vec<User>> = OnceCell::const_new();
        let buyers = BUYERS
            .get_or_init(|| async {
                let shop = Shop::running();
                join_all((0..60).map(|_| shop.user())).await
            })
            .await;
        assert!(count <= buyers.len(), "there are {} buyers", buyers.len());
        let here = |buyer: &User| User { shop: self.clone(), ..buyer.clone() };
        buyers[..count].iter().map(here).collect()
    }
}

fn grant_admin(username: &str, mysql: &str) {
    let done = Command::new(environment("MALL_BIN"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["grant-admin", username, "--mysql", mysql])
        .output()
        .expect("MALL_BIN runs");
    assert!(done.status.success(), "grant-admin: {}", String::from_utf8_lossy(&done.stderr));
}
