//! The provider, as the shop is set up for it.

use bytes::Bytes;
use form_urlencoded::{Serializer, byte_serialize};
use http::{Request, header};
use http_body_util::BodyExt;
use kit::{Code, Problem, Result, Timestamp, config, log, opaque};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use spin_sdk::http::FullBody;

const SCOPE: &str = "openid profile email";
/// No provider's answer is longer, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

pub struct Provider {
    issuer: String,
    authorize_url: String,
    token_url: String,
    client_id: String,
    client_secret: String,
    /// Where the provider leads back to.
    redirect_uri: String,
}

/// What the provider says of who has signed in.
#[derive(Debug, Deserialize)]
pub struct Claims {
    iss: String,
    aud: Audience,
    /// Seconds since 1970.
    exp: i64,
    nonce: Option<String>,
    /// Who it is, in the provider's own words.
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
struct Answer {
    id_token: String,
}

impl Provider {
    /// The one that the variables name; 404 for any other.
    pub async fn configured(name: &str) -> Result<Self> {
        let known = config::text("oidc_provider").await?;
        if name.is_empty() || name != known {
            return Err(Problem::not_found("provider"));
        }
        let (host, path) = (config::text("oidc_token_host").await?, config::text("oidc_token_path").await?);
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

    /// Whether the shop is reached by TLS.
    pub fn is_secure(&self) -> bool {
        self.redirect_uri.starts_with("https://")
    }

    pub fn authorization_url(&self, state: &str, nonce: &str, verifier: &str) -> String {
        let challenge = opaque::to_base64(&Sha256::digest(verifier));
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

    /// Trades the code for the ID token, and takes its claims if they are meant for this sign-in.
    pub async fn claims(&self, code: &str, verifier: &str, nonce: &str) -> Result<Claims> {
        let form = Serializer::new(String::new())
            .append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("code_verifier", verifier)
            .finish();
        let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let basic = opaque::to_standard_base64(
            format!("{}:{}", encode(&self.client_id), encode(&self.client_secret)).as_bytes(),
        );
        let request = Request::post(&self.token_url)
            .header(header::AUTHORIZATION, format!("Basic {basic}"))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::CONTENT_LENGTH, form.len())
            .header(header::ACCEPT, "application/json")
            .body(FullBody::new(Bytes::from(form)))
            .map_err(|_| config::bad("oidc_token_host", &"or oidc_token_path makes no URL"))?;
        let silent = |error: &dyn std::fmt::Display| {
            log::error(None, "the identity provider does not answer", error);
            Problem::unavailable()
        };
        let response = spin_sdk::http::send(request).await.map_err(|error| silent(&error))?;
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), LONGEST_ANSWER);
        let body = body.collect().await.map_err(|error| silent(&error))?.to_bytes();
        if !status.is_success() {
            log::warn("the identity provider refused a code", &status);
            return Err(refused());
        }
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| refused())?;
        self.check(&answer.id_token, nonce)
    }

    /// OpenID Connect Core 1.0, 3.1.3.7. The token comes from the provider itself, over TLS: that stands for its
    /// signature (step 6).
    fn check(&self, id_token: &str, nonce: &str) -> Result<Claims> {
        let payload = id_token.split('.').nth(1).and_then(opaque::from_base64).ok_or_else(refused)?;
        let claims: Claims = serde_json::from_slice(&payload).map_err(|_| refused())?;
        let is_for_us = match &claims.aud {
            Audience::One(aud) => *aud == self.client_id,
            Audience::Many(all) => all.as_slice() == [self.client_id.as_str()],
        };
        let is_good = claims.iss == self.issuer
            && is_for_us
            && claims.exp.saturating_mul(1000) > Timestamp::now().0
            && claims.nonce.as_deref() == Some(nonce)
            && (1..=255).contains(&claims.sub.chars().count());
        if is_good { Ok(claims) } else { Err(refused()) }
    }
}

fn refused() -> Problem {
    Problem::new(Code::InvalidCredentials, "The provider did not sign you in")
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
        format!("e30.{}.c2ln", opaque::to_base64(claims.as_bytes()))
    }

    #[test]
    fn the_challenge_is_the_digest_of_the_verifier() {
        // RFC 7636, appendix B.
        let url = provider().authorization_url("s", "n", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert!(url.starts_with("https://id.example/auth?response_type=code&client_id=shop&"), "{url}");
        assert!(url.contains("code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&"), "{url}");
    }

    #[test]
    fn takes_tokens_that_are_meant_for_this_sign_in_alone() {
        let claims = |iss: &str, aud: &str, exp: i64, nonce: &str| {
            token(&format!(r#"{{"iss":"{iss}","aud":{aud},"exp":{exp},"nonce":"{nonce}","sub":"7"}}"#))
        };
        let (far, us) = (i64::MAX / 1000, r#""shop""#);
        let takes = |token: &str| provider().check(token, "n").is_ok();
        assert!(takes(&claims("https://id.example", us, far, "n")));
        assert!(takes(&claims("https://id.example", r#"["shop"]"#, far, "n")));
        assert!(!takes(&claims("https://evil.example", us, far, "n")));
        assert!(!takes(&claims("https://id.example", r#""other""#, far, "n")));
        assert!(!takes(&claims("https://id.example", r#"["shop","other"]"#, far, "n")));
        assert!(!takes(&claims("https://id.example", us, 1, "n")));
        assert!(!takes(&claims("https://id.example", us, far, "another")));
        assert!(!takes("no token") && !takes(""));
    }
}
