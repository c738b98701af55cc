//! Authorization: which endpoints need a token, and which a permission.

use serde_json::json;

use crate::harness::{Access, Endpoints, Shop};

#[tokio::test]
async fn protected_endpoints_refuse_requests_without_a_token() {
    let endpoints = Endpoints::of(&Shop::running()).await;
    for endpoint in endpoints.protected() {
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
async fn protected_endpoints_refuse_malformed_tokens() {
    let endpoints = Endpoints::of(&Shop::running()).await;
    for endpoint in endpoints.protected() {
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
async fn staff_endpoints_are_open_to_the_right_permission_only() {
    let shop = Shop::running();
    let endpoints = Endpoints::of(&shop).await;
    let everything = [
        "catalog:write",
        "orders:ship",
        "orders:refund",
        "seckill:write",
        "users:write",
        "pricing:write",
        "ledger:read",
        "ledger:write",
    ];
    let mut callers = vec![(endpoints.user.clone(), vec![]), (endpoints.admin.clone(), everything.to_vec())];
    for permission in everything {
        callers.push((shop.staff(&[permission]).await, vec![permission]));
    }
    for (caller, permissions) in callers {
        for endpoint in &endpoints.all {
            let Access::Staff(one_of) = endpoint.access else { continue };
            if one_of.iter().any(|permission| permissions.contains(permission)) {
                // With an invalid body where one is taken, so that little happens.
                let call = caller.call(endpoint.method.clone(), &endpoint.path).unchecked();
                let reply = if endpoint.body.is_some() { call.json(json!([])).await } else { call.await };
                assert!(reply.status != 403 && reply.status != 401, "{permissions:?} at {endpoint}: {reply}");
            } else {
                let mut call = caller.call(endpoint.method.clone(), &endpoint.path);
                if let Some(body) = &endpoint.body {
                    call = call.json(body.clone());
                }
                call.await.problem(403, "forbidden");
            }
        }
    }
}

#[tokio::test]
async fn admins_can_do_what_users_can() {
    let admin = Shop::running().admin().await;
    admin.get("/api/order").await.is(200);
    assert_eq!(admin.shop.sign_in(&admin.username, &admin.password).await.user_id, admin.user_id);
}

#[tokio::test]
async fn public_endpoints_ignore_bad_tokens() {
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
async fn only_the_bearer_scheme_is_accepted_in_any_case() {
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
