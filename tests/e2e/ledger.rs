//! The ledger, and payments as they are read.

use std::{process::Command, time::Duration};

use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

use crate::harness::{DedicatedShop, Servers, Shop, User, environment, eventually, ledger_check};

/// The transfers of an order, oldest first: event, debit, credit, amount.
async fn transfers(clerk: &User, order_no: &str) -> Vec<(String, String, String, i64)> {
    let reply = clerk.get(&format!("/api/admin/ledger?order_no={order_no}")).await.is(200);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let items = reply["items"].as_array().expect("items").iter().rev();
    let kind = |event: &Value| text(event).split(':').next().unwrap_or_default().to_owned();
    items
        .map(|one| {
            assert_eq!((&one["order_no"], &one["currency"]), (&json!(order_no), &json!("CNY")), "{one}");
            (kind(&one["event"]), text(&one["debit"]), text(&one["credit"]), one["amount_cents"].as_i64().unwrap_or(0))
        })
        .collect()
}

fn transfer(event: &str, debit: &str, credit: &str, amount: i64) -> (String, String, String, i64) {
    (event.to_owned(), debit.to_owned(), credit.to_owned(), amount)
}

async fn shipped_order(shop: &Shop, user: &User) -> String {
    let product = shop.product(json!({ "stock": 5, "price_cents": 700 })).await;
    let order = user.new_order(&[(product, 2)]).await;
    user.pay(&order).await.is(200);
    let shipment = json!({ "carrier": "SF", "tracking_no": "1" });
    shop.admin().await.post(&format!("/api/order/{order}/ship")).json(shipment).await.is(200);
    order
}

#[tokio::test]
async fn what_is_paid_is_held_for_the_customer_until_the_order_is_completed() {
    let shop = Shop::running();
    let (user, clerk) = (shop.user().await, shop.staff(&["ledger:read"]).await);
    let order = shipped_order(&shop, &user).await;
    let capture = transfer("capture", "provider:mock", "customer-funds", 1400);
    assert_eq!(transfers(&clerk, &order).await, std::slice::from_ref(&capture));
    user.post(&format!("/api/order/{order}/confirm")).await.is(200);
    assert_eq!(transfers(&clerk, &order).await, [capture, transfer("complete", "customer-funds", "revenue", 1400)]);
}

#[tokio::test]
async fn a_refund_is_due_when_it_is_approved_and_then_paid_back() {
    let shop = Shop::running();
    let (user, admin, clerk) = (shop.user().await, shop.admin().await, shop.staff(&["ledger:read"]).await);
    let order = shipped_order(&shop, &user).await;
    let request = || user.post(&format!("/api/order/{order}/refund")).json(json!({ "reason": "worn" }));
    request().await.is(202);
    assert_eq!(transfers(&clerk, &order).await.len(), 1, "a request moves no money");
    admin.post(&format!("/api/order/{order}/refund/reject")).json(json!({ "reason": "no" })).await.is(200);
    assert_eq!(transfers(&clerk, &order).await.len(), 1, "a rejection moves no money");
    request().await.is(202);
    admin.post(&format!("/api/order/{order}/refund/approve")).await.is(200);
    eventually("the refund succeeds", Duration::from_secs(40), async || {
        (user.get_order(&order).await["status"] == "refunded").then_some(())
    })
    .await;
    let expected = [
        transfer("capture", "provider:mock", "customer-funds", 1400),
        transfer("refund", "customer-funds", "refunds-due", 1400),
        transfer("refunded", "refunds-due", "provider:mock", 1400),
    ];
    assert_eq!(transfers(&clerk, &order).await, expected);
}

#[tokio::test]
async fn declined_and_free_payments_move_no_money() {
    let shop = Shop::running();
    let (user, clerk) = (shop.user().await, shop.staff(&["ledger:read"]).await);
    let given_away = shop.product(json!({})).await;
    let rule = json!({ "effect": { "kind": "percent_off", "percent": 100 }, "product_ids": [given_away] });
    shop.promotion(json!({ "rule": rule })).await;
    let free = user.new_order(&[(given_away, 1)]).await;
    user.pay(&free).await.is(200);
    assert_eq!(transfers(&clerk, &free).await, []);
    let declined = user.new_order(&[(shop.product(json!({ "price_cents": 5 })).await, 1)]).await;
    let body = json!({ "provider": "mock-fail" });
    user.post(&format!("/api/order/{declined}/pay")).json(body).await.problem(402, "payment_declined");
    assert_eq!(transfers(&clerk, &declined).await, []);
}

