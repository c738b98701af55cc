//! `Idempotency-Key`: one key, one effect.

use std::{future::IntoFuture, time::Duration};

use futures::future::{join, join_all};
use mysql_async::{TxOpts, prelude::Queryable};
use serde_json::{Value, json};

use crate::harness::{Call, DedicatedShop, Servers, Shop, Stock, User, eventually, unique};

fn order_no(order: &Value) -> String {
    order["order_no"].as_str().expect("an order number").to_owned()
}

async fn orders_of(user: &User) -> usize {
    let list = user.get("/api/order?limit=100").await.is(200);
    list["items"].as_array().expect("items").len()
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_reply_again() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    let key = unique();
    let first = user.place_order(&[(product, 2)]).key(&key).await;
    first.is(201);
    assert!(first.header("idempotency-replayed").is_none(), "{first}");
    for _ in 0..3 {
        let again = user.place_order(&[(product, 2)]).key(&key).await;
        again.is(201);
        assert!(again.replayed(), "{again}");
        assert_eq!(again.body, first.body);
        assert_eq!(again.header("content-type"), first.header("content-type"));
    }
    assert_eq!(orders_of(&user).await, 1);
    assert_eq!(shop.stock(product).await.reserved, 2);
}

#[tokio::test]
async fn a_checkout_repeated_with_its_key_makes_one_order() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    user.add_to_cart(product, 2).await;
    let key = unique();
    let checkout = || user.post("/api/checkout").json(json!({})).key(&key);
    let first = checkout().await;
    first.is(201);
    // Neither the empty cart nor a filled one matters: the key decides.
    assert_eq!(checkout().await.is(201), first.json());
    user.add_to_cart(product, 1).await;
    let again = checkout().await;
    assert_eq!(again.is(201), first.json());
    assert!(again.replayed(), "{again}");
    assert_eq!(orders_of(&user).await, 1);
    assert_eq!(user.cart().await["items"][0]["quantity"], 1);
}

#[tokio::test]
async fn a_payment_repeated_with_its_key_makes_one_payment() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    let order = user.new_order(&[(product, 1)]).await;
    let key = unique();
    let first = user.pay(&order).key(&key).await;
    first.is(200);
    let again = user.pay(&order).key(&key).await;
    assert_eq!(again.is(200), first.json());
    assert!(again.replayed(), "{again}");
    user.pay(&order).key(&unique()).await.problem(409, "order_state");
    assert_eq!(shop.stock(product).await, Stock { available: 9, reserved: 0, sold: 1 });
}

#[tokio::test]
async fn the_same_key_with_another_body_is_a_mismatch() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    let key = unique();
    let body = format!("{{\"items\":[{{\"product_id\":{product},\"quantity\":1}}]}}");
    let order = |body: String| user.post("/api/order").text("application/json", body).key(&key);
    order(body.clone()).await.is(201);
    order(body.replace("\"quantity\":1", "\"quantity\":2")).await.problem(422, "idempotency_mismatch");
    order(format!("{body} ")).await.problem(422, "idempotency_mismatch");
    let again = order(body).await;
    again.is(201);
    assert!(again.replayed(), "{again}");
    assert_eq!(shop.stock(product).await.reserved, 1);
}

#[tokio::test]
async fn a_key_counts_for_one_user() {
    let shop = Shop::running();
    let (one, other) = (shop.user().await, shop.user().await);
    let product = shop.product(json!({ "stock": 10 })).await;
    let key = unique();
    let first = one.place_order(&[(product, 1)]).key(&key).await;
    let second = other.place_order(&[(product, 1)]).key(&key).await;
    assert_ne!(order_no(&first.is(201)), order_no(&second.is(201)));
    assert!(!second.replayed(), "{second}");
    assert_eq!(shop.stock(product).await.reserved, 2);
}

#[tokio::test]
async fn a_key_counts_for_one_path() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    let key = unique();
    let order = user.place_order(&[(product, 1)]).key(&key).await.is(201);
    let other = user.new_order(&[(product, 1)]).await;
    user.add_to_cart(product, 1).await;
    let checkout = user.post("/api/checkout").json(json!({})).key(&key).await;
    checkout.is(201);
    for order in [order_no(&order), other] {
        let payment = user.pay(&order).key(&key).await;
        assert_eq!(payment.is(200)["order_no"], order.as_str());
        assert!(!payment.replayed(), "{payment}");
    }
}

#[tokio::test]
async fn a_key_is_1_to_64_printable_ascii_characters() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 100 })).await;
    let order = |key: &[u8]| user.place_order(&[(product, 1)]).header("idempotency-key", key);
    for key in ["~!@#$%^&*()'\"\\;--", "x", &format!("{:x>64}", unique())] {
        order(key.as_bytes()).await.is(201);
    }
    let taken = shop.stock(product).await.reserved;
    for key in [&b""[..], &[b'x'; 65], "schlüssel".as_bytes(), b"a\tb"] {
        order(key).await.problem(422, "invalid");
    }
    assert_eq!(shop.stock(product).await.reserved, taken);
}

