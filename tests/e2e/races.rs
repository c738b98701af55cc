//! Many at once.

use std::future::IntoFuture;

use futures::future::{join, join_all};
use serde_json::json;

use crate::harness::{OwnShop, Shop, Stock, unique};

#[tokio::test]
async fn of_sixty_buyers_for_twenty_units_twenty_get_one() {
    let shop = Shop::running();
    let buyers = shop.buyers(60).await;
    let product = shop.product(json!({ "stock": 20 })).await;
    let replies = join_all(buyers.iter().map(|buyer| buyer.ordering(&[(product, 1)]).into_future())).await;
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
async fn carts_that_check_out_at_once_sell_no_unit_twice() {
    let shop = Shop::running();
    let buyers = join_all((0..12).map(|_| shop.user())).await;
    let product = shop.product(json!({ "stock": 10 })).await;
    let other = shop.product(json!({ "stock": 100 })).await;
    for buyer in &buyers {
        buyer.add(product, 2).await;
        buyer.add(other, 1).await;
    }
    let checkouts = buyers.iter().map(|buyer| buyer.post("/api/checkout").json(json!({})).into_future());
    let replies = join_all(checkouts).await;
    let made = replies.iter().filter(|reply| reply.status == 201).count();
    assert_eq!(made, 5);
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        reply.problem(409, "out_of_stock");
    }
    assert_eq!(shop.stock(product).await, Stock { available: 0, reserved: 10, sold: 0 });
    assert_eq!(shop.stock(other).await, Stock { available: 95, reserved: 5, sold: 0 });
}

