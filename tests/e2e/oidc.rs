//! Signing in with an OpenID provider: a small one of the tests.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::sync::{Arc, Mutex};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::future::join_all;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{Call, DedicatedShop, FakeService, Reply, Shop, ShopBuilder, User, unique};

/// For each code: the challenge that the sign-in started with, and the claims of the token.
type Codes = Arc<Mutex<BTreeMap<String, (String, Value)>>>;

struct Provider {
    service: FakeService,
    codes: Codes,
}

/// The query parameters of an address, or the fields of a form.
fn pairs(text: &str) -> BTreeMap<String, String> {
    let url = reqwest::Url::parse(&format!("http://x/?{text}")).expect("pairs");
    url.query_pairs().into_owned().collect()
}

impl Provider {
    async fn start() -> Self {
        let codes = Codes::default();
        let issued = codes.clone();
        let service = FakeService::responding(move |request, _| {
            let form = pairs(&request.body);
            // client:secret
            let is_shop =
                request.header("authorization") == "Basic c2hvcDpzZWNyZXQ=" && request.line == "POST /oauth/token";
            let code = issued.lock().expect("a lock").remove(form.get("code").map_or("", String::as_str));
            let Some((challenge, claims)) = code.filter(|_| is_shop) else { return (400, json!({})) };
            let proof = URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"]));
            if proof != challenge || form["grant_type"] != "authorization_code" {
                return (400, json!({}));
            }
            let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()));
            (200, json!({ "access_token": "x", "token_type": "Bearer", "id_token": token }))
        })
        .await;
        Self { service, codes }
    }

    async fn shop(&self) -> DedicatedShop {
        self.settings().start().await
    }

    fn settings(&self) -> ShopBuilder {
        DedicatedShop::builder()
            .variable("oidc_provider", "home")
            .variable("oidc_issuer", "https://id.example")
            .variable("oidc_authorize_url", "https://id.example/auth")
            .variable("oidc_token_host", &self.service.url)
            .variable("oidc_token_path", "/oauth/token")
            .variable("oidc_client_id", "shop")
            .variable("oidc_client_secret", "secret")
            .variable("public_url", "https://shop.example")
    }

    /// Signs someone in; the code that the browser brings back.
    fn sign_in(&self, attempt: &Attempt, claims: Value) -> String {
        let code = unique();
        let mut all = json!({ "iss": "https://id.example", "aud": "shop", "exp": 9_999_999_999_i64,
                              "nonce": attempt.query["nonce"] });
        all.as_object_mut().expect("claims").extend(claims.as_object().expect("claims").clone());
        let challenge = attempt.query["code_challenge"].clone();
        self.codes.lock().expect("a lock").insert(code.clone(), (challenge, all));
        code
    }

    /// The whole flow: start, sign in at the provider, return to the shop.
    async fn complete(&self, shop: &Shop, user: Option<&User>, claims: Value) -> Reply {
        let attempt = start(shop, user).await;
        let code = self.sign_in(&attempt, claims);
        attempt.callback(shop, &code).await
    }
}

/// A sign-in that has started: what the browser knows of it.
struct Attempt {
    /// The parameters of the authorization URL.
    query: BTreeMap<String, String>,
    cookie: String,
}

impl Attempt {
    fn callback(&self, shop: &Shop, code: &str) -> Call {
        let path = format!("/api/user/oidc/home/callback?state={}&code={code}", self.query["state"]);
        shop.get(&path).header("cookie", &self.cookie)
    }
}

async fn start(shop: &Shop, user: Option<&User>) -> Attempt {
    let call = shop.get("/api/user/oidc/home");
    let reply = match user {
        Some(user) => call.bearer(&user.access).await,
        None => call.await,
    };
    assert_eq!(reply.status, 302, "{reply}");
    let location = reply.header("location").expect("a location");
    let query = location.strip_prefix("https://id.example/auth?").expect("the provider");
    let cookie = reply.header("set-cookie").expect("a cookie");
    for part in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/api/user/oidc"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    Attempt { query: pairs(query), cookie: cookie.split(';').next().unwrap_or_default().to_owned() }
}

