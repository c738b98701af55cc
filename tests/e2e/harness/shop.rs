use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{Call, User, environment, unique};

/// A shop to talk to. One for each test: a client belongs to the test's own runtime.
#[derive(Clone)]
pub struct Shop {
    base: Arc<str>,
    http: Client,
    /// The admin of a shop of one's own; the running shop's is made once for all tests.
    own_admin: Option<Arc<OnceCell<User>>>,
    /// The URL of its MySQL, if that is its own.
    own_mysql: Option<Arc<str>>,
}

/// Where the units of a product are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stock {
    pub available: i64,
    pub reserved: i64,
    pub sold: i64,
}

impl Stock {
    pub fn sum(self) -> i64 {
        self.available + self.reserved + self.sold
    }

    pub fn read(value: &Value) -> Self {
        let units = |name: &str| value[name].as_i64().unwrap_or_else(|| panic!("`{name}` in {value}"));
        Self { available: units("available"), reserved: units("reserved"), sold: units("sold") }
    }
}

impl Shop {
    /// The shop that `cargo mall test` runs.
    pub fn running() -> Self {
        Self::at(&environment("MALL_BASE_URL"))
    }

    pub fn own(base: &str, own_mysql: Option<&str>) -> Self {
        Self { own_admin: Some(Arc::default()), own_mysql: own_mysql.map(Into::into), ..Self::at(base) }
    }

    fn at(base: &str) -> Self {
        let http = client().build().expect("a client");
        Self { base: base.trim_end_matches('/').into(), http, own_admin: None, own_mysql: None }
    }

    /// The same shop, seen from another address of this machine.
    pub fn seen_from(&self, address: [u8; 4]) -> Self {
        let http = client().local_address(std::net::IpAddr::from(address)).build();
        Self { http: http.expect("a client"), ..self.clone() }
    }

    /// `host:port`
    pub fn authority(&self) -> &str {
        self.base.trim_start_matches("http://").split('/').next().unwrap_or_default()
    }

    pub fn call(&self, method: Method, path: &str) -> Call {
        Call::new(self.http.clone(), method, format!("{}{path}", self.base))
    }

    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> Call {
        self.call(Method::POST, path)
    }

    pub fn own_mysql(&self) -> Option<&str> {
        self.own_mysql.as_deref()
    }

    pub fn own_admin(&self) -> Option<&OnceCell<User>> {
        self.own_admin.as_deref()
    }

    /// A product with these fields, on the shelf at 10.00 and with 100 in stock unless they say otherwise.
    pub async fn product(&self, fields: Value) -> i64 {
        let mut product = json!({ "name": format!("Thing {}", unique()), "price_cents": 1000, "stock": 100 });
        for (name, value) in fields.as_object().expect("fields") {
            product[name] = value.clone();
        }
        let admin = self.admin().await;
        let product = admin.post("/api/product").json(product).await.is(201);
        product["product_id"].as_i64().expect("a product id")
    }

    /// A sale of a product with these fields: from now on for an hour, at 5.00, unless they say otherwise.
    pub async fn sale(&self, product_id: i64, fields: Value) -> i64 {
        let time = |from_now: u64| {
            let now = std::time::SystemTime::now() + Duration::from_secs(from_now);
            humantime::format_rfc3339_millis(now).to_string()
        };
        let mut sale = json!({ "product_id": product_id, "stock": 10, "price_cents": 500, "starts_at": time(0),
                               "ends_at": time(3600) });
        for (name, value) in fields.as_object().expect("fields") {
            sale[name] = value.clone();
        }
        let admin = self.admin().await;
        let sale = admin.post("/api/seckill/init").json(sale).await.is(201);
        sale["activity_id"].as_i64().expect("an activity id")
    }

    /// A promotion with these fields, of which `rule` is one: stackable, from now on for ever, unless they say otherwise.
    pub async fn promotion(&self, fields: Value) -> i64 {
        let mut promotion = json!({ "name": format!("Less {}", unique()) });
        for (name, value) in fields.as_object().expect("fields") {
            promotion[name] = value.clone();
        }
        let admin = self.admin().await;
        let promotion = admin.post("/api/admin/promotion").json(promotion).await.is(201);
        promotion["promotion_id"].as_i64().expect("a promotion id")
    }

    /// The code of a coupon with these fields, of which `rule` is one: without a limit in all, one for each, from now on
    /// for ever, unless they say otherwise.
    pub async fn coupon(&self, fields: Value) -> String {
        let mut coupon = json!({ "name": "A coupon", "code": format!("C-{}", unique()) });
        for (name, value) in fields.as_object().expect("fields") {
            coupon[name] = value.clone();
        }
        let coupon = self.admin().await.post("/api/admin/coupon").json(coupon).await.is(201);
        coupon["code"].as_str().expect("a code").to_owned()
    }

    pub async fn category(&self, parent: Option<i64>) -> i64 {
        let mut category = json!({ "name": format!("Shelf {}", unique()) });
        if let Some(parent) = parent {
            category["parent_id"] = parent.into();
        }
        let admin = self.admin().await;
        let category = admin.post("/api/category").json(category).await.is(201);
        category["category_id"].as_i64().expect("a category id")
    }

    pub async fn stock(&self, product_id: i64) -> Stock {
        let admin = self.admin().await;
        Stock::read(&admin.get(&format!("/api/product/{product_id}")).await.is(200))
    }
}

fn client() -> reqwest::ClientBuilder {
    // A reply that takes longer than this is as good as none.
    Client::builder().timeout(Duration::from_secs(30)).no_proxy().redirect(reqwest::redirect::Policy::none())
}
