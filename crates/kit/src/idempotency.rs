//! `Idempotency-Key`: the same request sent twice has one effect and one reply.
//!
//! A key is a row. The transaction that does the work first inserts the key and finally stores the reply with it, so
//! either all of this is committed or nothing. Meanwhile, another request with the same key finds the row locked. A
//! refusal rolls the transaction back, and a second transaction stores the refusal.

use axum::{
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use send_wrapper::SendWrapper;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::{
    Code, Context, Problem, Result, Timestamp, UserId,
    auth::User,
    extract, log,
    mysql::{self, Transaction},
    params, row,
};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The longest path: method and path must fit their column.
const MAX_PATH: usize = 190;
const TTL_SECONDS: i64 = 24 * 60 * 60;

/// A reply that can be stored: status and JSON.
#[derive(Debug, Clone)]
pub struct Reply {
    status: StatusCode,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    Json(Vec<u8>),
    Problem(Problem),
}

impl Reply {
    pub fn new(status: StatusCode, body: &impl Serialize) -> Result<Self> {
        let json = serde_json::to_vec(body).map_err(|error| Problem::internal().because(error))?;
        Ok(Reply { status, body: Body::Json(json) })
    }

    /// A refusal that nevertheless commits the transaction.
    pub fn refusal(problem: Problem) -> Self {
        Reply { status: problem.code.status_and_title().0, body: Body::Problem(problem) }
    }

    fn json(&self, request_id: &str) -> Vec<u8> {
        match &self.body {
            Body::Json(json) => json.clone(),
            Body::Problem(problem) => serde_json::to_vec(&problem.body(request_id)).unwrap_or_default(),
        }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self.body {
            Body::Json(json) => json_response(self.status, json),
            Body::Problem(problem) => problem.into_response(),
        }
    }
}

fn json_response(status: StatusCode, json: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], json).into_response()
}

/// The JSON body of a POST that may carry an `Idempotency-Key`. An empty body counts as an empty object.
pub struct Idempotent<T> {
    pub body: T,
    key: Option<Key>,
    request_id: String,
}

struct Key {
    text: String,
    /// Method and path.
    scope: String,
    body_hash: Vec<u8>,
}

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Idempotent<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let bytes = extract::read(body).await?;
        let key = match parts.headers.get(KEY) {
            None => None,
            Some(value) => Some(Key {
                text: key_text(value)?,
                scope: format!("{} {}", parts.method, parts.uri.path()),
                body_hash: Sha256::digest(&bytes).to_vec(),
            }),
        };
        if parts.uri.path().len() > MAX_PATH {
            return Err(Problem::not_found("path"));
        }
        let body = if bytes.is_empty() && !parts.headers.contains_key(header::CONTENT_TYPE) {
            extract::parse(b"{}")?
        } else {
            extract::expect_json(&parts.headers)?;
            extract::parse(&bytes)?
        };
        let context = parts.extensions.get::<Context>();
        let request_id = context.map(|context| context.request_id().to_owned()).unwrap_or_default();
        Ok(Idempotent { body, key, request_id })
    }
}

fn key_text(value: &HeaderValue) -> Result<String> {
    let text = value.to_str().unwrap_or_default();
    let printable = text.bytes().all(|b| (b' '..=b'~').contains(&b));
    match (1..=64).contains(&text.len()) && printable {
        true => Ok(text.to_owned()),
        false => Err(Problem::invalid("Idempotency-Key", "must be 1 to 64 printable ASCII characters")),
    }
}

/// Whether a response is the replay of a stored one, for which no work was done.
pub fn is_replay(response: &Response) -> bool {
    response.headers().contains_key(REPLAYED)
}

impl<T> Idempotent<T> {
    /// Runs `work` in a transaction, as [`mysql::transaction`] does, at most once for each key: a repeated request gets
    /// the first reply. Refusals with the status 402, 404 or 409 are stored as replies, too; after any other error the
    /// key can be used again.
    pub fn once(
        &self,
        user: &User,
        work: impl AsyncFn(&T, &mut Transaction) -> Result<Reply>,
    ) -> impl Future<Output = Result<Response>> + Send {
        SendWrapper::new(self.run_once(user.id, work))
    }

    async fn run_once(
        &self,
        user_id: UserId,
        work: impl AsyncFn(&T, &mut Transaction) -> Result<Reply>,
    ) -> Result<Response> {
        let Some(key) = &self.key else {
            let reply = mysql::transaction(async |tx| work(&self.body, tx).await).await?;
            return Ok(reply.into_response());
        };
        let result = mysql::transaction(async |tx| match claim(tx, user_id, key).await? {
            Claim::Completed(stored) => stored.replay(key),
            Claim::Acquired => {
                let reply = work(&self.body, tx).await?;
                store(tx, user_id, key, &reply, &self.request_id).await?;
                Ok(json_reply(&reply, &self.request_id))
            }
        })
        .await;
        match result {
            Err(problem) if is_stored(&problem) => self.store_refusal(user_id, key, problem).await,
            result => result,
        }
    }

    /// Stores a refusal whose transaction was rolled back. If another request has used the key since, its reply takes
    /// precedence.
    async fn store_refusal(&self, user_id: UserId, key: &Key, problem: Problem) -> Result<Response> {
        let reply = Reply::refusal(problem.clone());
        let stored = mysql::transaction(async |tx| match claim(tx, user_id, key).await? {
            Claim::Completed(stored) => stored.replay(key).map(Some),
            Claim::Acquired => store(tx, user_id, key, &reply, &self.request_id).await.map(|()| None),
        })
        .await;
        match stored {
            Ok(Some(response)) => Ok(response),
            Ok(None) => Err(problem),
            Err(error) if error.code == Code::IdempotencyInProgress => Err(error),
            // The client gets the refusal even so.
            Err(error) => {
                log::warn("a refusal could not be stored for its idempotency key", &error);
                Err(problem)
            }
        }
    }
}

