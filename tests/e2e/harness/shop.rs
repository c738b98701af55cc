use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{Call, User, environment, unique};

/// A client of a shop. Each test needs its own: the connections belong to its async runtime.
#[derive(Clone)]
pub struct Shop {
    base: Arc<str>,
    http: Client,
    /// The admin of a dedicated shop; the one of the running shop is shared by all tests.
    own_admin: Option<Arc<OnceCell<User>>>,
    /// The URL of its MySQL, if that is not the one of the run.
    own_mysql: Option<Arc<str>>,
}

/// How many units of a product are available, reserved and sold.
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

    /// The same shop, called from this address of the machine.
    pub fn called_from(&self, address: [u8; 4]) -> Self {
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

    /// Creates a product with these fields; by default on the shelf, at 10.00, with 100 in stock.
    pub async fn product(&self, fields: Value) -> i64 {
        let mut product = json!({ "name": format!("Thing {}", unique()), "price_cents": 1000, "stock": 100 });
        for (name, value) in fields.as_object().expect("fields") {
            product[name] = value.clone();
        }
        let admin = self.admin().await;
        let product = admin.post("/api/product").json(product).await.is(201);
        product["product_id"].as_i64().expect("a product id")
    }

    /// Creates a flash sale with these fields; by default from now on for an hour, at 5.00, with 10 units.
    pub async fn flash_sale(&self, product_id: i64, fields: Value) -> i64 {
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

    /// Creates a promotion with these fields, which must include `rule`; by default stackable and without end.
    pub async fn promotion(&self, fields: Value) -> i64 {
        let mut promotion = json!({ "name": format!("Discount {}", unique()) });
        for (name, value) in fields.as_object().expect("fields") {
            promotion[name] = value.clone();
        }
        let admin = self.admin().await;
        let promotion = admin.post("/api/admin/promotion").json(promotion).await.is(201);
        promotion["promotion_id"].as_i64().expect("a promotion id")
    }

    /// Creates a coupon with these fields, which must include `rule`; by default one for each user, without a total limit
    /// and without end. Returns its code.
    pub async fn coupon(&self, fields: Value) -> String {
        let mut coupon = json!({ "name": "A coupon", "code": format!("C-{}", unique()) });
        for (name, value) in fields.as_object().expect("fields") {
            coupon[name] = value.clone();
        }
        let coupon = self.admin().await.post("/api/admin/coupon").json(coupon).await.is(201);
        coupon["code"].as_str().expect("a code").to_owned()
    }

    pub async fn category(&self, parent: Option<i64>) -> i64 {
        let mut category = json!({ "name": format!("Category {}", unique()) });
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
    // A reply that takes longer than this is a failure.
    Client::builder().timeout(Duration::from_secs(30)).no_proxy().redirect(reqwest::redirect::Policy::none())
}
