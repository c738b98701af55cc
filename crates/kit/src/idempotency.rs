//! `Idempotency-Key`: the same request sent twice has one effect and one reply.
//!
//! A key is a row, claimed before the work begins. The reply is written into it in the transaction that does the
//! work: there is no moment in which the one is there without the other. A claim whose request died is free again
//! after a minute; should that request still live, it finds its claim gone, and undoes its work.

use axum::{
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use send_wrapper::SendWrapper;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::{
    Code, Context, Problem, Result, Timestamp, User, extract, log,
    mysql::{self, Connection, Transaction},
    opaque, params, row,
};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What the column for method and path holds, and more than any path of ours has.
const MAX_PATH: usize = 190;
const KEPT_SECONDS: i64 = 24 * 60 * 60;
const CLAIM_SECONDS: i64 = 60;
/// One claim in so many also clears old keys away.
const SWEEP_EVERY: i64 = 100;

/// A reply that can be kept: status and JSON.
#[derive(Debug, Clone)]
pub struct Reply {
    status: StatusCode,
    body: Kept,
}

#[derive(Debug, Clone)]
enum Kept {
    Json(Vec<u8>),
    Problem(Problem),
}

impl Reply {
    pub fn new(status: StatusCode, body: &impl Serialize) -> Result<Self> {
        match serde_json::to_vec(body) {
            Ok(json) => Ok(Reply { status, body: Kept::Json(json) }),
            Err(error) => {
                log::error(None, "a reply is not JSON", &error);
                Err(Problem::internal())
            }
        }
    }

    /// A refusal whose transaction is committed all the same.
    pub fn refusal(problem: Problem) -> Self {
        Reply { status: problem.code.meaning().0, body: Kept::Problem(problem) }
    }

    fn json(&self, request_id: &str) -> Vec<u8> {
        match &self.body {
            Kept::Json(json) => json.clone(),
            Kept::Problem(problem) => serde_json::to_vec(&problem.body(request_id)).unwrap_or_default(),
        }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self.body {
            Kept::Json(json) => json_response(self.status, json),
            Kept::Problem(problem) => problem.into_response(),
        }
    }
}

fn json_response(status: StatusCode, json: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], json).into_response()
}

/// The JSON body of a POST that may carry an `Idempotency-Key`. A body that is empty counts as one without fields.
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

impl<T> Idempotent<T> {
    /// Runs `work` in a transaction, as [`mysql::transaction`] does, at most once for a key: who comes again gets the
    /// first reply. What `work` refuses with 402, 404 or 409 is a reply too; any other error frees the key.
    pub fn once(
        &self,
        user: &User,
        work: impl AsyncFn(&T, &mut Transaction) -> Result<Reply>,
    ) -> impl Future<Output = Result<Response>> + Send {
        SendWrapper::new(self.run_once(user.id, work))
    }

    async fn run_once(
        &self,
        user_id: i64,
        work: impl AsyncFn(&T, &mut Transaction) -> Result<Reply>,
    ) -> Result<Response> {
        let Some(key) = &self.key else {
            let reply = mysql::transaction(async |tx| work(&self.body, tx).await).await?;
            return Ok(reply.into_response());
        };
        let claim = match claim(user_id, key).await? {
            Claimed::Now(claim) => claim,
            Claimed::Before(response) => return Ok(response),
        };
        let result = mysql::transaction(async |tx| {
            // First, so that what the work locks is not held for longer than it must.
            expect_claim(tx, user_id, key, &claim).await?;
            let reply = work(&self.body, tx).await?;
            keep(tx, user_id, key, &reply, &self.request_id).await?;
            Ok(reply)
        })
        .await;
        match result {
            Ok(reply) => Ok(json_reply(&reply, &self.request_id)),
            Err(problem) => self.refused(user_id, key, &claim, problem).await,
        }
    }

    async fn refused(&self, user_id: i64, key: &Key, claim: &str, problem: Problem) -> Result<Response> {
        let status = problem.code.meaning().0;
        let remembered = matches!(status, StatusCode::PAYMENT_REQUIRED | StatusCode::NOT_FOUND | StatusCode::CONFLICT)
            && problem.code != Code::IdempotencyInProgress;
        let reply = Reply::refusal(problem.clone());
        let settled = mysql::transaction(async |tx| match remembered {
            true => {
                expect_claim(tx, user_id, key, claim).await?;
                keep(tx, user_id, key, &reply, &self.request_id).await
            }
            false => Ok(tx.execute(FREE, params![user_id, &key.scope, &key.text, claim]).await?),
        })
        .await;
        // If that fails the key frees itself after a minute; the answer is the refusal all the same.
        if let Err(error) = settled {
            log::error(Some(&self.request_id), "an idempotency key could not be settled", &error.detail);
        }
        Err(problem)
    }
}

