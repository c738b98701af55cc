//! Access tokens that must be refused.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{DedicatedShop, Shop, User, eventually, token, unique};

const KEY: &str = "a key that only this test and its own shop know";

/// Checks that the token is refused for reads and writes.
async fn assert_refused(user: &User, token: &str, why: &str) {
    let read = user.shop.get("/api/order").bearer(token).await;
    assert_eq!(read.code(), "unauthenticated", "{why}: {read}");
    let write = user.shop.call(reqwest::Method::DELETE, "/api/cart/clear");
    let write = write.bearer(token).await;
    assert_eq!(write.code(), "unauthenticated", "{why}: {write}");
}

#[tokio::test]
async fn a_token_signed_with_another_key_is_refused() {
    let user = Shop::running().user().await;
    let (header, claims) = (token::header(&user.access), token::claims(&user.access));
    for key in [&b"another key of more than thirty-two bytes"[..], b"", b"secret", b"null"] {
        assert_refused(&user, &token::signed(&header, &claims, key), "another key").await;
    }
}

#[tokio::test]
async fn a_token_without_an_algorithm_is_refused() {
    let user = Shop::running().user().await;
    let claims = token::claims(&user.access);
    let signature = user.access.rsplit('.').next().unwrap_or_default();
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let content = token::content(&json!({ "alg": alg, "typ": "JWT" }), &claims);
        assert_refused(&user, &format!("{content}."), "no signature").await;
        assert_refused(&user, &content, "two parts").await;
        assert_refused(&user, &format!("{content}.{signature}"), "another signature").await;
    }
}

#[tokio::test]
async fn a_modified_token_is_refused() {
    let user = Shop::running().user().await;
    let parts: Vec<&str> = user.access.split('.').collect();
    let mut claims = token::claims(&user.access);
    claims["role"] = json!("admin");
    let admin = token::content(&token::header(&user.access), &claims);
    assert_refused(&user, &format!("{admin}.{}", parts[2]), "other claims").await;
    assert_refused(&user, &format!("{}.{}.", parts[0], parts[1]), "no signature").await;
    assert_refused(&user, &format!("{}.{}.AAAA", parts[0], parts[1]), "a short signature").await;
    assert_refused(&user, &format!("{}.{}", user.access, parts[2]), "four parts").await;
    assert_refused(&user, &user.access[1..], "the first character is missing").await;
    // Not the last character of the signature: its low bits carry no data.
    for index in [0, parts[2].len() / 2, parts[2].len() - 2] {
        let mut signature = parts[2].as_bytes().to_vec();
        signature[index] = if signature[index] == b'A' { b'B' } else { b'A' };
        let signature = String::from_utf8_lossy(&signature).into_owned();
        assert_refused(&user, &format!("{}.{}.{signature}", parts[0], parts[1]), "a changed character").await;
    }
    user.get("/api/order").await.is(200);
}

#[tokio::test]
async fn malformed_tokens_are_refused() {
    let user = Shop::running().user().await;
    for text in ["..", "...", "a..b", "null", "{}", "e30.e30.e30", "=.=.=", "令牌", &"a".repeat(6000), "\u{202e}.a.b"]
    {
        assert_refused(&user, text, "malformed").await;
    }
}

/// With the right key: the claims must still be right.
#[tokio::test]
async fn only_the_shops_claims_and_algorithm_are_accepted() {
    let shop = DedicatedShop::builder().variable("jwt_secret", KEY).start().await;
    let user = shop.user().await;
    let (header, claims) = (token::header(&user.access), token::claims(&user.access));
    let sign = |header: &Value, claims: &Value| token::signed(header, claims, KEY.as_bytes());
    let again = sign(&header, &claims);
    user.shop.get("/api/cart").bearer(&again).await.is(200);

    for claim in ["iss", "aud"] {
        let mut wrong = claims.clone();
        wrong[claim] = json!("someone else");
        assert_refused(&user, &sign(&header, &wrong), claim).await;
        wrong.as_object_mut().and_then(|claims| claims.remove(claim));
        assert_refused(&user, &sign(&header, &wrong), claim).await;
    }
    for alg in ["none", "HS384", "HS512", "RS256", "hs256"] {
        let mut header = header.clone();
        header["alg"] = json!(alg);
        assert_refused(&user, &sign(&header, &claims), alg).await;
    }
    let mut expired = claims.clone();
    expired["exp"] = json!(claims["exp"].as_i64().unwrap_or_default() - 100_000);
    let expired = sign(&header, &expired);
    let reply = user.shop.get("/api/cart").bearer(&expired).await;
    reply.problem(401, "token_expired");
    let mut eternal = claims.clone();
    eternal.as_object_mut().and_then(|claims| claims.remove("exp"));
    let eternal = user.shop.get("/api/cart").bearer(&sign(&header, &eternal)).await;
    assert_eq!(eternal.status, 401, "a token that never expires: {eternal}");
    for (claim, value) in [("sub", json!("")), ("sub", json!("abc")), ("sub", json!(null)), ("role", json!("king"))] {
        let mut odd = claims.clone();
        if odd.get(claim).is_some() {
            odd[claim] = value;
            let reply = user.shop.get("/api/order/all").bearer(&sign(&header, &odd)).await;
            assert!(matches!(reply.status, 401 | 403), "{claim}: {reply}");
        }
    }
}

#[tokio::test]
async fn an_access_token_expires() {
    let shop = DedicatedShop::builder().variable("access_ttl_seconds", 1).start().await;
    let user = shop.user().await;
    eventually("the token expires", Duration::from_secs(5), async || {
        let reply = user.get("/api/cart").await;
        if reply.status == 200 {
            return None;
        }
        reply.problem(401, "token_expired");
        Some(())
    })
    .await;
    // The refresh token still works.
    let form = json!({ "refresh_token": user.refresh });
    let session = shop.post("/api/user/refresh").json(form).await.is(200);
    assert_eq!(session["expires_in"], 1);
    // Public endpoints ignore it.
    shop.get("/api/category").bearer(&user.access).await.is(200);
    shop.get(&format!("/api/product?q={}", unique())).bearer(&user.access).await.is(200);
}

#[tokio::test]
async fn a_session_expires() {
    let shop = DedicatedShop::builder().variable("session_ttl_seconds", 1).start().await;
    let user = shop.user().await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let form = json!({ "refresh_token": user.refresh });
    let reply = shop.post("/api/user/refresh").json(form).await;
    reply.problem(401, "invalid_token");
}
