use std::process::Command;
use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::{OnceCell, Semaphore};

use super::{Call, Shop, environment, unique};

/// Passwords cost time by design: more of them at once than the machine has cores would only hold up other tests.
static AT_THE_DOOR: Semaphore = Semaphore::const_new(4);

/// Someone who is signed in.
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

    pub async fn add(&self, product_id: i64, quantity: i64) -> Value {
        let item = json!({ "product_id": product_id, "quantity": quantity });
        self.post("/api/cart").json(item).await.is(200)
    }

    pub async fn cart(&self) -> Value {
        self.get("/api/cart").await.is(200)
    }

    /// Orders without the cart; `items` are pairs of product and quantity.
    pub fn ordering(&self, items: &[(i64, i64)]) -> Call {
        let item = |(product_id, quantity): &(i64, i64)| json!({ "product_id": product_id, "quantity": quantity });
        let items: Vec<Value> = items.iter().map(item).collect();
        self.post("/api/order").json(json!({ "items": items }))
    }

    /// The number of a new order.
    pub async fn order(&self, items: &[(i64, i64)]) -> String {
        let order = self.ordering(items).await.is(201);
        order["order_no"].as_str().expect("an order number").to_owned()
    }

    pub async fn see(&self, order_no: &str) -> Value {
        self.get(&format!("/api/order/{order_no}")).await.is(200)
    }

    pub fn paying(&self, order_no: &str) -> Call {
        self.post(&format!("/api/order/{order_no}/pay")).json(json!({ "provider": "mock" }))
    }

    pub fn cancelling(&self, order_no: &str) -> Call {
        self.post(&format!("/api/order/{order_no}/cancel")).json(json!({}))
    }

    /// The same person at another shop on the same databases.
    pub async fn at(&self, shop: &Shop) -> User {
        shop.sign_in(&self.username, &self.password).await
    }
}

impl Shop {
    /// Someone new, signed in.
    pub async fn user(&self) -> User {
        let (username, password) = self.registered().await;
        self.sign_in(&username, &password).await
    }

    /// Someone new: name and password.
    pub async fn registered(&self) -> (String, String) {
        let username = format!("u-{}", unique());
        let password = format!("Pass-{}", unique());
        let form = json!({ "username": username, "password": password });
        let _turn = AT_THE_DOOR.acquire().await;
        self.post("/api/user/register").json(form).await.is(201);
        (username, password)
    }

    /// Waits where a shop with its usual limits makes one wait.
    pub async fn sign_in(&self, username: &str, password: &str) -> User {
        let form = json!({ "username": username, "password": password });
        let turn = AT_THE_DOOR.acquire().await;
        let session = loop {
            let reply = self.post("/api/user/login").json(form.clone()).await;
            if reply.status != 429 {
                break reply.is(200);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        };
        drop(turn);
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

    /// An admin: made once in a run, by the command that makes them; signed in once for each shop.
    pub async fn admin(&self) -> User {
        static ADMIN: OnceCell<User> = OnceCell::const_new();
        let admin = ADMIN.get_or_init(|| async { Shop::running().new_admin(&environment("MALL_MYSQL_URL")).await });
        match (self.own_admin(), self.own_mysql()) {
            (Some(own), Some(mysql)) => own.get_or_init(|| self.new_admin(mysql)).await.clone(),
            (Some(own), None) => own.get_or_init(async || admin.await.at(self).await).await.clone(),
            (None, _) => User { shop: self.clone(), ..admin.await.clone() },
        }
    }

    /// Somebody new with these permissions.
    pub async fn staff(&self, permissions: &[&str]) -> User {
        let (username, password) = self.registered().await;
        let user = self.sign_in(&username, &password).await;
        let role = json!({ "role": "user", "permissions": permissions });
        let path = format!("/api/admin/user/{}/role", user.user_id);
        self.admin().await.put(&path).json(role).await.is(200);
        self.sign_in(&username, &password).await
    }

    async fn new_admin(&self, mysql: &str) -> User {
        let (username, password) = self.registered().await;
        grant_admin(&username, mysql);
        self.sign_in(&username, &password).await
    }

    /// Buyers of the running shop that the tests share: for what counts orders of a product, not of a person.
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