#[tokio::test]
async fn a_user_reads_the_payments_of_their_own_orders() {
    let shop = Shop::running();
    let (user, other) = (shop.user().await, shop.user().await);
    let order = user.new_order(&[(shop.product(json!({ "price_cents": 5 })).await, 3)]).await;
    let path = format!("/api/order/{order}/payment");
    assert_eq!(user.get(&path).await.is(200)["items"], json!([]));
    let decline = json!({ "provider": "mock-fail" });
    user.post(&format!("/api/order/{order}/pay")).json(decline).await.problem(402, "payment_declined");
    let paid = user.pay(&order).await.is(200);
    assert_eq!((&paid["flow"], &paid["action"]), (&Value::Null, &Value::Null), "{paid}");
    assert_eq!(paid["created_at"], paid["settled_at"], "{paid}");

    let items = user.get(&path).await.is(200)["items"].clone();
    assert_eq!(items[0], paid, "newest first");
    assert_eq!((&items[1]["provider"], &items[1]["status"]), (&json!("mock-fail"), &json!("failed")));
    assert_eq!(items.as_array().map(Vec::len), Some(2));
    let page = user.get(&format!("{path}?limit=1")).await.is(200);
    let next = format!("{path}?limit=1&cursor={}", page["next_cursor"].as_str().expect("a second page"));
    assert_eq!((&page["items"][0], &user.get(&next).await.is(200)["items"][0]), (&items[0], &items[1]));
    let one = format!("/api/payment/{}", paid["payment_no"].as_str().expect("a number"));
    assert_eq!(user.get(&one).await.is(200), paid);
    other.get(&path).await.problem(404, "not_found");
    other.get(&one).await.problem(404, "not_found");
    user.get("/api/payment/01KAVT2QB0M3E5X7K9S1D4F6GH").await.problem(404, "not_found");

    let clerk = shop.staff(&["ledger:read"]).await;
    let all = clerk.get(&format!("/api/admin/payment?order_no={order}&provider=mock")).await.is(200);
    let mut expected = paid.clone();
    expected["user_id"] = json!(user.user_id);
    assert_eq!(all["items"], json!([expected]));
    assert_eq!(all["next_cursor"], Value::Null);
}

#[tokio::test]
async fn lists_of_money_are_filtered_and_paged() {
    let shop = Shop::running();
    let (user, clerk) = (shop.user().await, shop.staff(&["ledger:read"]).await);
    let product = shop.product(json!({ "price_cents": 5 })).await;
    let order = user.new_order(&[(product, 1)]).await;
    let decline = json!({ "provider": "mock-fail" });
    user.post(&format!("/api/order/{order}/pay")).json(decline).await.problem(402, "payment_declined");
    let paid = user.pay(&order).await.is(200);
    let at = paid["created_at"].as_str().expect("a time");
    for path in ["/api/admin/payment", "/api/admin/ledger"] {
        let count = async |filter: &str| {
            let reply = clerk.get(&format!("{path}?order_no={order}{filter}")).await.is(200);
            reply["items"].as_array().map_or(0, Vec::len)
        };
        let all = count("").await;
        assert_eq!(count("&provider=mock").await, 1, "{path}");
        assert_eq!(count("&provider=nobody").await, 0, "{path}");
        assert_eq!(count(&format!("&from={at}")).await, 1, "{path}");
        assert_eq!(count(&format!("&to={at}")).await, all - 1, "{path}");
        assert_eq!(count("&from=2001-01-01T00:00:00Z&to=2002-01-01T00:00:00Z").await, 0, "{path}");
        clerk.get(&format!("{path}?from=yesterday")).await.invalid("from");
        clerk.get(&format!("{path}?cursor=x")).await.invalid("cursor");
        user.get(path).await.problem(403, "forbidden");
    }
    let first = clerk.get(&format!("/api/admin/payment?order_no={order}&limit=1")).await.is(200);
    assert_eq!(first["items"][0]["payment_no"], paid["payment_no"]);
    let cursor = first["next_cursor"].as_str().expect("a second page");
    let second = clerk.get(&format!("/api/admin/payment?order_no={order}&limit=1&cursor={cursor}")).await.is(200);
    assert_eq!((&second["items"][0]["status"], &second["next_cursor"]), (&json!("failed"), &Value::Null));
}

#[tokio::test]
async fn the_shop_chooses_its_providers() {
    let shop = DedicatedShop::builder().variable("payment_providers", "mock-fail").start().await;
    let providers = shop.get("/api/payment/provider").await.is(200);
    assert_eq!(providers, json!({ "items": [{ "provider": "mock-fail", "flows": [], "currencies": ["CNY"] }] }));
    let user = shop.user().await;
    let order = user.new_order(&[(shop.product(json!({})).await, 1)]).await;
    user.pay(&order).await.invalid("provider");
    assert_eq!(user.get(&format!("/api/order/{order}/payment")).await.is(200)["items"], json!([]));
}

async fn balances(clerk: &User) -> Value {
    let balances = clerk.get("/api/admin/ledger/balance").await.is(200)["items"].clone();
    let sum: i64 = balances.as_array().expect("items").iter().filter_map(|one| one["balance_cents"].as_i64()).sum();
    assert_eq!(sum, 0, "{balances}");
    balances
}

