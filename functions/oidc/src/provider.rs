//! The configured identity provider.

use std::fmt::Display;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use form_urlencoded::{Serializer, byte_serialize};
use http::{Request, header};
use http_body_util::{BodyExt, Limited};
use kit::{Code, Problem, Result, Timestamp, base64url, config};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use spin_sdk::http::FullBody;

const SCOPE: &str = "openid profile email";
/// The longest response of the provider that is read, in bytes.
const MAX_RESPONSE: usize = 64 * 1024;

pub struct Provider {
    issuer: String,
    authorize_url: String,
    token_url: String,
    client_id: String,
    client_secret: String,
    /// Where the provider sends the browser back to.
    redirect_uri: String,
}

/// The claims of the ID token.
#[derive(Debug, Deserialize)]
pub struct Claims {
    iss: String,
    aud: Audience,
    /// Seconds since 1970.
    exp: i64,
    nonce: Option<String>,
    /// The provider's id for the user.
    pub sub: String,
    pub email: Option<String>,
    #[serde(default)]
    pub email_verified: bool,
    pub preferred_username: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct TokenResponse {
    id_token: String,
}

impl Provider {
    /// The provider that is configured; 404 for any other name.
    pub async fn configured(name: &str) -> Result<Self> {
        let known = config::text("oidc_provider").await?;
        if name.is_empty() || name != known {
            return Err(Problem::not_found("provider"));
        }
        let (host, path) = (config::secure_url("oidc_token_host").await?, config::text("oidc_token_path").await?);
        let public_url = config::text("public_url").await?;
        Ok(Provider {
            issuer: config::text("oidc_issuer").await?,
            authorize_url: config::text("oidc_authorize_url").await?,
            token_url: format!("{host}{path}"),
            client_id: config::text("oidc_client_id").await?,
            client_secret: config::text("oidc_client_secret").await?,
            redirect_uri: format!("{}/api/user/oidc/{name}/callback", public_url.trim_end_matches('/')),
        })
    }

    /// Whether the shop is reached over TLS.
    pub fn is_secure(&self) -> bool {
        self.redirect_uri.starts_with("https://")
    }

    pub fn authorization_url(&self, state: &str, nonce: &str, verifier: &str) -> String {
        let challenge = base64url::encode(&Sha256::digest(verifier));
        let query = Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client_id)
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("scope", SCOPE)
            .append_pair("state", state)
            .append_pair("nonce", nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .finish();
        let separator = if self.authorize_url.contains('?') { '&' } else { '?' };
        format!("{}{separator}{query}", self.authorize_url)
    }

    /// Exchanges the code for the ID token, and returns its claims. 401 if the provider refuses the code or the token
    /// is not for this sign-in, 503 if the provider can't be reached.
    pub async fn claims(&self, code: &str, verifier: &str, nonce: &str) -> Result<Claims> {
        let form = Serializer::new(String::new())
            .append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("code_verifier", verifier)
            .finish();
        let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let credentials = format!("{}:{}", encode(&self.client_id), encode(&self.client_secret));
        let request = Request::post(&self.token_url)
            .header(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(credentials)))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::CONTENT_LENGTH, form.len())
            .header(header::ACCEPT, "application/json")
            .body(FullBody::new(Bytes::from(form)))
            .map_err(|error| {
                config::invalid("oidc_token_host", format!("with oidc_token_path it is not a URL: {error}"))
            })?;
        let response = spin_sdk::http::send(request).await.map_err(unavailable)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_RESPONSE).collect().await.map_err(unavailable)?.to_bytes();
        if !status.is_success() {
            return Err(refused().because(format!("the identity provider refused the code: {status}")));
        }
        let response: TokenResponse = serde_json::from_slice(&body)
            .map_err(|error| refused().because(format!("the identity provider's response: {}", place(&error))))?;
        self.verify(&response.id_token, nonce)
    }

    /// Validates an ID token (OpenID Connect Core 1.0, section 3.1.3.7). The signature need not be verified (step 6),
    /// since the token comes directly from the provider over TLS.
    fn verify(&self, id_token: &str, nonce: &str) -> Result<Claims> {
        let payload = id_token.split('.').nth(1).and_then(base64url::decode);
        let payload = payload.ok_or_else(|| refused().because("the ID token is not a JWT"))?;
        let claims: Claims = serde_json::from_slice(&payload)
            .map_err(|error| refused().because(format!("the ID token: {}", place(&error))))?;
        let is_for_us = match &claims.aud {
            Audience::One(aud) => *aud == self.client_id,
            Audience::Many(all) => all.as_slice() == [self.client_id.as_str()],
        };
        let is_valid = claims.iss == self.issuer
            && is_for_us
            && claims.exp.saturating_mul(1000) > Timestamp::now().0
            && claims.nonce.as_deref() == Some(nonce)
            && (1..=255).contains(&claims.sub.chars().count());
        if is_valid { Ok(claims) } else { Err(refused().because("the ID token is not for this sign-in")) }
    }
}

/// Where JSON is not what was expected. The error's own text may quote personal data.
fn place(error: &serde_json::Error) -> String {
    format!("unexpected JSON at line {}, column {}", error.line(), error.column())
}

/// 401 `invalid_credentials`.
pub fn refused() -> Problem {
    Problem::new(Code::InvalidCredentials, "The identity provider did not sign you in")
}

fn unavailable(error: impl Display) -> Problem {
    Problem::unavailable().because(format!("the identity provider: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider() -> Provider {
        Provider {
            issuer: "https://id.example".into(),
            authorize_url: "https://id.example/auth".into(),
            token_url: String::new(),
            client_id: "shop".into(),
            client_secret: String::new(),
            redirect_uri: "https://shop.example/back".into(),
        }
    }

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", base64url::encode(claims.as_bytes()))
    }

    #[test]
    fn the_challenge_is_the_digest_of_the_verifier() {
        // RFC 7636, appendix B.
        let url = provider().authorization_url("s", "n", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert!(url.starts_with("https://id.example/auth?response_type=code&client_id=shop&"), "{url}");
        assert!(url.contains("code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&"), "{url}");
    }

    #[test]
    fn accepts_only_tokens_for_this_sign_in() {
        let claims = |iss: &str, aud: &str, exp: i64, nonce: &str| {
            token(&format!(r#"{{"iss":"{iss}","aud":{aud},"exp":{exp},"nonce":"{nonce}","sub":"7"}}"#))
        };
        let (far, us) = (i64::MAX / 1000, r#""shop""#);
        let accepts = |token: &str| provider().verify(token, "n").is_ok();
        assert!(accepts(&claims("https://id.example", us, far, "n")));
        assert!(accepts(&claims("https://id.example", r#"["shop"]"#, far, "n")));
        assert!(!accepts(&claims("https://evil.example", us, far, "n")));
        assert!(!accepts(&claims("https://id.example", r#""other""#, far, "n")));
        assert!(!accepts(&claims("https://id.example", r#"["shop","other"]"#, far, "n")));
        assert!(!accepts(&claims("https://id.example", us, 1, "n")));
        assert!(!accepts(&claims("https://id.example", us, far, "another")));
        assert!(!accepts("no token") && !accepts(""));
    }
}
