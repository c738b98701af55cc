//! Races: many requests at the same time.

use std::future::IntoFuture;

use futures::future::{join, join_all};
use serde_json::json;

use crate::harness::{DedicatedShop, Shop, Stock, unique};

#[tokio::test]
async fn of_sixty_concurrent_buyers_twenty_get_the_twenty_units() {
    let shop = Shop::running();
    let buyers = shop.buyers(60).await;
    let product = shop.product(json!({ "stock": 20 })).await;
    let replies = join_all(buyers.iter().map(|buyer| buyer.place_order(&[(product, 1)]).into_future())).await;
    let mut numbers = Vec::new();
    for reply in &replies {
        if reply.status == 201 {
            numbers.push(reply.json()["order_no"].to_string());
        } else {
            reply.problem(409, "out_of_stock");
        }
    }
    assert_eq!(numbers.len(), 20);
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), 20, "every order has its own number");
    assert_eq!(shop.stock(product).await, Stock { available: 0, reserved: 20, sold: 0 });
}

#[tokio::test]
async fn concurrent_checkouts_sell_no_unit_twice() {
    let shop = Shop::running();
    let buyers = join_all((0..12).map(|_| shop.user())).await;
    let product = shop.product(json!({ "stock": 10 })).await;
    let other = shop.product(json!({ "stock": 100 })).await;
    for buyer in &buyers {
        buyer.add_to_cart(product, 2).await;
        buyer.add_to_cart(other, 1).await;
    }
    let checkouts = buyers.iter().map(|buyer| buyer.post("/api/checkout").json(json!({})).into_future());
    let replies = join_all(checkouts).await;
    let placed = replies.iter().filter(|reply| reply.status == 201).count();
    assert_eq!(placed, 5);
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        reply.problem(409, "out_of_stock");
    }
    assert_eq!(shop.stock(product).await, Stock { available: 0, reserved: 10, sold: 0 });
    assert_eq!(shop.stock(other).await, Stock { available: 95, reserved: 5, sold: 0 });
}

/// More requests than an instance takes at a time, and more than it has connections.
#[tokio::test]
async fn forty_carts_with_the_same_products_all_check_out_at_once() {
    let shop = Shop::running();
    let buyers = shop.buyers(40).await;
    let products = join_all((0..3).map(|_| shop.product(json!({ "stock": 1000 })))).await;
    // From the second round on connections are open.
    for round in 1..=3 {
        join_all(buyers.iter().map(async |buyer| {
            for product in &products {
                buyer.add_to_cart(*product, 1).await;
            }
        }))
        .await;
        let checkouts = buyers.iter().map(|buyer| buyer.post("/api/checkout").json(json!({})).into_future());
        for reply in join_all(checkouts).await {
            reply.is(201);
        }
        let reserved = 40 * round;
        for product in &products {
            assert_eq!(shop.stock(*product).await, Stock { available: 1000 - reserved, reserved, sold: 0 });
        }
    }
}

#[tokio::test]
async fn a_concurrent_payment_and_cancellation_never_both_succeed() {
    let shop = Shop::running();
    let buyers = shop.buyers(50).await;
    let product = shop.product(json!({ "stock": 50 })).await;
    let races = buyers.iter().enumerate().map(async |(index, buyer)| {
        let order = buyer.new_order(&[(product, 1)]).await;
        let (pay, cancel) = (buyer.pay(&order).into_future(), buyer.cancel(&order).into_future());
        // Each of the two comes first in half of the rounds.
        let (paid, cancelled) = if index % 2 == 0 {
            join(pay, cancel).await
        } else {
            let (cancelled, paid) = join(cancel, pay).await;
            (paid, cancelled)
        };
        let state = buyer.get_order(&order).await["status"].clone();
        match (paid.status, cancelled.status) {
            (200, 409) => {
                cancelled.problem(409, "order_state");
                assert_ne!(state, "cancelled");
                1
            }
            (409, 200) => {
                paid.problem(409, "order_state");
                assert_eq!(state, "cancelled");
                0
            }
            _ => panic!("{paid}\n{cancelled}"),
        }
    });
    let sold: i64 = join_all(races).await.into_iter().sum();
    assert_eq!(shop.stock(product).await, Stock { available: 50 - sold, reserved: 0, sold });
}

#[tokio::test]
async fn concurrent_cancellations_cancel_an_order_once() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    let order = user.new_order(&[(product, 4)]).await;
    let replies = join_all((0..20).map(|_| user.cancel(&order).into_future())).await;
    let done = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(done, 1);
    assert_eq!(shop.stock(product).await, Stock { available: 10, reserved: 0, sold: 0 });
}

#[tokio::test]
async fn concurrent_payments_pay_an_order_once() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    let order = user.new_order(&[(product, 4)]).await;
    let replies = join_all((0..20).map(|_| user.pay(&order).into_future())).await;
    let done = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(done, 1);
    assert_eq!(shop.stock(product).await, Stock { available: 6, reserved: 0, sold: 4 });
}

#[tokio::test]
async fn orders_with_the_same_products_in_any_sequence_all_succeed() {
    let shop = Shop::running();
    let buyers = shop.buyers(40).await;
    let mut products = Vec::new();
    for _ in 0..4 {
        products.push(shop.product(json!({ "stock": 100 })).await);
    }
    let orders = buyers.iter().enumerate().map(|(index, buyer)| {
        let mut items: Vec<(i64, i64)> = products.iter().map(|product| (*product, 1)).collect();
        items.rotate_left(index % 4);
        if index % 2 == 0 {
            items.reverse();
        }
        buyer.place_order(&items).into_future()
    });
    for reply in join_all(orders).await {
        reply.is(201);
    }
    for product in products {
        assert_eq!(shop.stock(product).await, Stock { available: 60, reserved: 40, sold: 0 });
    }
}