/// More than an instance takes on at once, and more than it has connections.
#[tokio::test]
async fn forty_carts_of_the_same_things_all_check_out_at_once() {
    let shop = Shop::running();
    let buyers = shop.buyers(40).await;
    let products = join_all((0..3).map(|_| shop.product(json!({ "stock": 1000 })))).await;
    // The second round finds connections that are open.
    for round in 1..=3 {
        join_all(buyers.iter().map(async |buyer| {
            for product in &products {
                buyer.add(*product, 1).await;
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
async fn a_cancel_and_a_payment_at_once_are_never_both() {
    let shop = Shop::running();
    let buyers = shop.buyers(50).await;
    let product = shop.product(json!({ "stock": 50 })).await;
    let races = buyers.iter().enumerate().map(async |(index, buyer)| {
        let order = buyer.order(&[(product, 1)]).await;
        let (pay, cancel) = (buyer.paying(&order).into_future(), buyer.cancelling(&order).into_future());
        // Neither has the better start.
        let (paid, cancelled) = if index % 2 == 0 {
            join(pay, cancel).await
        } else {
            let (cancelled, paid) = join(cancel, pay).await;
            (paid, cancelled)
        };
        let state = buyer.see(&order).await["status"].clone();
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
async fn an_order_that_many_cancel_at_once_is_cancelled_once() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    let order = user.order(&[(product, 4)]).await;
    let replies = join_all((0..20).map(|_| user.cancelling(&order).into_future())).await;
    let done = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(done, 1);
    assert_eq!(shop.stock(product).await, Stock { available: 10, reserved: 0, sold: 0 });
}

#[tokio::test]
async fn an_order_that_many_pay_at_once_is_paid_once() {
    let shop = Shop::running();
    let user = shop.user().await;
    let product = shop.product(json!({ "stock": 10 })).await;
    let order = user.order(&[(product, 4)]).await;
    let replies = join_all((0..20).map(|_| user.paying(&order).into_future())).await;
    let done = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(done, 1);
    assert_eq!(shop.stock(product).await, Stock { available: 6, reserved: 0, sold: 4 });
}

#[tokio::test]
async fn orders_of_the_same_things_in_another_order_all_succeed() {
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
        buyer.ordering(&items).into_future()
    });
    for reply in join_all(orders).await {
        reply.is(201);
    }
    for product in products {
        assert_eq!(shop.stock(product).await, Stock { available: 60, reserved: 40, sold: 0 });
    }
}

#[tokio::test]
async fn orders_payments_and_cancels_in_a_heap_conserve_every_unit() {
    let shop = Shop::running();
    let admin = shop.admin().await;
    let buyers = shop.buyers(40).await;
    let (one, two) = (shop.product(json!({ "stock": 30 })).await, shop.product(json!({ "stock": 30 })).await);
    let shopping = buyers.iter().enumerate().map(async |(index, buyer)| {
        let items = if index % 2 == 0 { [(one, 1), (two, 2)] } else { [(two, 1), (one, 2)] };
        let placed = buyer.ordering(&items).await;
        if placed.status != 201 {
            placed.problem(409, "out_of_stock");
            return;
        }
        let order = placed.json()["order_no"].as_str().expect("a number").to_owned();
        match index % 3 {
            0 => drop(buyer.paying(&order).await.is(200)),
            1 => drop(buyer.cancelling(&order).await.is(200)),
            _ => {}
        }
    });
    let stocking = (0..10).map(async |index: i64| {
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
    let (_, moved) = join(join_all(shopping), join_all(stocking)).await;
    let moved: i64 = moved.into_iter().sum();
    let (one, two) = (shop.stock(one).await, shop.stock(two).await);
    assert_eq!((one.sum(), two.sum()), (30 + moved, 30), "{one:?} {two:?}");
    assert!(one.available >= 0 && two.available >= 0, "{one:?} {two:?}");
}

#[tokio::test]
async fn two_replicas_are_one_shop() {
    let shop = Shop::running();
    let replica = OwnShop::with().start().await;
    let here = shop.buyers(15).await;
    let there = join_all((0..15).map(|_| replica.user())).await;
    let product = shop.product(json!({ "stock": 20 })).await;
    let buyers = here.iter().chain(&there);
    let replies = join_all(buyers.map(|buyer| buyer.ordering(&[(product, 1)]).into_future())).await;
    let made = replies.iter().filter(|reply| reply.status == 201).count();
    assert_eq!(made, 20);
    assert_eq!(shop.stock(product).await, Stock { available: 0, reserved: 20, sold: 0 });

    let product = shop.product(json!({ "stock": 100 })).await;
    let one = shop.user().await;
    let other = one.at(&replica).await;
    let key = unique();
    let storm = (0..20).map(|index| {
        let device = if index % 2 == 0 { &one } else { &other };
        device.ordering(&[(product, 1)]).key(&key).into_future()
    });
    for reply in join_all(storm).await {
        if reply.status != 201 {
            reply.problem(409, "idempotency_in_progress");
        }
    }
    assert_eq!(shop.stock(product).await.reserved, 1, "a key holds wherever it is heard");
    let cart = one.add(product, 2).await;
    assert_eq!(other.cart().await["items"], cart["items"], "and so does a cart");
}

#[tokio::test]
async fn two_hundred_at_once_are_all_served() {
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
async fn what_leaves_the_shelf_while_people_buy_leaves_the_stock_whole() {
    let shop = Shop::running();
    let (admin, buyers) = (shop.admin().await, shop.buyers(24).await);
    let products = join_all((0..4).map(|_| shop.product(json!({ "stock": 500 })))).await;
    let buying = join_all(buyers.iter().enumerate().map(async |(n, buyer)| {
        let mut bought = 0;
        for round in 0..4 {
            let (one, two) = (products[(n + round) % 4], products[(n + round + 1) % 4]);
            let reply = buyer.ordering(&[(one, 1), (two, 2)]).await;
            if reply.status != 201 {
                // Off the shelf just now.
                reply.problem(422, "invalid");
                continue;
            }
            let order = reply.json()["order_no"].as_str().expect("a number").to_owned();
            if (n + round) % 3 == 0 {
                buyer.cancelling(&order).await.is(200);
            } else {
                // What was ordered can be paid, wherever it is by now.
                buyer.paying(&order).await.is(200);
                bought += 1;
            }
        }
        bought
    }));
    let changing = async {
        for round in 0..12 {
            let batch = json!({ "product_ids": products, "on_shelf": round % 2 == 1 });
            admin.post("/api/product/batch").json(batch).await.is(200);
        }
    };
    let (bought, ()) = join(buying, changing).await;
    let mut sold = 0;
    for product in &products {
        let stock = shop.stock(*product).await;
        assert_eq!((stock.sum(), stock.reserved), (500, 0));
        sold += stock.sold;
    }
    assert_eq!(sold, 3 * bought.into_iter().sum::<i64>());
}
