//! Sign-in elsewhere, by a small OpenID provider of the test's own.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::sync::{Arc, Mutex};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::future::join_all;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::{Call, OwnShop, Reply, Service, Settings, Shop, User, unique};

/// What the provider answers with for a code: the challenge that the sign-in began with, and the token's claims.
type Codes = Arc<Mutex<BTreeMap<String, (String, Value)>>>;

struct Provider {
    service: Service,
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
        let known = codes.clone();
        let service = Service::answering(move |asked, _| {
            let form = pairs(&asked.body);
            // client:secret
            let is_shop =
                asked.header("authorization") == "Basic c2hvcDpzZWNyZXQ=" && asked.line == "POST /oauth/token";
            let code = known.lock().expect("a lock").remove(form.get("code").map_or("", String::as_str));
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

    async fn shop(&self) -> OwnShop {
        self.settings().start().await
    }

    fn settings(&self) -> Settings {
        OwnShop::with()
            .variable("oidc_provider", "home")
            .variable("oidc_issuer", "https://id.example")
            .variable("oidc_authorize_url", "https://id.example/auth")
            .variable("oidc_token_host", &self.service.url)
            .variable("oidc_token_path", "/oauth/token")
            .variable("oidc_client_id", "shop")
            .variable("oidc_client_secret", "secret")
            .variable("public_url", "https://shop.example")
    }

    /// Signs somebody in; the code that the browser carries back.
    fn sign_in(&self, begun: &Begun, claims: Value) -> String {
        let code = unique();
        let mut all = json!({ "iss": "https://id.example", "aud": "shop", "exp": 9_999_999_999_i64,
                              "nonce": begun.asked["nonce"] });
        all.as_object_mut().expect("claims").extend(claims.as_object().expect("claims").clone());
        let challenge = begun.asked["code_challenge"].clone();
        self.codes.lock().expect("a lock").insert(code.clone(), (challenge, all));
        code
    }

    /// The whole way: begin, sign in there, come back.
    async fn through(&self, shop: &Shop, user: Option<&User>, claims: Value) -> Reply {
        let begun = begin(shop, user).await;
        let code = self.sign_in(&begun, claims);
        begun.back(shop, &code).await
    }
}

/// A sign-in under way, as a browser has it.
struct Begun {
    asked: BTreeMap<String, String>,
    cookie: String,
}

impl Begun {
    fn back(&self, shop: &Shop, code: &str) -> Call {
        let path = format!("/api/user/oidc/home/callback?state={}&code={code}", self.asked["state"]);
        shop.get(&path).header("cookie", &self.cookie)
    }
}

async fn begin(shop: &Shop, user: Option<&User>) -> Begun {
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
    Begun { asked: pairs(query), cookie: cookie.split(';').next().unwrap_or_default().to_owned() }
}

#[tokio::test]
async fn who_signs_in_elsewhere_has_an_account_here() {
    let provider = Provider::start().await;
    let shop = provider.shop().await;
    let begun = begin(&shop, None).await;
    assert_eq!(begun.asked["response_type"], "code");
    assert_eq!(begun.asked["client_id"], "shop");
    assert_eq!(begun.asked["redirect_uri"], "https://shop.example/api/user/oidc/home/callback");
    assert_eq!(begun.asked["code_challenge_method"], "S256");
    assert!(begun.asked["scope"].split(' ').any(|scope| scope == "openid"));
    let (sub, name) = (unique(), format!("u-{}", unique()));
    let claims = json!({ "sub": sub, "preferred_username": name, "email": "me@mail.example", "email_verified": true });
    let code = provider.sign_in(&begun, claims.clone());
    let session = begun.back(&shop, &code).await.is(200);
    assert_eq!((&session["user"]["username"], &session["user"]["role"]), (&json!(name), &json!("user")));
    let access = session["access_token"].as_str().expect("a token");
    shop.call(reqwest::Method::DELETE, "/api/cart/clear").bearer(access).await.is(200);
    let profile = shop.get("/api/user/profile").bearer(access).await.is(200);
    assert_eq!(profile["email"], "me@mail.example");
    let refresh = json!({ "refresh_token": session["refresh_token"] });
    shop.post("/api/user/refresh").json(refresh).await.is(200);
    // The state is good once, and so is the code.
    begun.back(&shop, &code).await.invalid("state");
    // The same person again.
    let again = provider.through(&shop, None, claims).await.is(200);
    assert_eq!(again["user"]["user_id"], session["user"]["user_id"]);
    // There is no password to sign in with.
    for password in ["", "anything at all"] {
        let form = json!({ "username": name, "password": password });
        shop.post("/api/user/login").json(form).await.problem(401, "invalid_credentials");
    }
    // A script gets the address to read.
    let read = shop.get("/api/user/oidc/home?redirect=false").await.is(200);
    assert!(read["authorization_url"].as_str().is_some_and(|url| url.starts_with("https://id.example/auth?")));
}

#[tokio::test]
async fn a_sign_in_that_is_not_what_was_begun_comes_to_nothing() {
    let provider = Provider::start().await;
    let shop = provider.shop().await;
    let refused = async |claims: Value| {
        provider.through(&shop, None, claims).await.problem(401, "invalid_credentials");
    };
    refused(json!({ "sub": unique(), "nonce": "another" })).await;
    refused(json!({ "sub": unique(), "iss": "https://evil.example" })).await;
    refused(json!({ "sub": unique(), "aud": "another-shop" })).await;
    refused(json!({ "sub": unique(), "exp": 1 })).await;
    refused(json!({ "sub": "" })).await;
    let (one, two) = (begin(&shop, None).await, begin(&shop, None).await);
    // A code that somebody else's sign-in began: its challenge is another.
    let code = provider.sign_in(&two, json!({ "sub": unique() }));
    one.back(&shop, &code).await.problem(401, "invalid_credentials");
    two.back(&shop, "made-up").await.problem(401, "invalid_credentials");
    // A state that another browser began.
    let (one, two) = (begin(&shop, None).await, begin(&shop, None).await);
    let code = provider.sign_in(&one, json!({ "sub": unique() }));
    let stolen = Begun { asked: one.asked, cookie: two.cookie };
    stolen.back(&shop, &code).await.invalid("state");
    let path = "/api/user/oidc/home/callback";
    shop.get(&format!("{path}?state=made-up&code=x")).await.invalid("state");
    shop.get(&format!("{path}?code=x")).await.invalid("state");
    let denied = begin(&shop, None).await;
    let path = format!("{path}?state={}&error=access_denied", denied.asked["state"]);
    shop.get(&path).header("cookie", &denied.cookie).await.problem(401, "invalid_credentials");
    shop.get("/api/user/oidc/elsewhere").await.problem(404, "not_found");
}

#[tokio::test]
async fn an_identity_is_linked_by_who_is_signed_in_and_has_its_verified_address() {
    let provider = Provider::start().await;
    let shop = provider.shop().await;
    let member = async |email: Option<String>| {
        let username = format!("u-{}", unique());
        let form = json!({ "username": username, "password": "long enough", "email": email });
        shop.post("/api/user/register").json(form).await.is(201);
        shop.sign_in(&username, "long enough").await
    };
    let email = format!("{}@mail.example", unique());
    let user = member(Some(email.clone())).await;
    let sub = unique();
    let claims = |email: &str, verified: bool| json!({ "sub": sub, "email": email, "email_verified": verified });
    // Nobody gets in by an address alone.
    let strangers = json!({ "sub": unique(), "email": email, "email_verified": true });
    let stranger = provider.through(&shop, None, strangers).await.is(200);
    assert_ne!(stranger["user"]["user_id"], user.user_id);
    provider.through(&shop, Some(&user), claims(&email, false)).await.problem(403, "forbidden");
    provider.through(&shop, Some(&user), claims("other@mail.example", true)).await.problem(403, "forbidden");
    let linked = provider.through(&shop, Some(&user), claims(&email.to_uppercase(), true)).await.is(200);
    assert_eq!(linked["user"]["user_id"], user.user_id);
    let back = provider.through(&shop, None, claims("changed@mail.example", true)).await.is(200);
    assert_eq!(back["user"]["user_id"], user.user_id, "known by what the provider calls them");
    // One identity, one account; one account, one identity of a provider.
    let other = member(None).await;
    provider.through(&shop, Some(&other), claims(&email, true)).await.problem(409, "identity_taken");
    let second = json!({ "sub": unique(), "email": email, "email_verified": true });
    provider.through(&shop, Some(&user), second).await.problem(409, "identity_taken");
    // Who has no address here takes the verified one.
    let first = json!({ "sub": unique(), "email": "new@mail.example", "email_verified": true });
    provider.through(&shop, Some(&other), first).await.is(200);
    assert_eq!(other.get("/api/user/profile").await.is(200)["email"], "new@mail.example");
}

#[tokio::test]
async fn an_access_token_that_outlives_its_session_links_nothing() {
    let provider = Provider::start().await;
    let shop = provider.shop().await;
    let user = shop.user().await;
    user.post("/api/user/logout").await.is(204);
    let claims = json!({ "sub": unique(), "email": "thief@mail.example", "email_verified": true });
    provider.through(&shop, Some(&user), claims.clone()).await.problem(401, "unauthenticated");
    let thief = provider.through(&shop, None, claims).await.is(200);
    assert_ne!(thief["user"]["user_id"], user.user_id);
}

#[tokio::test]
async fn attempts_of_one_address_are_as_few_as_logins() {
    let provider = Provider::start().await;
    let own = provider.settings().variable("login_rate", 1).variable("login_burst", 2).start().await;
    let shop = own.seen_from([127, 77, 3, 1]);
    let path = "/api/user/oidc/home?redirect=false";
    let replies = join_all((0..9).map(|_| shop.get(path).into_future())).await;
    assert!(replies.iter().filter(|reply| reply.status == 200).count() >= 2);
    let refused = replies.iter().find(|reply| reply.status != 200).expect("one is too many");
    refused.problem(429, "rate_limited");
}

#[tokio::test]
async fn of_many_who_come_for_the_first_time_at_once_one_account_is_made() {
    let provider = Provider::start().await;
    let shop = provider.shop().await;
    let claims = json!({ "sub": unique(), "preferred_username": format!("u-{}", unique()) });
    let sessions = join_all((0..6).map(|_| provider.through(&shop, None, claims.clone()))).await;
    let ids: Vec<_> = sessions.iter().map(|reply| reply.is(200)["user"]["user_id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}