#[tokio::test]
async fn balances_are_the_same_before_and_after_the_checkpoint() {
    let servers = Servers::start().await;
    let shop = DedicatedShop::on(&servers).start().await;
    let (user, clerk, admin) = (shop.user().await, shop.staff(&["ledger:read"]).await, shop.admin().await);
    assert_eq!(balances(&clerk).await, json!([]));
    let completed = shipped_order(&shop, &user).await;
    user.post(&format!("/api/order/{completed}/confirm")).await.is(200);
    let expected = json!([
        { "account": "customer-funds", "currency": "CNY", "debit_cents": 1400, "credit_cents": 1400, "balance_cents": 0 },
        { "account": "provider:mock", "currency": "CNY", "debit_cents": 1400, "credit_cents": 0, "balance_cents": 1400 },
        { "account": "revenue", "currency": "CNY", "debit_cents": 0, "credit_cents": 1400, "balance_cents": -1400 },
    ]);
    assert_eq!(balances(&clerk).await, expected);

    // The first run of the job remembers the last transfer, the next one adds up to there.
    let mut mysql = servers.mysql().await;
    for summed in [0, 2] {
        let due = "UPDATE ledger_checkpoint SET seen_at = 0";
        mysql.query_drop(due).await.expect("the checkpoint");
        mysql.query_drop("UPDATE jobs SET due_at = 0 WHERE queue = 'retention'").await.expect("the job");
        servers.wake("retention").await;
        eventually("the job runs", Duration::from_secs(30), async || {
            let moved = servers.number("SELECT COUNT(*) FROM ledger_checkpoint WHERE seen_at > 0").await;
            (moved == 1 && servers.number("SELECT summed_id FROM ledger_checkpoint").await >= summed).then_some(())
        })
        .await;
        assert_eq!(balances(&clerk).await, expected);
    }
    shipped_order(&shop, &user).await;
    let provider = balances(&clerk).await[1]["balance_cents"].clone();
    assert_eq!(provider, 2800);
    let metrics = shop.get("/metrics").await;
    let sample = r#"mall_ledger_balance_cents{account="provider:mock",currency="CNY"} 2800"#;
    assert!(String::from_utf8_lossy(&metrics.body).contains(sample), "{metrics}");
    admin.get("/api/admin/ledger/balance").await.is(200);
    let (in_order, printed) = ledger_check(&servers);
    assert!(in_order, "{printed}");
}

#[tokio::test]
async fn the_check_finds_what_is_wrong_and_a_migration_adds_what_is_missing() {
    let servers = Servers::start().await;
    let shop = DedicatedShop::on(&servers).start().await;
    let user = shop.user().await;
    let order = shipped_order(&shop, &user).await;
    user.post(&format!("/api/order/{order}/confirm")).await.is(200);
    let refunded = shipped_order(&shop, &user).await;
    user.post(&format!("/api/order/{refunded}/refund")).json(json!({ "reason": "worn" })).await.is(202);
    shop.admin().await.post(&format!("/api/order/{refunded}/refund/approve")).await.is(200);
    eventually("the refund succeeds", Duration::from_secs(40), async || {
        (user.get_order(&refunded).await["status"] == "refunded").then_some(())
    })
    .await;
    let in_order = |expected: bool| {
        let (in_order, printed) = ledger_check(&servers);
        assert_eq!(in_order, expected, "{printed}");
        printed
    };
    in_order(true);
    let mut mysql = servers.mysql().await;
    mysql.query_drop("UPDATE ledger_transfers SET amount_cents = amount_cents + 1 LIMIT 1").await.expect("an error");
    assert!(in_order(false).contains(&order));
    mysql.query_drop("UPDATE ledger_transfers SET amount_cents = amount_cents - 1 LIMIT 1").await.expect("the mend");
    let strange = "INSERT INTO ledger_transfers (event, leg, debit, credit, currency, amount_cents, created_at)
                   VALUES ('gift:1', 0, 'refunds-due', 'revenue', 'CNY', 1, 0)";
    mysql.query_drop(strange).await.expect("a transfer that nothing caused");
    assert!(in_order(false).contains("gift:1"));
    // As if functions from before the ledger had done all of it.
    mysql.query_drop("DELETE FROM ledger_transfers").await.expect("no ledger");
    assert!(in_order(false).contains("BROKEN"));
    let migrated = Command::new(environment("MALL_BIN"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["migrate", "--mysql", servers.mysql_url(), "--redis", &servers.redis_url()])
        .output()
        .expect("MALL_BIN runs");
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    in_order(true);
    assert_eq!(servers.number("SELECT COUNT(*) FROM ledger_transfers").await, 5);
}
