//! End-to-end tests: HTTP requests to the real components with a real MySQL and a real Redis.
//!
//! `cargo mall test` starts them and passes their addresses (`MALL_BASE_URL`, `MALL_MYSQL_URL`, `MALL_REDIS_URL`,
//! `MALL_BIN`). Every test creates its own users and products, so that all can run at the same time on one shop. What
//! holds for every reply (request ids, problem documents, lengths, times, no leaks) is checked on every reply, by
//! `harness::rules`.

mod harness;

mod accounts;
mod authorization;
mod cart;
mod categories;
mod checkout;
mod coupons;
mod demo;
mod email_verification;
mod expensive_reads;
mod faults;
mod flash_sale;
mod flash_sale_faults;
mod flash_sale_model;
mod fulfilment;
mod hostile_input;
mod http;
mod idempotency;
mod late_requests;
mod ledger;
mod limits;
mod login_limits;
mod logs;
mod messages;
mod oidc;
mod openapi;
mod ops;
mod order_life;
mod orders;
mod payments;
mod pending_payments;
mod personal_data;
mod product_lists;
mod products;
mod promotions;
mod races;
mod redis_tls;
mod refunds;
mod registration;
mod related_products;
mod replaced_pricing;
mod request_bodies;
mod retention;
mod search;
mod sessions;
mod staff;
mod stock;
mod timers;
mod tokens;
mod waves;
mod workers;
