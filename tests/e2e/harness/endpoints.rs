use reqwest::Method;
use serde_json::{Value, json};

use super::{Call, Shop, User, unique};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
/// Who may call an endpoint.
pub enum Access {
    Public,
    User,
    /// Admins, and users with one of these permissions.
    Staff(&'static [&'static str]),
}

const PRICING: Access = Access::Staff(&["pricing:write"]);
const CATALOG: Access = Access::Staff(&["catalog:write"]);
const ORDERS: Access = Access::Staff(&["orders:ship", "orders:refund"]);
const SHIP: Access = Access::Staff(&["orders:ship"]);
const REFUND: Access = Access::Staff(&["orders:refund"]);
const SECKILL: Access = Access::Staff(&["seckill:write"]);
const USERS: Access = Access::Staff(&["users:write"]);
const LEDGER: Access = Access::Staff(&["ledger:read"]);

/// An endpoint with a valid path and body: for the rules that hold for every endpoint.
pub struct Endpoint {
    pub method: Method,
    pub path: String,
    pub access: Access,
    /// A valid body, if the endpoint takes one.
    pub body: Option<Value>,
}

/// All endpoints, with users and objects to call them with.
pub struct Endpoints {
    pub shop: Shop,
    pub user: User,
    pub admin: User,
    pub all: Vec<Endpoint>,
}