/// Whether a refusal is the operation's own result, which repeated requests get again.
fn is_stored(problem: &Problem) -> bool {
    let status = problem.code.status_and_title().0;
    matches!(status, StatusCode::PAYMENT_REQUIRED | StatusCode::NOT_FOUND | StatusCode::CONFLICT)
        && problem.code != Code::IdempotencyInProgress
}

fn json_reply(reply: &Reply, request_id: &str) -> Response {
    match &reply.body {
        Body::Json(json) => json_response(reply.status, json.clone()),
        Body::Problem(_) => problem_response(reply.status, reply.json(request_id)),
    }
}

fn problem_response(status: StatusCode, json: Vec<u8>) -> Response {
    let mut response = json_response(status, json);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

enum Claim {
    /// This request has the key.
    Acquired,
    /// The key has a stored reply.
    Completed(StoredReply),
}

row! {
    struct StoredReply { body_hash: Vec<u8>, claimed_at: i64, status: i64, reply: Vec<u8> }
}

/// 409 if another request with the key is still running.
async fn claim(tx: &mut Transaction, user_id: UserId, key: &Key) -> Result<Claim> {
    const FIND: &str = "
        SELECT body_hash, claimed_at, status, reply FROM idempotency_keys
        WHERE user_id = ? AND scope = ? AND idempotency_key = ?";
    const CLAIM: &str = "
        INSERT INTO idempotency_keys (body_hash, claimed_at, user_id, scope, idempotency_key) VALUES (?, ?, ?, ?, ?)";
    const TAKE_OVER: &str = "
        UPDATE idempotency_keys SET body_hash = ?, claimed_at = ?
        WHERE user_id = ? AND scope = ? AND idempotency_key = ?";
    let (body_hash, now) = (key.body_hash.as_slice(), Timestamp::now());
    let primary_key = || params![user_id, &key.scope, &key.text];
    let is_valid = |stored: &StoredReply| now.0.saturating_sub(stored.claimed_at) / 1000 < TTL_SECONDS;
    let claim = match tx.query_one(&format!("{FIND} FOR UPDATE NOWAIT"), primary_key()).await {
        Ok(Some(stored)) if is_valid(&stored) => return Ok(Claim::Completed(stored)),
        Ok(Some(_)) => TAKE_OVER,
        Ok(None) => CLAIM,
        // Locked by the first request, or by one that is replaying its reply. If the connection broke instead, the
        // ROLLBACK that follows fails.
        Err(mysql::Error::Conflict(_)) => {
            let stored = tx.query_one(FIND, primary_key()).await?.filter(is_valid);
            return stored.map(Claim::Completed).ok_or_else(in_progress);
        }
        Err(error) => return Err(error.into()),
    };
    match tx.execute(claim, params![body_hash, now, user_id, &key.scope, &key.text]).await {
        Ok(()) => {
            const PROOF: &str = "
                SELECT status FROM idempotency_keys
                WHERE user_id = ? AND scope = ? AND idempotency_key = ? AND body_hash = ? AND claimed_at = ?
                FOR UPDATE";
            tx.proven_by(PROOF, params![user_id, &key.scope, &key.text, body_hash, now]);
            Ok(Claim::Acquired)
        }
        // Another request was faster: start over and read its reply.
        Err(mysql::Error::Duplicate { .. }) => Err(Problem::conflict()),
        Err(mysql::Error::Conflict(_)) => Err(in_progress()),
        Err(error) => Err(error.into()),
    }
}

fn in_progress() -> Problem {
    Problem::new(Code::IdempotencyInProgress, "The first request with this key is still running").with_retry_after(1)
}

impl StoredReply {
    /// Replays the reply; 422 if the request's body differs.
    fn replay(self, key: &Key) -> Result<Response> {
        if self.body_hash != key.body_hash {
            return Err(Problem::new(Code::IdempotencyMismatch, "This key was used with another request body"));
        }
        let status = u16::try_from(self.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
        let status = status.ok_or_else(|| Problem::internal().because("the stored status is not an HTTP status"))?;
        let mut response =
            if status.is_success() { json_response(status, self.reply) } else { problem_response(status, self.reply) };
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        Ok(response)
    }
}

/// Stores the reply with its key.
async fn store(tx: &mut Transaction, user_id: UserId, key: &Key, reply: &Reply, request_id: &str) -> Result<()> {
    const STORE: &str = "
        UPDATE idempotency_keys SET status = ?, reply = ?
        WHERE user_id = ? AND scope = ? AND idempotency_key = ?";
    let (status, json) = (i64::from(reply.status.as_u16()), reply.json(request_id));
    Ok(tx.execute(STORE, params![status, json.as_slice(), user_id, &key.scope, &key.text]).await?)
}

/// Deletes up to `limit` expired keys; returns whether there are more.
pub async fn delete_expired(tx: &mut Transaction, limit: i64) -> Result<bool> {
    let expired = Timestamp::now().plus_seconds(-TTL_SECONDS);
    Ok(mysql::delete_before(tx, "idempotency_keys", "claimed_at", expired, limit).await?)
}
