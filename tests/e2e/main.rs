//! The shop from outside: HTTP only, against the real components, a real MySQL and a real Redis.
//!
//! `cargo mall test` starts them and says where they are (`MALL_BASE_URL`, `MALL_MYSQL_URL`, `MALL_REDIS_URL`,
//! `MALL_BIN`). Every test makes its own users and products, so that all can run at once on one shop. The contract is
//! the judge: a test that fails says that the shop broke its word. What holds for every reply (request ids, problem
//! documents, lengths, times, no leaks) is checked on every reply, in `harness::rules`.

mod harness;

mod accounts;
mod body;
mod cart;
mod catalogue;
mod categories;
mod checkout;
mod coupons;
mod doors;
mod faults;
mod fulfilment;
mod hostile;
mod http;
mod idempotency;
mod lists;
mod logs;
mod messages;
mod oidc;
mod openapi;
mod ops;
mod order_life;
mod orders;
mod paying;
mod pricing_swap;
mod promotions;
mod races;
mod refunds;
mod register;
mod related;
mod search;
mod seckill;
mod seckill_faults;
mod seckill_model;
mod sessions;
mod staff;
mod stock;
mod throttling;
mod timers;
mod tokens;
mod workers;
