//! Registration.

use std::future::IntoFuture;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Call, DedicatedShop, Shop, unique};

fn register(shop: &Shop, form: Value) -> Call {
    shop.post("/api/user/register").json(form)
}

#[tokio::test]
async fn a_new_account_has_the_role_user() {
    let username = format!("Ann.{}", unique());
    let form = json!({ "username": username, "password": "long enough", "email": "ann@shop.example" });
    let user = register(&Shop::running(), form).await.is(201);
    assert_eq!(user["username"], username.as_str());
    assert_eq!(user["role"], "user");
    assert!(user["user_id"].is_u64() && user["created_at"].is_string(), "{user}");
    assert!(!user.to_string().contains("long enough"), "{user}");
}

#[tokio::test]
async fn a_username_is_3_to_32_letters_digits_and_a_few_signs() {
    let shop = Shop::running();
    let unique = unique();
    for username in [format!("{unique:a>32}"), format!("A_b-C.{unique}"), format!("...{unique}")] {
        register(&shop, json!({ "username": username, "password": "long enough" })).await.is(201);
    }
    // There are few names of three letters: an earlier run may have taken this one.
    let short = &unique[..3];
    let reply = register(&shop, json!({ "username": short, "password": "long enough" })).await;
    assert!(matches!(reply.status, 201 | 409), "{reply}");
    for username in [
        "",
        "ab",
        &format!("{unique:a>33}"),
        "with space",
        " abc",
        "abc ",
        "a@b",
        "a/b",
        "abc\u{0}",
        "abc\n",
        "naïve",
        "用户名",
        "a'b",
        "a%b",
        "ａｂｃ",
    ] {
        let reply = register(&shop, json!({ "username": username, "password": "long enough" })).await;
        reply.invalid("username");
    }
}

#[tokio::test]
async fn a_password_is_8_to_128_characters_of_any_kind() {
    let shop = Shop::running();
    for password in ["12345678".to_owned(), "密".repeat(8), "密".repeat(128), "🔑".repeat(8), "x".repeat(128)] {
        let username = format!("u-{}", unique());
        let form = json!({ "username": username, "password": password });
        register(&shop, form.clone()).await.is(201);
        shop.post("/api/user/login").json(form).await.is(200);
    }
    for password in ["".to_owned(), "1234567".to_owned(), "🔑".repeat(7), "密".repeat(129), "x".repeat(129)] {
        let form = json!({ "username": format!("u-{}", unique()), "password": password });
        register(&shop, form).await.invalid("password");
    }
}

#[tokio::test]
async fn passwords_are_compared_in_full_and_by_case() {
    let shop = Shop::running();
    let username = format!("u-{}", unique());
    let long = "x".repeat(127);
    let form = |last: &str| json!({ "username": username, "password": format!("{long}{last}") });
    register(&shop, form("a")).await.is(201);
    for last in ["b", "A", ""] {
        let login = shop.post("/api/user/login").json(form(last));
        login.await.problem(401, "invalid_credentials");
    }
    shop.post("/api/user/login").json(form("a")).await.is(200);
}

#[tokio::test]
async fn an_email_is_an_address_of_at_most_254_characters() {
    let shop = Shop::running();
    let form =
        |email: &str| json!({ "username": format!("u-{}", unique()), "password": "long enough", "email": email });
    register(&shop, form("first.last+tag@mail.shop.example")).await.is(201);
    let too_long = format!("{}@{}.example", "a".repeat(60), "b".repeat(250));
    for email in ["", "nobody", "@", "a@", "@b", "a b@c.example", "a@b\nc", &too_long] {
        register(&shop, form(email)).await.invalid("email");
    }
}

#[tokio::test]
async fn usernames_are_unique_in_any_case() {
    let shop = Shop::running();
    let name = format!("Name-{}", unique());
    register(&shop, json!({ "username": name, "password": "long enough" })).await.is(201);
    for name in [name.clone(), name.to_lowercase(), name.to_uppercase()] {
        let form = json!({ "username": name, "password": "another one" });
        register(&shop, form).await.problem(409, "username_taken");
    }
}

#[tokio::test]
async fn concurrent_registrations_of_one_name_make_one_account() {
    let shop = Shop::running();
    let name = format!("u-{}", unique());
    let form = json!({ "username": name, "password": "long enough" });
    let replies = join_all((0..8).map(|_| register(&shop, form.clone()).into_future())).await;
    let registered = replies.iter().filter(|reply| reply.status == 201).count();
    assert_eq!(registered, 1);
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        reply.problem(409, "username_taken");
    }
}

#[tokio::test]
async fn nobody_can_register_as_an_admin() {
    let form = json!({ "username": format!("u-{}", unique()), "password": "long enough", "role": "admin" });
    register(&Shop::running(), form).await.invalid("role");
}

#[tokio::test]
async fn all_invalid_fields_are_reported_at_once() {
    let reply = register(&Shop::running(), json!({ "username": "a", "password": "b" })).await;
    let problem = reply.invalid("username");
    assert_eq!(problem["errors"].as_array().map(Vec::len), Some(2), "{reply}");
    reply.invalid("password");
}

fn sign_up(shop: &Shop) -> Call {
    register(shop, json!({ "username": format!("u-{}", unique()), "password": "long enough" }))
}

#[tokio::test]
async fn sign_ups_of_one_address_are_limited_to_one_a_second_after_twenty() {
    let own = DedicatedShop::builder().with_default_limits().start().await;
    let shop = own.called_from([127, 77, 4, 1]);
    let start = Instant::now();
    // Not valid, so nothing is hashed: that would take longer than the limit asks for.
    let form = json!({ "username": "a", "password": "b" });
    let replies = join_all((0..60).map(|_| register(&shop, form.clone()).into_future())).await;
    let elapsed = start.elapsed().as_secs_f64();
    let passed = replies.iter().filter(|reply| reply.status == 422).count();
    for reply in replies.iter().filter(|reply| reply.status != 422) {
        reply.problem(429, "rate_limited");
    }
    let most = 20.0 + elapsed + 1.0;
    assert!(passed >= 20 && passed as f64 <= most, "{passed} passed, at most {most:.0} may");
    // Another address has its own limit.
    sign_up(&own.called_from([127, 77, 4, 2])).await.is(201);
}

/// Each hash takes 19 MiB, and its instance keeps them.
#[tokio::test]
async fn a_burst_of_sign_ups_takes_little_memory_and_nobody_waits_long() {
    let shop = DedicatedShop::builder().start().await;
    sign_up(&shop).await.is(201);
    let before = shop.peak_memory();
    let burst = async |_| {
        let start = Instant::now();
        let reply = sign_up(&shop).await;
        let elapsed = start.elapsed();
        match reply.status {
            201 => {}
            _ => drop(reply.problem(503, "unavailable")),
        }
        assert!(elapsed < Duration::from_secs(8), "{elapsed:?}: {reply}");
        reply.status
    };
    let statuses = join_all((0..400).map(burst)).await;
    let grown = shop.peak_memory() - before;
    assert!(grown < 300, "{grown} MiB more");
    assert!(statuses.iter().filter(|status| **status == 201).count() >= 2, "{statuses:?}");
    sign_up(&shop).await.is(201);
}