#[tokio::test]
async fn concurrent_orders_payments_and_cancellations_conserve_stock() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let buyers = shop.buyers(40).await;
    let (one, two) = (shop.product(json!({ "stock": 30 })).await, shop.product(json!({ "stock": 30 })).await);
    let orders = buyers.iter().enumerate().map(async |(index, buyer)| {
        let items = if index % 2 == 0 { [(one, 1), (two, 2)] } else { [(two, 1), (one, 2)] };
        let placed = buyer.place_order(&items).await;
        if placed.status != 201 {
            placed.problem(409, "out_of_stock");
            return;
        }
        let order = placed.json()["order_no"].as_str().expect("a number").to_owned();
        match index % 3 {
            0 => drop(buyer.pay(&order).await.is(200)),
            1 => drop(buyer.cancel(&order).await.is(200)),
            _ => {}
        }
    });
    let stock_changes = (0..10).map(async |index: i64| {
        let delta = json!({ "delta": if index % 2 == 0 { 1 } else { -1 }, "reason": "counted" });
        let reply = admin.post(&format!("/api/product/{one}/stock")).json(delta).await;
        match reply.status {
            200 => 1 - 2 * (index % 2),
            _ => {
                reply.problem(409, "out_of_stock");
                0
            }
        }
    });
    let (_, moved) = join(join_all(orders), join_all(stock_changes)).await;
    let moved: i64 = moved.into_iter().sum();
    let (one, two) = (shop.stock(one).await, shop.stock(two).await);
    assert_eq!((one.sum(), two.sum()), (30 + moved, 30), "{one:?} {two:?}");
    assert!(one.available >= 0 && two.available >= 0, "{one:?} {two:?}");
}

#[tokio::test]
async fn two_replicas_share_stock_keys_and_carts() {
    let shop = Shop::running();
    let replica = DedicatedShop::builder().start().await;
    let here = shop.buyers(15).await;
    let there = join_all((0..15).map(|_| replica.user())).await;
    let product = shop.product(json!({ "stock": 20 })).await;
    let buyers = here.iter().chain(&there);
    let replies = join_all(buyers.map(|buyer| buyer.place_order(&[(product, 1)]).into_future())).await;
    let placed = replies.iter().filter(|reply| reply.status == 201).count();
    assert_eq!(placed, 20);
    assert_eq!(shop.stock(product).await, Stock { available: 0, reserved: 20, sold: 0 });

    let product = shop.product(json!({ "stock": 100 })).await;
    let one = shop.user().await;
    let other = one.sign_in_at(&replica).await;
    let key = unique();
    let requests = (0..20).map(|index| {
        let device = if index % 2 == 0 { &one } else { &other };
        device.place_order(&[(product, 1)]).key(&key).into_future()
    });
    for reply in join_all(requests).await {
        if reply.status != 201 {
            reply.problem(409, "idempotency_in_progress");
        }
    }
    assert_eq!(shop.stock(product).await.reserved, 1, "a key counts at every replica");
    let cart = one.add_to_cart(product, 2).await;
    assert_eq!(other.cart().await["items"], cart["items"], "replicas share the cart");
}

#[tokio::test]
async fn two_hundred_concurrent_requests_are_all_served() {
    let shop = Shop::running();
    let buyers = shop.buyers(50).await;
    let product = shop.product(json!({})).await;
    let calls = buyers.iter().flat_map(|buyer| {
        [
            buyer.get("/api/order"),
            buyer.get("/api/cart"),
            buyer.get(&format!("/api/product/{product}")),
            buyer.post("/api/checkout/quote").json(json!({})),
        ]
    });
    for reply in join_all(calls.map(IntoFuture::into_future)).await {
        reply.is(200);
    }
}

#[tokio::test]
async fn changing_the_shelf_during_orders_conserves_stock() {
    let shop = Shop::running();
    let (admin, buyers) = (shop.admin().await, shop.buyers(24).await);
    let products = join_all((0..4).map(|_| shop.product(json!({ "stock": 500 })))).await;
    let orders = join_all(buyers.iter().enumerate().map(async |(n, buyer)| {
        let mut bought = 0;
        for round in 0..4 {
            let (one, two) = (products[(n + round) % 4], products[(n + round + 1) % 4]);
            let reply = buyer.place_order(&[(one, 1), (two, 2)]).await;
            if reply.status != 201 {
                // The products were off the shelf.
                reply.problem(422, "invalid");
                continue;
            }
            let order = reply.json()["order_no"].as_str().expect("a number").to_owned();
            if (n + round) % 3 == 0 {
                buyer.cancel(&order).await.is(200);
            } else {
                // An order can be paid even if its products have left the shelf.
                buyer.pay(&order).await.is(200);
                bought += 1;
            }
        }
        bought
    }));
    let changes = async {
        for round in 0..12 {
            let batch = json!({ "product_ids": products, "on_shelf": round % 2 == 1 });
            admin.post("/api/product/batch").json(batch).await.is(200);
        }
    };
    let (bought, ()) = join(orders, changes).await;
    let mut sold = 0;
    for product in &products {
        let stock = shop.stock(*product).await;
        assert_eq!((stock.sum(), stock.reserved), (500, 0));
        sold += stock.sold;
    }
    assert_eq!(sold, 3 * bought.into_iter().sum::<i64>());
}
