//! Payments that wait for the customer.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Call, DedicatedShop, Servers, Shop, Stock, User, eventually, ledger_check};

fn pay(user: &User, order: &str, body: Value) -> Call {
    user.post(&format!("/api/order/{order}/pay")).json(body)
}

async fn begin(user: &User, order: &str) -> Value {
    pay(user, order, json!({ "provider": "mock-later" })).await.is(200)
}

fn number(payment: &Value) -> &str {
    payment["payment_no"].as_str().expect("a number")
}

fn answer(shop: &Shop, payment: &Value, what: &str) -> Call {
    shop.post(&format!("/api/payment/mock-later/{}/{what}", number(payment)))
}

/// The customer's answer on the page, and what the page says then.
async fn answered(shop: &Shop, payment: &Value, what: &str) -> String {
    answer(shop, payment, what).await.is(303);
    let page = shop.get(&format!("/api/payment/mock-later/{}", number(payment))).await;
    assert_eq!(page.status, 200, "{page}");
    let html = String::from_utf8_lossy(&page.body);
    let (_, status) = html.split_once("role=\"status\">").unwrap_or_else(|| panic!("no status: {html}"));
    status.split(' ').next().unwrap_or_default().to_owned()
}

async fn order(shop: &Shop, user: &User) -> (String, i64) {
    let product = shop.product(json!({ "stock": 5, "price_cents": 700 })).await;
    (user.new_order(&[(product, 2)]).await, product)
}