#[tokio::test]
async fn signing_in_with_a_provider_creates_an_account() {
    let provider = Provider::start().await;
    let shop = provider.shop().await;
    let attempt = start(&shop, None).await;
    assert_eq!(attempt.query["response_type"], "code");
    assert_eq!(attempt.query["client_id"], "shop");
    assert_eq!(attempt.query["redirect_uri"], "https://shop.example/api/user/oidc/home/callback");
    assert_eq!(attempt.query["code_challenge_method"], "S256");
    assert!(attempt.query["scope"].split(' ').any(|scope| scope == "openid"));
    let (sub, name) = (unique(), format!("u-{}", unique()));
    let claims = json!({ "sub": sub, "preferred_username": name, "email": "me@mail.example", "email_verified": true });
    let code = provider.sign_in(&attempt, claims.clone());
    let session = attempt.callback(&shop, &code).await.is(200);
    assert_eq!((&session["user"]["username"], &session["user"]["role"]), (&json!(name), &json!("user")));
    let access = session["access_token"].as_str().expect("a token");
    shop.call(reqwest::Method::DELETE, "/api/cart/clear").bearer(access).await.is(200);
    let profile = shop.get("/api/user/profile").bearer(access).await.is(200);
    assert_eq!(profile["email"], "me@mail.example");
    let refresh = json!({ "refresh_token": session["refresh_token"] });
    shop.post("/api/user/refresh").json(refresh).await.is(200);
    // State and code can be used once.
    attempt.callback(&shop, &code).await.invalid("state");
    // The same identity again.
    let again = provider.complete(&shop, None, claims).await.is(200);
    assert_eq!(again["user"]["user_id"], session["user"]["user_id"]);
    // The account has no password.
    for password in ["", "anything at all"] {
        let form = json!({ "username": name, "password": password });
        shop.post("/api/user/login").json(form).await.problem(401, "invalid_credentials");
    }
    // A script can ask for the URL instead of the redirect.
    let read = shop.get("/api/user/oidc/home?redirect=false").await.is(200);
    assert!(read["authorization_url"].as_str().is_some_and(|url| url.starts_with("https://id.example/auth?")));
}

#[tokio::test]
async fn a_forged_or_mismatched_sign_in_is_refused() {
    let provider = Provider::start().await;
    let shop = provider.shop().await;
    let refused = async |claims: Value| {
        provider.complete(&shop, None, claims).await.problem(401, "invalid_credentials");
    };
    refused(json!({ "sub": unique(), "nonce": "another" })).await;
    refused(json!({ "sub": unique(), "iss": "https://evil.example" })).await;
    refused(json!({ "sub": unique(), "aud": "another-shop" })).await;
    refused(json!({ "sub": unique(), "exp": 1 })).await;
    refused(json!({ "sub": "" })).await;
    let (one, two) = (start(&shop, None).await, start(&shop, None).await);
    // The code of another sign-in: its challenge differs.
    let code = provider.sign_in(&two, json!({ "sub": unique() }));
    one.callback(&shop, &code).await.problem(401, "invalid_credentials");
    two.callback(&shop, "made-up").await.problem(401, "invalid_credentials");
    // The state of another browser.
    let (one, two) = (start(&shop, None).await, start(&shop, None).await);
    let code = provider.sign_in(&one, json!({ "sub": unique() }));
    let stolen = Attempt { query: one.query, cookie: two.cookie };
    stolen.callback(&shop, &code).await.invalid("state");
    let path = "/api/user/oidc/home/callback";
    shop.get(&format!("{path}?state=made-up&code=x")).await.invalid("state");
    shop.get(&format!("{path}?code=x")).await.invalid("state");
    let denied = start(&shop, None).await;
    let path = format!("{path}?state={}&error=access_denied", denied.query["state"]);
    shop.get(&path).header("cookie", &denied.cookie).await.problem(401, "invalid_credentials");
    shop.get("/api/user/oidc/elsewhere").await.problem(404, "not_found");
}