fn json_reply(reply: &Reply, request_id: &str) -> Response {
    match &reply.body {
        Kept::Json(json) => json_response(reply.status, json.clone()),
        Kept::Problem(_) => problem_response(reply.status, reply.json(request_id)),
    }
}

fn problem_response(status: StatusCode, json: Vec<u8>) -> Response {
    let mut response = json_response(status, json);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

enum Claimed {
    Now(String),
    Before(Response),
}

row! {
    struct KeptRow { claim: String, body_hash: Vec<u8>, claimed_at: i64, status: Option<i64>, reply: Option<Vec<u8>> }
}

const CLAIM: &str = "
    INSERT INTO idempotency_keys (user_id, scope, idempotency_key, claim, body_hash, claimed_at)
    VALUES (?, ?, ?, ?, ?, ?)";

const FIND: &str = "
    SELECT claim, body_hash, claimed_at, status, reply FROM idempotency_keys
    WHERE user_id = ? AND scope = ? AND idempotency_key = ? FOR UPDATE";

const TAKE_OVER: &str = "
    UPDATE idempotency_keys SET claim = ?, body_hash = ?, claimed_at = ?, status = NULL, reply = NULL
    WHERE user_id = ? AND scope = ? AND idempotency_key = ?";

const KEEP: &str = "
    UPDATE idempotency_keys SET status = ?, reply = ?
    WHERE user_id = ? AND scope = ? AND idempotency_key = ?";

const FREE: &str = "
    DELETE FROM idempotency_keys
    WHERE user_id = ? AND scope = ? AND idempotency_key = ? AND claim = ? AND status IS NULL";

async fn claim(user_id: i64, key: &Key) -> Result<Claimed> {
    let claim = opaque::to_base64(&opaque::random::<16>()?);
    let now = Timestamp::now();
    let values = params![user_id, &key.scope, &key.text, &claim, key.body_hash.as_slice(), now];
    let inserted = mysql::connection().await?.execute(CLAIM, values).await;
    match inserted {
        Ok(()) => {
            if now.0 % SWEEP_EVERY == 0 {
                sweep(now).await;
            }
            return Ok(Claimed::Now(claim));
        }
        Err(mysql::Error::Duplicate { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    mysql::transaction(async |tx| look_again(tx, user_id, key, &claim, now).await).await
}

/// Deletes some of the keys that count no more. The request does not depend on it; another one tries again.
async fn sweep(now: Timestamp) {
    const SWEEP: &str = "DELETE FROM idempotency_keys WHERE claimed_at < ? LIMIT 500";
    let old = now.plus_seconds(-KEPT_SECONDS);
    if let Ok(mut db) = mysql::connection().await {
        // The log has the reason.
        let _ = db.execute(SWEEP, params![old]).await;
    }
}

/// The key is there already: a reply, a request that runs, or the remains of one.
async fn look_again(tx: &mut Connection, user_id: i64, key: &Key, claim: &str, now: Timestamp) -> Result<Claimed> {
    let Some(kept) = tx.query_one::<KeptRow>(FIND, params![user_id, &key.scope, &key.text]).await? else {
        return Err(in_progress(1));
    };
    let age = now.0.saturating_sub(kept.claimed_at) / 1000;
    let free = match kept.status {
        Some(_) => age >= KEPT_SECONDS,
        None => age >= CLAIM_SECONDS,
    };
    if free {
        let body_hash = key.body_hash.as_slice();
        tx.execute(TAKE_OVER, params![claim, body_hash, now, user_id, &key.scope, &key.text]).await?;
        return Ok(Claimed::Now(claim.to_owned()));
    }
    if kept.body_hash != key.body_hash {
        return Err(Problem::new(Code::IdempotencyMismatch, "This key came with another body before"));
    }
    let Some(status) = kept.status.and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok()) else {
        return Err(in_progress(1));
    };
    let json = kept.reply.unwrap_or_default();
    let mut response = if status.is_success() { json_response(status, json) } else { problem_response(status, json) };
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(Claimed::Before(response))
}

fn in_progress(seconds: u64) -> Problem {
    Problem::new(Code::IdempotencyInProgress, "The first request with this key still runs").with_retry_after(seconds)
}

/// Locks the claim; 409 if it is no longer ours.
async fn expect_claim(tx: &mut Connection, user_id: i64, key: &Key, claim: &str) -> Result<()> {
    let kept = tx.query_one::<KeptRow>(FIND, params![user_id, &key.scope, &key.text]).await?;
    match kept.is_some_and(|kept| kept.claim == claim) {
        true => Ok(()),
        false => Err(in_progress(1)),
    }
}

/// Writes the reply into the claim.
async fn keep(tx: &mut Connection, user_id: i64, key: &Key, reply: &Reply, request_id: &str) -> Result<()> {
    let (status, json) = (i64::from(reply.status.as_u16()), reply.json(request_id));
    tx.execute(KEEP, params![status, json.as_slice(), user_id, &key.scope, &key.text]).await?;
    Ok(())
}