#[tokio::test]
async fn a_payment_waits_until_it_is_paid_on_its_page() {
    let shop = Shop::running();
    let user = shop.user().await;
    let (order, product) = order(&shop, &user).await;
    let body = json!({ "provider": "mock-later", "return_url": "https://shop.example/back?a=1&b=\"" });
    pay(&user, &order, body).await.invalid("return_url");
    let body = json!({ "provider": "mock-later", "return_url": "https://shop.example/back?a=1&b='2'" });
    let payment = pay(&user, &order, body).await.is(200);
    shop.get("/api/payment/mock-later/%E6%94%AF%E4%BB%98").await.problem(404, "not_found");
    user.get("/api/payment/%E6%94%AF%E4%BB%98").await.problem(404, "not_found");
    assert_eq!((&payment["status"], &payment["flow"]), (&json!("pending"), &json!("page")), "{payment}");
    assert_eq!((&payment["settled_at"], &payment["action"]["kind"]), (&Value::Null, &json!("redirect")), "{payment}");
    let path = format!("/api/payment/mock-later/{}", number(&payment));
    assert!(payment["action"]["url"].as_str().is_some_and(|url| url.ends_with(&path)), "{payment}");
    assert_eq!(user.get_order(&order).await["status"], "pending");

    let page = shop.get(&path).await;
    let html = String::from_utf8_lossy(&page.body).into_owned();
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{page}");
    assert!(page.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")));
    assert!(html.contains("14.00 CNY") && html.contains(&format!("action=\"{path}/pay\"")), "{html}");
    assert!(html.contains("href=\"https://shop.example/back?a=1&amp;b=&#39;2&#39;\""), "{html}");

    assert_eq!(answered(&shop, &payment, "pay").await, "Paid");
    assert_eq!(answered(&shop, &payment, "pay").await, "Paid");
    assert_eq!(answered(&shop, &payment, "decline").await, "Paid");
    let paid = user.get(&format!("/api/payment/{}", number(&payment))).await.is(200);
    assert_eq!((&paid["status"], &paid["action"]), (&json!("succeeded"), &Value::Null), "{paid}");
    assert!(paid["settled_at"].is_string(), "{paid}");
    assert_ne!(user.get_order(&order).await["status"], "pending");
    assert_eq!(shop.stock(product).await, Stock { available: 3, reserved: 0, sold: 2 });
}

#[tokio::test]
async fn a_payment_that_is_declined_on_its_page_leaves_the_order_unpaid() {
    let shop = Shop::running();
    let user = shop.user().await;
    let (order, _) = order(&shop, &user).await;
    let payment = begin(&user, &order).await;
    assert_eq!(answered(&shop, &payment, "decline").await, "Declined");
    assert_eq!(answered(&shop, &payment, "pay").await, "Declined");
    assert_eq!(user.get_order(&order).await["status"], "pending");
    user.pay(&order).await.is(200);
}

#[tokio::test]
async fn the_same_request_gives_the_pending_payment_again_and_another_provider_cancels_it() {
    let shop = Shop::running();
    let user = shop.user().await;
    let (order, _) = order(&shop, &user).await;
    let first = begin(&user, &order).await;
    assert_eq!(begin(&user, &order).await, first);
    let body = json!({ "provider": "mock-later", "flow": "page" });
    assert_eq!(pay(&user, &order, body).await.is(200), first);
    pay(&user, &order, json!({ "provider": "mock-later", "flow": "qr" })).await.invalid("flow");
    pay(&user, &order, json!({ "provider": "mock", "flow": "page" })).await.invalid("flow");
    user.pay(&order).await.is(200);
    let all = user.get(&format!("/api/order/{order}/payment")).await.is(200);
    let states = |payments: &Value| -> Vec<String> {
        let items = payments["items"].as_array().expect("items");
        items.iter().map(|one| format!("{} {}", one["provider"], one["status"]).replace('"', "")).collect()
    };
    assert_eq!(states(&all), ["mock succeeded", "mock-later canceled"]);
    assert_eq!(answered(&shop, &first, "pay").await, "Canceled");
}

#[tokio::test]
async fn a_user_cancels_their_pending_payment() {
    let shop = Shop::running();
    let (user, other) = (shop.user().await, shop.user().await);
    let (order, _) = order(&shop, &user).await;
    let payment = begin(&user, &order).await;
    let cancel = |by: &User| by.post(&format!("/api/payment/{}/cancel", number(&payment)));
    cancel(&other).await.problem(404, "not_found");
    let canceled = cancel(&user).await.is(200);
    assert_eq!((&canceled["status"], &canceled["action"]), (&json!("canceled"), &Value::Null), "{canceled}");
    cancel(&user).await.is(200);
    assert_eq!(answered(&shop, &payment, "pay").await, "Canceled");
    let second = begin(&user, &order).await;
    assert_ne!(second["payment_no"], payment["payment_no"]);
    assert_eq!(answered(&shop, &second, "pay").await, "Paid");
    user.post(&format!("/api/payment/{}/cancel", number(&second))).await.problem(409, "payment_state");
}

#[tokio::test]
async fn a_pending_payment_ends_with_its_order() {
    let servers = Servers::start().await;
    let shop = DedicatedShop::on(&servers).start().await;
    let user = shop.user().await;
    let (cancelled, _) = order(&shop, &user).await;
    let (expired, _) = order(&shop, &user).await;
    let payments = [begin(&user, &cancelled).await, begin(&user, &expired).await];
    user.cancel(&cancelled).await.is(200);
    servers.expire_order(&expired).await;
    eventually("the order expires", Duration::from_secs(30), async || {
        (user.get_order(&expired).await["status"] == "cancelled").then_some(())
    })
    .await;
    for payment in &payments {
        let ended = user.get(&format!("/api/payment/{}", number(payment))).await.is(200);
        assert_eq!(ended["status"], "canceled", "{ended}");
        assert!(ended["settled_at"].is_string(), "{ended}");
        assert_eq!(answered(&shop, payment, "pay").await, "Canceled");
    }
    let (in_order, printed) = ledger_check(&servers);
    assert!(in_order, "{printed}");
}

#[tokio::test]
async fn contradicting_answers_at_once_settle_a_payment_once() {
    let servers = Servers::start().await;
    let shop = DedicatedShop::on(&servers).start().await;
    let user = shop.user().await;
    for _ in 0..10 {
        let (order, product) = order(&shop, &user).await;
        let payment = begin(&user, &order).await;
        let cancel = || user.post(&format!("/api/payment/{}/cancel", number(&payment)));
        let answers = (0..12).map(|n| match n % 4 {
            0 => cancel(),
            1 => answer(&shop, &payment, "decline"),
            _ => answer(&shop, &payment, "pay"),
        });
        let replies = join_all(answers.map(Call::try_send)).await;
        for reply in replies {
            let reply = reply.expect("a reply");
            assert!(matches!(reply.status, 200 | 303 | 409), "{reply}");
        }
        let settled = user.get(&format!("/api/payment/{}", number(&payment))).await.is(200);
        let paid = settled["status"] == "succeeded";
        assert_ne!(settled["status"], "pending");
        let stock = Stock { available: 3, reserved: if paid { 0 } else { 2 }, sold: if paid { 2 } else { 0 } };
        assert_eq!(shop.stock(product).await, stock, "{settled}");
    }
    let (in_order, printed) = ledger_check(&servers);
    assert!(in_order, "{printed}");
}

#[tokio::test]
async fn a_public_shop_offers_no_page_that_settles_payments_unless_it_is_told_to() {
    let names = async |shop: &Shop| {
        let items = shop.get("/api/payment/provider").await.is(200)["items"].clone();
        let items = items.as_array().expect("items").clone();
        items.iter().filter_map(|one| one["provider"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(names(&Shop::running()).await, ["mock", "mock-fail", "mock-later"]);
    let shop = DedicatedShop::builder().variable("public_url", "https://shop.example").start().await;
    assert_eq!(names(&shop).await, ["mock", "mock-fail"]);
    let user = shop.user().await;
    let (order, _) = order(&shop, &user).await;
    pay(&user, &order, json!({ "provider": "mock-later" })).await.invalid("provider");
}