#[tokio::test]
async fn an_identity_is_linked_to_the_signed_in_user_with_the_same_verified_email() {
    let provider = Provider::start().await;
    let shop = provider.shop().await;
    let user_with_email = async |email: Option<String>| {
        let username = format!("u-{}", unique());
        let form = json!({ "username": username, "password": "long enough", "email": email });
        shop.post("/api/user/register").json(form).await.is(201);
        shop.sign_in(&username, "long enough").await
    };
    let email = format!("{}@mail.example", unique());
    let user = user_with_email(Some(email.clone())).await;
    let sub = unique();
    let claims = |email: &str, verified: bool| json!({ "sub": sub, "email": email, "email_verified": verified });
    // A verified address alone does not sign in to the account that has it.
    let unlinked = json!({ "sub": unique(), "email": email, "email_verified": true });
    let new_account = provider.complete(&shop, None, unlinked).await.is(200);
    assert_ne!(new_account["user"]["user_id"], user.user_id);
    provider.complete(&shop, Some(&user), claims(&email, false)).await.problem(403, "forbidden");
    provider.complete(&shop, Some(&user), claims("other@mail.example", true)).await.problem(403, "forbidden");
    let linked = provider.complete(&shop, Some(&user), claims(&email.to_uppercase(), true)).await.is(200);
    assert_eq!(linked["user"]["user_id"], user.user_id);
    let again = provider.complete(&shop, None, claims("changed@mail.example", true)).await.is(200);
    assert_eq!(again["user"]["user_id"], user.user_id, "identified by `sub`");
    // An identity belongs to one account, and an account has one identity of a provider.
    let other = user_with_email(None).await;
    provider.complete(&shop, Some(&other), claims(&email, true)).await.problem(409, "identity_taken");
    let second = json!({ "sub": unique(), "email": email, "email_verified": true });
    provider.complete(&shop, Some(&user), second).await.problem(409, "identity_taken");
    // An account without an address takes over the verified one.
    let first = json!({ "sub": unique(), "email": "new@mail.example", "email_verified": true });
    provider.complete(&shop, Some(&other), first).await.is(200);
    assert_eq!(other.get("/api/user/profile").await.is(200)["email"], "new@mail.example");
}

#[tokio::test]
async fn a_token_of_an_ended_session_can_not_link_an_identity() {
    let provider = Provider::start().await;
    let shop = provider.shop().await;
    let user = shop.user().await;
    user.post("/api/user/logout").await.is(204);
    let claims = json!({ "sub": unique(), "email": "thief@mail.example", "email_verified": true });
    provider.complete(&shop, Some(&user), claims.clone()).await.problem(401, "unauthenticated");
    let thief = provider.complete(&shop, None, claims).await.is(200);
    assert_ne!(thief["user"]["user_id"], user.user_id);
}

#[tokio::test]
async fn sign_ins_with_a_provider_are_limited_like_logins() {
    let provider = Provider::start().await;
    let own = provider.settings().variable("login_rate", 1).variable("login_burst", 2).start().await;
    let shop = own.called_from([127, 77, 3, 1]);
    let path = "/api/user/oidc/home?redirect=false";
    let replies = join_all((0..9).map(|_| shop.get(path).into_future())).await;
    assert!(replies.iter().filter(|reply| reply.status == 200).count() >= 2);
    let refused = replies.iter().find(|reply| reply.status != 200).expect("one is refused");
    refused.problem(429, "rate_limited");
}

#[tokio::test]
async fn concurrent_first_sign_ins_create_one_account() {
    let provider = Provider::start().await;
    let shop = provider.shop().await;
    let claims = json!({ "sub": unique(), "preferred_username": format!("u-{}", unique()) });
    let sessions = join_all((0..6).map(|_| provider.complete(&shop, None, claims.clone()))).await;
    let ids: Vec<_> = sessions.iter().map(|reply| reply.is(200)["user"]["user_id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}