#[tokio::test]
async fn a_key_is_refused_while_its_request_runs_and_released_if_that_dies() {
    const WAITING: &str = "
        SELECT COUNT(*) FROM information_schema.processlist
        WHERE db = DATABASE() AND id <> CONNECTION_ID() AND info LIKE '%FROM products%FOR UPDATE%'";
    let servers = Servers::start().await;
    let mut shop = DedicatedShop::on(&servers).start().await;
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    let (key, mut mysql) = (unique(), servers.mysql().await);
    let order = || user.place_order(&[(product, 1)]).key(&key);
    let lock = "SELECT id FROM products WHERE id = ? FOR UPDATE";
    let request_waits = async || {
        eventually("the request waits for the product", Duration::from_secs(2), async || {
            (servers.number(WAITING).await == 1).then_some(())
        })
        .await
    };

    let mut holder = mysql.start_transaction(TxOpts::default()).await.expect("a transaction");
    holder.exec_drop(lock, (product,)).await.expect("a lock");
    let meanwhile = async {
        request_waits().await;
        let second = order().await;
        holder.rollback().await.expect("rolled back");
        second
    };
    let (first, second) = join(order().into_future(), meanwhile).await;
    second.problem(409, "idempotency_in_progress");
    assert!(second.header("retry-after").is_some(), "{second}");
    let again = order().await;
    assert_eq!(first.is(201), again.is(201));
    assert!(again.replayed() && !first.replayed(), "{again}");

    let key = unique();
    let mut holder = mysql.start_transaction(TxOpts::default()).await.expect("a transaction");
    holder.exec_drop(lock, (product,)).await.expect("a lock");
    let kill = async {
        request_waits().await;
        shop.kill();
    };
    let (reply, ()) = join(user.place_order(&[(product, 1)]).key(&key).unchecked().try_send(), kill).await;
    assert!(reply.is_err(), "the shop was killed");
    holder.rollback().await.expect("rolled back");
    let next = DedicatedShop::on(&servers).start().await;
    let user = user.sign_in_at(&next).await;
    let reply = user.place_order(&[(product, 1)]).key(&key).await;
    reply.is(201);
    assert!(!reply.replayed(), "{reply}");
    assert_eq!(next.stock(product).await.reserved, 2);
}

#[tokio::test]
async fn concurrent_orders_with_one_key_make_one_order() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 100 })).await;
    for _ in 0..3 {
        let before = shop.stock(product).await;
        let key = unique();
        let requests = (0..30).map(|_| user.place_order(&[(product, 1)]).key(&key).into_future());
        let replies = join_all(requests).await;
        let placed: Vec<_> = replies.iter().filter(|reply| reply.status == 201).collect();
        assert!(!placed.is_empty(), "{}", replies[0]);
        for reply in &placed {
            assert_eq!(reply.body, placed[0].body);
        }
        let first = placed.iter().filter(|reply| !reply.replayed()).count();
        assert_eq!(first, 1, "one request placed the order, the others are replays");
        for reply in replies.iter().filter(|reply| reply.status != 201) {
            reply.problem(409, "idempotency_in_progress");
        }
        let after = shop.stock(product).await;
        assert_eq!(after.reserved - before.reserved, 1);
        let later = user.place_order(&[(product, 1)]).key(&key).await;
        assert_eq!(later.is(201), placed[0].json());
    }
}

#[tokio::test]
async fn concurrent_refusals_with_one_key_are_one_refusal() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 1 })).await;
    for _ in 0..5 {
        let key = unique();
        let order = || user.place_order(&[(product, 2)]).key(&key);
        let replies = join_all((0..30).map(|_| order().into_future())).await;
        let later = order().await;
        later.problem(409, "out_of_stock");
        assert!(later.replayed(), "{later}");
        let refused: Vec<_> = replies.iter().filter(|reply| reply.json()["code"] == "out_of_stock").collect();
        for reply in &refused {
            assert_eq!(reply.body, later.body);
        }
        assert_eq!(refused.iter().filter(|reply| !reply.replayed()).count(), 1);
        for reply in replies.iter().filter(|reply| reply.json()["code"] != "out_of_stock") {
            reply.problem(409, "idempotency_in_progress");
        }
    }
}