impl Endpoints {
    pub async fn of(shop: &Shop) -> Self {
        let (user, admin) = (shop.user().await, shop.admin().await);
        let category = shop.category(None).await;
        let product = shop.product(json!({})).await;
        user.add_to_cart(product, 1).await;
        let order = user.new_order(&[(product, 1)]).await;
        let declined = json!({ "provider": "mock-fail" });
        user.post(&format!("/api/order/{order}/pay")).json(declined).await.problem(402, "payment_declined");
        let payments = user.get(&format!("/api/order/{order}/payment")).await.is(200);
        let payment = payments["items"][0]["payment_no"].as_str().expect("a payment");
        let waiting = user.new_order(&[(product, 1)]).await;
        let later = json!({ "provider": "mock-later" });
        let pending = user.post(&format!("/api/order/{waiting}/pay")).json(later).await.is(200);
        let pending = pending["payment_no"].as_str().expect("a payment");
        let activity = shop.flash_sale(product, json!({ "stock": 5 })).await;
        let accepted = user.post("/api/seckill").json(json!({ "activity_id": activity })).await.is(202);
        let address =
            json!({ "receiver": "王小明", "phone": "+86 10 1234", "region": "北京", "detail": "长安街 1 号" });
        let address_id = user.post("/api/user/address").json(address.clone()).await.is(201)["address_id"].clone();
        let other = shop.user().await;
        let ticket = accepted["ticket"].as_str().expect("a ticket");
        let rule = json!({ "effect": { "kind": "percent_off", "percent": 1 }, "product_ids": [product] });
        let promotion = shop.promotion(json!({ "rule": rule })).await;
        let code = shop.coupon(json!({ "rule": rule })).await;
        let coupons = admin.get("/api/admin/coupon").await.is(200);
        let coupon =
            coupons["items"].as_array().and_then(|all| all.iter().find(|coupon| coupon["code"] == code.as_str()));
        let coupon = coupon.expect("the new coupon is on the first page")["coupon_id"].clone();
        let endpoint = |method: Method, path: &str, access, body: Value| Endpoint {
            method,
            path: path
                .replace("{product_id}", &product.to_string())
                .replace("{category_id}", &category.to_string())
                .replace("{order_no}", &order)
                .replace("{payment_no}", payment)
                .replace("{pending_no}", pending)
                .replace("{activity_id}", &activity.to_string())
                .replace("{address_id}", &address_id.to_string())
                .replace("{user_id}", &other.user_id.to_string())
                .replace("{ticket}", ticket)
                .replace("{promotion_id}", &promotion.to_string())
                .replace("{coupon_id}", &coupon.to_string())
                .replace("{code}", &code),
            access,
            body: body.is_object().then_some(body),
        };
        let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
        let (username, password) = (user.username.as_str(), user.password.as_str());
        let login = json!({ "username": username, "password": password });
        let name = json!({ "name": "A name" });
        let item = json!({ "product_id": product, "quantity": 1 });
        let all = [
            (&post, "/api/user/register", Access::Public, login.clone()),
            (&post, "/api/user/login", Access::Public, login),
            (&post, "/api/user/refresh", Access::Public, json!({ "refresh_token": "none" })),
            (&get, "/api/product", Access::Public, Value::Null),
            (&get, "/api/product/hot", Access::Public, Value::Null),
            (&get, "/api/product/{product_id}", Access::Public, Value::Null),
            (&get, "/api/product/{product_id}/related", Access::Public, Value::Null),
            (&get, "/api/category", Access::Public, Value::Null),
            (&get, "/health", Access::Public, Value::Null),
            (&get, "/ready", Access::Public, Value::Null),
            (&get, "/metrics", Access::Public, Value::Null),
            (&get, "/api/openapi.json", Access::Public, Value::Null),
            (&get, "/api/docs", Access::Public, Value::Null),
            (
                &post,
                "/api/product",
                CATALOG,
                json!({ "name": "A thing", "price_cents": 1, "stock": 0, "on_shelf": false }),
            ),
            (&put, "/api/product/{product_id}", CATALOG, name.clone()),
            (&post, "/api/product/{product_id}/stock", CATALOG, json!({ "delta": 1, "reason": "found" })),
            (&post, "/api/product/batch", CATALOG, json!({ "product_ids": [product], "on_shelf": true })),
            (&post, "/api/category", CATALOG, name.clone()),
            (&put, "/api/category/{category_id}", CATALOG, name),
            (&get, "/api/order/all", ORDERS, Value::Null),
            (&get, "/api/cart", Access::User, Value::Null),
            (&post, "/api/cart", Access::User, item.clone()),
            (&put, "/api/cart", Access::User, item.clone()),
            (&post, "/api/checkout/quote", Access::User, json!({})),
            (&post, "/api/checkout", Access::User, json!({ "note": "none" })),
            (&post, "/api/order", Access::User, json!({ "items": [item] })),
            (&get, "/api/order", Access::User, Value::Null),
            (&get, "/api/order/{order_no}", Access::User, Value::Null),
            (&post, "/api/order/{order_no}/pay", Access::User, json!({ "provider": "mock-fail" })),
            (&get, "/api/order/{order_no}/payment", Access::User, Value::Null),
            (&get, "/api/payment/{payment_no}", Access::User, Value::Null),
            (&get, "/api/payment/provider", Access::Public, Value::Null),
            (&post, "/api/payment/{payment_no}/cancel", Access::User, Value::Null),
            (&get, "/api/payment/mock-later/{pending_no}", Access::Public, Value::Null),
            (&post, "/api/payment/mock-later/{pending_no}/decline", Access::Public, Value::Null),
            (&post, "/api/payment/mock-later/{pending_no}/pay", Access::Public, Value::Null),
            (&get, "/api/admin/payment", LEDGER, Value::Null),
            (&get, "/api/admin/ledger", LEDGER, Value::Null),
            (&get, "/api/admin/ledger/balance", LEDGER, Value::Null),
            (&post, "/api/order/{order_no}/cancel", Access::User, json!({ "reason": "none" })),
            (&get, "/api/order/{order_no}/log", Access::User, Value::Null),
            (&post, "/api/order/{order_no}/confirm", Access::User, Value::Null),
            (&post, "/api/order/{order_no}/refund", Access::User, json!({ "reason": "none" })),
            (&post, "/api/order/{order_no}/refund/approve", REFUND, Value::Null),
            (&post, "/api/order/{order_no}/refund/reject", REFUND, json!({ "reason": "none" })),
            (&post, "/api/order/{order_no}/ship", SHIP, json!({ "carrier": "a carrier", "tracking_no": "a number" })),
            (&get, "/api/user/message", Access::User, Value::Null),
            (&get, "/api/user/profile", Access::User, Value::Null),
            (&put, "/api/user/profile", Access::User, json!({ "nickname": "A nickname" })),
            (
                &put,
                "/api/user/password",
                Access::User,
                json!({ "old_password": "not the old one", "new_password": "long enough" }),
            ),
            (&post, "/api/user/password/forgot", Access::Public, json!({ "username": "nobody-at-all" })),
            (
                &post,
                "/api/user/password/reset",
                Access::Public,
                json!({ "token": "none", "new_password": "long enough" }),
            ),
            (&post, "/api/user/email/verify", Access::Public, json!({ "token": "none" })),
            (&post, "/api/user/email/resend", Access::User, Value::Null),
            (&get, "/api/user/identity", Access::User, Value::Null),
            (&delete, "/api/user/identity/1", Access::User, Value::Null),
            (&get, "/api/user/export", Access::User, Value::Null),
            (&get, "/api/user/address", Access::User, Value::Null),
            (&post, "/api/user/address", Access::User, address.clone()),
            (&put, "/api/user/address/{address_id}", Access::User, address),
            (&delete, "/api/user/address/{address_id}", Access::User, Value::Null),
            (&get, "/api/user/session", Access::User, Value::Null),
            (&delete, "/api/user/session", Access::User, Value::Null),
            (&delete, "/api/user/session/1", Access::User, Value::Null),
            (&get, "/api/user/oidc/nobody", Access::Public, Value::Null),
            (&get, "/api/user/oidc/nobody/callback?state=none&code=none", Access::Public, Value::Null),
            (&get, "/api/admin/user", USERS, Value::Null),
            (&put, "/api/admin/user/{user_id}/role", USERS, json!({ "role": "user" })),
            (&post, "/api/admin/user/{user_id}/suspend", USERS, json!({ "reason": "none" })),
            (&post, "/api/admin/user/{user_id}/unsuspend", USERS, json!({ "reason": "none" })),
            (&get, "/api/admin/audit", USERS, Value::Null),
            (&get, "/api/seckill", Access::Public, Value::Null),
            (&get, "/api/seckill/{activity_id}", Access::Public, Value::Null),
            (&post, "/api/seckill", Access::User, json!({ "activity_id": activity })),
            (&get, "/api/seckill/ticket/{ticket}", Access::User, Value::Null),
            (
                &post,
                "/api/seckill/init",
                SECKILL,
                json!({ "product_id": product, "stock": 1, "price_cents": 1, "starts_at": "2026-01-01T00:00:00.000Z",
                        "ends_at": "2099-01-01T00:00:00.000Z" }),
            ),
            (&get, "/api/user/coupon", Access::User, Value::Null),
            (&post, "/api/user/coupon/{code}/claim", Access::User, Value::Null),
            (&get, "/api/admin/promotion", PRICING, Value::Null),
            (&post, "/api/admin/promotion", PRICING, json!({ "name": "Less", "rule": rule })),
            (&get, "/api/admin/promotion/{promotion_id}", PRICING, Value::Null),
            (&put, "/api/admin/promotion/{promotion_id}", PRICING, json!({ "name": "Less", "rule": rule })),
            (&get, "/api/admin/coupon", PRICING, Value::Null),
            (&post, "/api/admin/coupon", PRICING, json!({ "name": "Less", "code": unique(), "rule": rule })),
            (&get, "/api/admin/coupon/{coupon_id}", PRICING, Value::Null),
            (&put, "/api/admin/coupon/{coupon_id}", PRICING, json!({ "name": "Less", "code": unique(), "rule": rule })),
            (&delete, "/api/admin/promotion/{promotion_id}", PRICING, Value::Null),
            (&delete, "/api/admin/coupon/{coupon_id}", PRICING, Value::Null),
            (&delete, "/api/cart?product_id={product_id}", Access::User, Value::Null),
            (&delete, "/api/cart/clear", Access::User, Value::Null),
            (&delete, "/api/category/{category_id}", CATALOG, Value::Null),
            (&delete, "/api/product/{product_id}", CATALOG, Value::Null),
            (&delete, "/api/user", Access::User, json!({ "password": "not the password" })),
            (&post, "/api/user/logout", Access::User, Value::Null),
        ];
        let all = all.map(|(method, path, access, body)| endpoint(method.clone(), path, access, body));
        Self { shop: shop.clone(), user, admin, all: all.into() }
    }

    pub fn with_body(&self) -> impl Iterator<Item = &Endpoint> {
        self.all.iter().filter(|endpoint| endpoint.body.is_some())
    }

    pub fn protected(&self) -> impl Iterator<Item = &Endpoint> {
        self.all.iter().filter(|endpoint| endpoint.access != Access::Public)
    }

    /// A call by a user with the permission, without a body.
    pub fn call(&self, endpoint: &Endpoint) -> Call {
        let call = self.shop.call(endpoint.method.clone(), &endpoint.path);
        match endpoint.access {
            Access::Public => call,
            Access::User => call.bearer(&self.user.access),
            Access::Staff(_) => call.bearer(&self.admin.access),
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}
