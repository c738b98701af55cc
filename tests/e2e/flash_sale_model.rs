//! A flash sale compared with a small model: after any sequence of steps, crashes included, shop and model agree.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use crate::flash_sale::{booked_order, buy, in_seconds};
use crate::harness::{DedicatedShop, Servers, Shop, Stock, User, eventually};

const USERS: usize = 4;
const UNITS: i64 = 3;
const STOCKED: i64 = 10;
/// How long a sale runs: longer than the steps in it take.
const SALE: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, Debug)]
enum Step {
    Buy(usize),
    Pay(usize),
    Cancel(usize),
    Refund(usize),
    /// The order expires.
    Expire(usize),
    /// The runtime is killed, and another one started.
    Crash,
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let user = 0..USERS;
    let step = prop_oneof![
        6 => user.clone().prop_map(Step::Buy),
        3 => user.clone().prop_map(Step::Pay),
        3 => user.clone().prop_map(Step::Cancel),
        2 => user.clone().prop_map(Step::Refund),
        2 => user.prop_map(Step::Expire),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..most)
}

/// The expected state.
#[derive(Debug)]
struct Model {
    left: i64,
    is_over: bool,
    /// The user's order, and whether it is paid.
    orders: [Option<(String, bool)>; USERS],
}

impl Model {
    fn stock(&self) -> Stock {
        let count = |paid| self.orders.iter().flatten().filter(|order| order.1 == paid).count() as i64;
        let (reserved, sold) = (count(false) + if self.is_over { 0 } else { self.left }, count(true));
        Stock { available: STOCKED - reserved - sold, reserved, sold }
    }

    /// The user's unit is on sale again, as long as the sale runs.
    fn give_back(&mut self, user: usize) {
        self.orders[user] = None;
        self.left += i64::from(!self.is_over);
    }
}

struct Setup {
    servers: Servers,
    shop: DedicatedShop,
}

impl Setup {
    async fn crash(&mut self) {
        self.shop.kill();
        self.shop = self.servers.unthrottled_shop().start().await;
    }

    fn at_shop(&self, user: &User) -> User {
        User { shop: Shop::clone(&self.shop), ..user.clone() }
    }

    async fn check(&mut self, during: &[Step], after: &[Step]) {
        let product = self.shop.product(json!({ "stock": STOCKED })).await;
        let started = SystemTime::now();
        let sale = json!({ "stock": UNITS, "ends_at": in_seconds(SALE.as_secs_f64()) });
        let activity = self.shop.flash_sale(product, sale).await;
        let users = self.servers.insert_users(&self.shop, USERS as i64).await;
        let mut model = Model { left: UNITS, is_over: false, orders: Default::default() };
        for step in during {
            // No steps in the last seconds of the sale.
            if started.elapsed().unwrap_or_default() + Duration::from_secs(3) > SALE {
                break;
            }
            self.step(*step, activity, product, &users, &mut model).await;
        }
        eventually("the sale ends", SALE * 2, async || {
            let sale = self.shop.get(&format!("/api/seckill/{activity}")).await.is(200);
            (sale["state"] == "ended").then_some(())
        })
        .await;
        (model.is_over, model.left) = (true, 0);
        self.stock_agrees(product, &model).await;
        for step in after {
            self.step(*step, activity, product, &users, &mut model).await;
        }
        self.stock_agrees(product, &model).await;
    }

    async fn step(&mut self, step: Step, activity: i64, product: i64, users: &[User], model: &mut Model) {
        match step {
            Step::Crash => self.crash().await,
            Step::Buy(index) => {
                let user = self.at_shop(&users[index]);
                // An instance caches for 200 ms that a sale is sold out.
                tokio::time::sleep(Duration::from_millis(210)).await;
                let reply = buy(&user, activity).await;
                match &model.orders[index] {
                    Some((order, _)) => assert_eq!(booked_order(&user, &reply.is(200)).await, *order),
                    // After the sale a ticket whose order is cancelled is removed a little later.
                    None if model.is_over => assert!(reply.status == 200 || reply.code() == "seckill_ended", "{reply}"),
                    None if model.left == 0 => drop(reply.problem(409, "seckill_sold_out")),
                    None => {
                        let order = booked_order(&user, &reply.is(202)).await;
                        model.left -= 1;
                        model.orders[index] = Some((order, false));
                    }
                }
            }
            Step::Pay(index) => {
                if let Some((order, paid)) = &mut model.orders[index] {
                    let reply = self.at_shop(&users[index]).pay(order).await;
                    assert_eq!(reply.status, if *paid { 409 } else { 200 }, "{reply}");
                    *paid = true;
                }
            }
            Step::Cancel(index) => {
                if let Some((order, paid)) = model.orders[index].clone() {
                    let reply = self.at_shop(&users[index]).cancel(&order).await;
                    assert_eq!(reply.status, if paid { 409 } else { 200 }, "{reply}");
                    if !paid {
                        model.give_back(index);
                        self.units_left_agree(activity, model).await;
                    }
                }
            }
            Step::Expire(index) => {
                if let Some((order, paid)) = model.orders[index].clone() {
                    self.servers.expire_order(&order).await;
                    if !paid {
                        model.give_back(index);
                        self.units_left_agree(activity, model).await;
                    }
                }
            }
            Step::Refund(index) => {
                if let Some((order, true)) = model.orders[index].clone() {
                    let refund = self.at_shop(&users[index]).post(&format!("/api/order/{order}/refund"));
                    refund.json(json!({ "reason": "no" })).await.is(202);
                    model.give_back(index);
                    self.units_left_agree(activity, model).await;
                }
            }
        }
        if !model.is_over {
            self.stock_agrees(product, model).await;
        }
    }

    async fn units_left_agree(&self, activity: i64, model: &Model) {
        eventually("the remaining units agree with the model", Duration::from_secs(40), async || {
            let sale = self.shop.get(&format!("/api/seckill/{activity}")).await.is(200);
            (sale["left"] == model.left || sale["state"] == "ended").then_some(())
        })
        .await;
    }

    async fn stock_agrees(&self, product: i64, model: &Model) {
        eventually(&format!("shop and model agree: {model:?}"), Duration::from_secs(40), async || {
            (self.shop.stock(product).await == model.stock()).then_some(())
        })
        .await;
    }
}

#[test]
fn the_shop_agrees_with_the_model() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let setup = runtime.block_on(async {
        let servers = Servers::start().await;
        let shop = servers.unthrottled_shop().start().await;
        tokio::sync::Mutex::new(Setup { servers, shop })
    });
    // No shrinking: it would take minutes.
    let config = Config { cases: 4, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&(steps(14), steps(6)), |(during, after)| {
        println!("{during:?}, then {after:?}");
        runtime.block_on(async { setup.lock().await.check(&during, &after).await });
        Ok(())
    });
    outcome.expect("shop and model agree");
}