#[tokio::test]
async fn a_key_expires_after_a_day() {
    const AGE: &str = "UPDATE idempotency_keys SET claimed_at = claimed_at - ?";
    let servers = Servers::start().await;
    let shop = DedicatedShop::on(&servers).start().await;
    let (user, product) = (shop.user().await, shop.product(json!({ "stock": 10 })).await);
    let (key, mut mysql) = (unique(), servers.mysql().await);
    let order = |quantity| user.place_order(&[(product, quantity)]).key(&key);
    let first = order(1).await.is(201);
    mysql.exec_drop(AGE, (86_300_000_i64,)).await.expect("the key gets older");
    order(2).await.problem(422, "idempotency_mismatch");
    mysql.exec_drop(AGE, (200_000_i64,)).await.expect("the key gets older");
    let second = order(2).await;
    assert!(!second.replayed(), "{second}");
    assert_ne!(order_no(&second.is(201)), order_no(&first));
    let again = order(2).await;
    assert_eq!(again.is(201), second.json());
    assert!(again.replayed(), "{again}");
    assert_eq!(shop.stock(product).await.reserved, 3);
}

#[tokio::test]
async fn concurrent_checkouts_with_one_key_make_one_order() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 100 })).await;
    user.add_to_cart(product, 3).await;
    let key = unique();
    let requests = (0..30).map(|_| user.post("/api/checkout").json(json!({})).key(&key).into_future());
    for reply in join_all(requests).await {
        if reply.status != 201 {
            reply.problem(409, "idempotency_in_progress");
        }
    }
    assert_eq!(orders_of(&user).await, 1);
    assert_eq!(shop.stock(product).await.reserved, 3);
}

#[tokio::test]
async fn concurrent_payments_with_one_key_make_one_payment() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 100 })).await;
    let order = user.new_order(&[(product, 1)]).await;
    let key = unique();
    let replies = join_all((0..30).map(|_| user.pay(&order).key(&key).into_future())).await;
    let mut payments: Vec<String> = Vec::new();
    for reply in &replies {
        if reply.status == 200 {
            payments.push(reply.json()["payment_no"].to_string());
        } else {
            reply.problem(409, "idempotency_in_progress");
        }
    }
    payments.dedup();
    assert_eq!(payments.len(), 1);
    assert_eq!(shop.stock(product).await.sold, 1);
}

#[tokio::test]
async fn refusals_by_the_operation_are_stored() {
    let shop = Shop::running();
    let (admin, user) = (shop.admin().await, shop.user().await);
    let product = shop.product(json!({ "stock": 1 })).await;
    let again = async |call: Call, status: u16, code: &str| {
        let reply = call.await;
        reply.problem(status, code);
        assert!(reply.replayed(), "{reply}");
    };

    let key = unique();
    let order = || user.place_order(&[(product, 2)]).key(&key);
    order().await.problem(409, "out_of_stock");
    let more = json!({ "delta": 5, "reason": "found" });
    admin.post(&format!("/api/product/{product}/stock")).json(more).await.is(200);
    again(order(), 409, "out_of_stock").await;
    let number = order_no(&user.place_order(&[(product, 2)]).key(&unique()).await.is(201));

    let declined = || {
        let pay = user.post(&format!("/api/order/{number}/pay"));
        pay.json(json!({ "provider": "mock-fail" })).key(&key)
    };
    declined().await.problem(402, "payment_declined");
    again(declined(), 402, "payment_declined").await;

    let unknown = || user.pay("nothing").key(&key);
    unknown().await.problem(404, "not_found");
    again(unknown(), 404, "not_found").await;

    let short = json!({ "delta": -100, "reason": "lost" });
    let short = || admin.post(&format!("/api/product/{product}/stock")).json(short.clone()).key(&key);
    short().await.problem(409, "out_of_stock");
    again(short(), 409, "out_of_stock").await;
}

#[tokio::test]
async fn invalid_requests_are_not_stored() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    let key = unique();
    // The same body: first no item is selected, then one is.
    let checkout = || user.post("/api/checkout").json(json!({})).key(&key);
    checkout().await.problem(422, "invalid");
    user.add_to_cart(product, 1).await;
    let reply = checkout().await;
    reply.is(201);
    assert!(!reply.replayed(), "{reply}");
    // Another body: the invalid request was not stored.
    let key = unique();
    user.place_order(&[(product, 0)]).key(&key).await.problem(422, "invalid");
    user.place_order(&[(product, 1)]).key(&key).await.is(201);
}

#[tokio::test]
async fn unauthorized_requests_do_not_use_up_the_key() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    let key = unique();
    let stock = format!("/api/product/{product}/stock");
    let change = json!({ "delta": 1, "reason": "found" });
    let call = shop.post("/api/order").json(json!({ "items": [] })).key(&key);
    call.await.problem(401, "unauthenticated");
    user.post(&stock).json(change.clone()).key(&key).await.problem(403, "forbidden");
    user.place_order(&[(product, 1)]).key(&key).await.is(201);
    user.post(&stock).json(change).key(&key).await.problem(403, "forbidden");
}
