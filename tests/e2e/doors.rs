//! Who may call what.

use serde_json::json;

use crate::harness::{Endpoints, Needs, Shop};

#[tokio::test]
async fn without_a_token_nobody_gets_in() {
    let endpoints = Endpoints::of(&Shop::running()).await;
    for endpoint in endpoints.needing_someone() {
        let mut call = endpoints.shop.call(endpoint.method.clone(), &endpoint.path);
        if let Some(body) = &endpoint.body {
            call = call.json(body.clone());
        }
        let reply = call.await;
        reply.problem(401, "unauthenticated");
        let challenge = reply.header("www-authenticate").unwrap_or_default();
        assert!(challenge.starts_with("Bearer"), "{endpoint}: {reply}");
    }
}

#[tokio::test]
async fn with_a_malformed_token_nobody_gets_in() {
    let endpoints = Endpoints::of(&Shop::running()).await;
    for endpoint in endpoints.needing_someone() {
        for token in ["x", "a.b.c"] {
            let mut call = endpoints.shop.call(endpoint.method.clone(), &endpoint.path);
            if let Some(body) = &endpoint.body {
                call = call.json(body.clone());
            }
            call.bearer(token).await.problem(401, "unauthenticated");
        }
    }
}

#[tokio::test]
async fn whoever_may_not_is_forbidden_and_whoever_may_is_not() {
    let shop = Shop::running();
    let endpoints = Endpoints::of(&shop).await;
    let everything = ["catalog:write", "orders:ship", "orders:refund", "seckill:write", "users:write", "pricing:write"];
    let mut people = vec![(endpoints.user.clone(), vec![]), (endpoints.admin.clone(), everything.to_vec())];
    for permission in everything {
        people.push((shop.staff(&[permission]).await, vec![permission]));
    }
    for (person, has) in people {
        for endpoint in &endpoints.all {
            let Needs::Staff(one_of) = endpoint.needs else { continue };
            if one_of.iter().any(|permission| has.contains(permission)) {
                // With a body that is none where one is taken: little is to happen.
                let call = person.call(endpoint.method.clone(), &endpoint.path).lenient();
                let reply = if endpoint.body.is_some() { call.json(json!([])).await } else { call.await };
                assert!(reply.status != 403 && reply.status != 401, "{has:?} at {endpoint}: {reply}");
            } else {
                let mut call = person.call(endpoint.method.clone(), &endpoint.path);
                if let Some(body) = &endpoint.body {
                    call = call.json(body.clone());
                }
                call.await.problem(403, "forbidden");
            }
        }
    }
}

#[tokio::test]
async fn an_admin_is_a_user_too() {
    let admin = Shop::running().admin().await;
    admin.get("/api/order").await.is(200);
    assert_eq!(admin.shop.sign_in(&admin.username, &admin.password).await.user_id, admin.user_id);
}

#[tokio::test]
async fn where_no_one_is_needed_a_bad_token_counts_as_none() {
    let shop = Shop::running();
    let product = shop.product(json!({})).await;
    for path in [
        "/api/product".to_owned(),
        format!("/api/product/{product}"),
        "/api/product/hot".to_owned(),
        "/api/category".to_owned(),
        "/health".to_owned(),
    ] {
        for token in ["x", "a.b.c", "", "eyJhbGciOiJub25lIn0.e30."] {
            let reply = shop.get(&path).bearer(token).await;
            assert!(reply.is(200).get("reserved").is_none(), "{reply}");
        }
        shop.get(&path).header("authorization", "Basic dTpw").await.is(200);
    }
}

#[tokio::test]
async fn only_the_bearer_scheme_lets_in_and_its_name_may_be_written_in_any_case() {
    let user = Shop::running().user().await;
    let cart = |authorization: String| user.shop.get("/api/cart").header("authorization", authorization);
    for authorization in [
        user.access.clone(),
        format!("Basic {}", user.access),
        format!("Token {}", user.access),
        format!("Bearer{}", user.access),
        "Bearer".to_owned(),
        format!("Bearer {0} {0}", user.access),
    ] {
        cart(authorization).await.problem(401, "unauthenticated");
    }
    cart(format!("bearer {}", user.access)).await.is(200);
    cart(format!("BEARER {}", user.access)).await.is(200);
}
