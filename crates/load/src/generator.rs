//! The load generator: reads a plan from stdin, carries it out, prints the outcome. It runs as a process of its own.

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use hyper::{Method, Request, StatusCode, header};
use mysql_async::{Conn, Row, prelude::Queryable};
use serde_json::{Value, json};
use ulid::Ulid;

use crate::{
    attack, connect_redis, flash_sale,
    http::{Body, Client, request},
    mysql_options,
    plan::{Account, Flow, Outcome, Plan, Work},
};

pub async fn run() -> anyhow::Result<ExitCode> {
    let text = std::io::read_to_string(std::io::stdin())?;
    let plan: Plan = serde_json::from_str(&text)?;
    let outcome = match &plan.work {
        Work::Attack(attack) => attack::measure(&plan, attack).await?,
        _ => measure(&plan).await?,
    };
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(ExitCode::SUCCESS)
}

async fn measure(plan: &Plan) -> anyhow::Result<Outcome> {
    let start = Instant::now() + plan.warm_up;
    let end = start + plan.duration;
    let all_shoppers = match &plan.work {
        Work::Http { shoppers, .. } => Arc::from(shoppers.as_slice()),
        _ => Arc::default(),
    };
    let mut workers = Vec::new();
    for number in 0..plan.connections {
        let mut worker = Worker::connect(plan, number, &all_shoppers).await?;
        let pause = plan.pause;
        workers.push(tokio::spawn(async move {
            while Instant::now() < end {
                worker.measured.counting = Instant::now() >= start;
                worker.round().await;
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
            worker.measured
        }));
    }
    let mut all = Measurements::default();
    for worker in workers {
        let one = worker.await?;
        all.took.extend(one.took);
        all.rounds += one.rounds;
        all.errors += one.errors;
        all.first_error = all.first_error.or(one.first_error);
    }
    all.took.sort_unstable();
    let at = |share: f64| {
        let place = (all.took.len() as f64 * share) as usize;
        Duration::from_nanos(all.took.get(place).or(all.took.last()).copied().unwrap_or_default())
    };
    Ok(Outcome {
        per_second: all.rounds as f64 / plan.duration.as_secs_f64(),
        requests: all.took.len() as u64,
        errors: all.errors,
        p50: at(0.5),
        p99: at(0.99),
        max: at(1.0),
        first_error: all.first_error,
        ..Outcome::default()
    })
}

/// What a worker has measured since the warm-up.
#[derive(Default)]
struct Measurements {
    counting: bool,
    /// Nanoseconds of each request.
    took: Vec<u64>,
    rounds: u64,
    errors: u64,
    first_error: Option<String>,
}

struct Worker {
    target: Target,
    measured: Measurements,
    /// The position in its lists; each worker starts at another one.
    turn: usize,
    step: usize,
}

enum Target {
    Shop { client: Client, flow: Flow, token: Option<String>, shoppers: Arc<[String]>, products: Vec<i64>, key: String },
    Paths { client: Client, paths: Vec<String> },
    Login { client: Client, accounts: Vec<Account> },
    Like { connection: Conn, patterns: Vec<Vec<String>> },
    Redis { connection: redis::aio::MultiplexedConnection, script: Option<String> },
    Buy { connection: redis::aio::MultiplexedConnection, script: String, activity: i64 },
}

/// About the work of a flash sale's script: a decrement and an append.
const SCRIPT: &str = "
    local left = redis.call('DECR', KEYS[1])
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', 1000, '*', 'left', left)
    return left";

/// Searches as a shop without a search index does.
async fn like(connection: &mut Conn, patterns: &[String]) -> anyhow::Result<()> {
    let conditions = " AND name LIKE ?".repeat(patterns.len());
    let sql = format!(
        "SELECT id, name, description, image_url, category_id, price_cents, available, sold, created_at, updated_at
         FROM products WHERE on_shelf = 1{conditions} ORDER BY sold DESC, id DESC LIMIT 21"
    );
    connection.exec::<Row, _, _>(sql, patterns.to_vec()).await?;
    Ok(())
}

impl Worker {
    async fn connect(plan: &Plan, number: usize, all_shoppers: &Arc<[String]>) -> anyhow::Result<Self> {
        let target = match &plan.work {
            Work::Http { address, flow, shoppers, products } => Target::Shop {
                client: Client::connect(*address).await.with_context(|| format!("{address}"))?,
                flow: *flow,
                token: shoppers.get(number % shoppers.len().max(1)).cloned(),
                shoppers: all_shoppers.clone(),
                products: products.clone(),
                key: Ulid::generate().to_string(),
            },
            Work::Paths { address, paths } => {
                Target::Paths { client: Client::connect(*address).await?, paths: paths.clone() }
            }
            Work::Login { address, accounts } => {
                Target::Login { client: Client::connect(*address).await?, accounts: accounts.clone() }
            }
            Work::Like { url, patterns } => {
                Target::Like { connection: Conn::new(mysql_options(url)?).await?, patterns: patterns.clone() }
            }
            Work::Attack(_) => bail!("an attack has no workers"),
            Work::RedisPing { url } => Target::Redis { connection: connect_redis(url).await?, script: None },
            Work::RedisBuy { url, activity } => {
                let mut connection = connect_redis(url).await?;
                let script =
                    redis::cmd("SCRIPT").arg("LOAD").arg(flash_sale::SCRIPT).query_async(&mut connection).await?;
                Target::Buy { connection, script, activity: *activity }
            }
            Work::RedisScript { url } => {
                let mut connection = connect_redis(url).await?;
                let sha = redis::cmd("SCRIPT").arg("LOAD").arg(SCRIPT).query_async(&mut connection).await?;
                Target::Redis { connection, script: Some(sha) }
            }
        };
        // Each connection goes through its own part of the users, paths or patterns: no two connections use the same
        // one at the same time.
        let step = match target {
            Target::Shop { flow: Flow::FlashSale { .. }, .. }
            | Target::Paths { .. }
            | Target::Login { .. }
            | Target::Like { .. } => plan.connections,
            _ => 1,
        };
        let turn = if step > 1 { number } else { number * 1_000_003 };
        let mut worker = Self { target, measured: Measurements::default(), turn, step };
        if let Target::Shop { flow: Flow::CartAdd | Flow::Buy | Flow::Mixed, .. } = worker.target {
            worker.call(Method::DELETE, "/api/cart/clear", None).await?;
        }
        Ok(worker)
    }

    async fn round(&mut self) {
        let outcome = match &mut self.target {
            Target::Redis { connection, script } => {
                let started = Instant::now();
                let outcome = match script {
                    None => redis::cmd("PING").query_async::<()>(connection).await,
                    Some(sha) => {
                        let mut call = redis::cmd("EVALSHA");
                        call.arg(sha.as_str()).arg(2).arg("bench:left").arg("bench:stream");
                        call.query_async::<()>(connection).await
                    }
                };
                self.record(started);
                outcome.map_err(anyhow::Error::from)
            }
            Target::Buy { connection, script, activity } => {
                let started = Instant::now();
                let user = i64::try_from(self.turn % 20_000).unwrap_or_default();
                let outcome = flash_sale::command(script, *activity, user, 0, &format!("bench.{}", self.turn));
                let outcome = outcome.query_async::<redis::Value>(connection).await;
                self.record(started);
                outcome.map(drop).map_err(anyhow::Error::from)
            }
            Target::Paths { client, paths } => {
                let path = paths.get(self.turn % paths.len().max(1)).map(String::as_str).unwrap_or("/");
                let request: Request<Body> = request(Method::GET, path, None, None);
                let started = Instant::now();
                let reply = client.send(request).await;
                self.record(started);
                reply.and_then(|(status, _)| {
                    ensure!(status == StatusCode::OK, "{status}");
                    Ok(())
                })
            }
            Target::Login { client, accounts } => {
                let account = accounts.get(self.turn % accounts.len().max(1)).map(|account| json!(account));
                let request: Request<Body> = request(Method::POST, "/api/user/login", None, account.as_ref());
                let started = Instant::now();
                let reply = client.send(request).await;
                self.record(started);
                reply.and_then(|(status, reply)| {
                    ensure!(status == StatusCode::OK, "login: {status} {}", String::from_utf8_lossy(&reply));
                    Ok(())
                })
            }
            Target::Like { connection, patterns } => {
                let words = patterns.get(self.turn % patterns.len().max(1)).map(Vec::as_slice).unwrap_or_default();
                let started = Instant::now();
                let outcome = like(connection, words).await;
                self.record(started);
                outcome
            }
            Target::Shop { flow, .. } => {
                let flow = *flow;
                self.shop_round(flow).await
            }
        };
        self.turn += self.step;
        if self.measured.counting {
            match outcome {
                Ok(()) => self.measured.rounds += 1,
                Err(error) => {
                    self.measured.errors += 1;
                    self.measured.first_error.get_or_insert_with(|| format!("{error:#}"));
                }
            }
        }
    }

    fn record(&mut self, started: Instant) {
        if self.measured.counting {
            self.measured.took.push(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
    }

    async fn shop_round(&mut self, flow: Flow) -> anyhow::Result<()> {
        match flow {
            Flow::Health => self.call(Method::GET, "/health", None).await?,
            Flow::List => self.call(Method::GET, "/api/product?limit=20", None).await?,
            Flow::Detail => {
                let path = format!("/api/product/{}", self.product(usize::MAX));
                self.call(Method::GET, &path, None).await?
            }
            // Few products, so that the cart stays small.
            Flow::CartAdd => self.add_to_cart(5).await?,
            Flow::Buy => {
                self.add_to_cart(usize::MAX).await?;
                let order = self.call(Method::POST, "/api/checkout", Some(json!({}))).await?;
                let order_no = order["order_no"].as_str().context("an order without a number")?;
                let path = format!("/api/order/{order_no}/pay");
                self.call(Method::POST, &path, Some(json!({ "provider": "mock" }))).await?
            }
            Flow::FlashSale { activity, status } => self.buy(activity, status).await?,
            Flow::Mixed => match self.turn % 20 {
                0 => Box::pin(self.shop_round(Flow::Buy)).await.map(|()| Value::Null)?,
                1..=3 => self.add_to_cart(5).await?,
                4 => self.call(Method::GET, "/api/cart", None).await?,
                5 => self.call(Method::POST, "/api/checkout/quote", Some(json!({}))).await?,
                6 => self.call(Method::GET, "/api/order", None).await?,
                7..=10 => self.call(Method::GET, "/api/product?limit=20", None).await?,
                _ => Box::pin(self.shop_round(Flow::Detail)).await.map(|()| Value::Null)?,
            },
        };
        Ok(())
    }

    async fn buy(&mut self, activity: i64, expected: u16) -> anyhow::Result<Value> {
        let Target::Shop { client, shoppers, .. } = &mut self.target else { bail!("not a shop") };
        let token = shoppers.get(self.turn % shoppers.len().max(1)).map(String::as_str);
        let body = json!({ "activity_id": activity });
        let request: Request<Body> = request(Method::POST, "/api/seckill", token, Some(&body));
        let started = Instant::now();
        let (status, reply) = client.send(request).await?;
        self.record(started);
        if status.as_u16() != expected {
            bail!("/api/seckill: {status} {}", String::from_utf8_lossy(&reply));
        }
        Ok(Value::Null)
    }

    async fn add_to_cart(&mut self, of: usize) -> anyhow::Result<Value> {
        let body = json!({ "product_id": self.product(of), "quantity": 1 });
        self.call(Method::POST, "/api/cart", Some(body)).await
    }

    /// A pseudo-random product of the first `of`. Workers that went through them in the same order would end up
    /// requesting the same one at once, and always one that is not cached.
    fn product(&self, of: usize) -> i64 {
        match &self.target {
            Target::Shop { products, .. } => {
                // Fibonacci hashing: https://en.wikipedia.org/wiki/Hash_function#Fibonacci_hashing
                let scatter = |number: usize| number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let once = scatter(self.turn);
                let scattered = scatter(once ^ (once >> 32)) >> 32;
                let place = scattered % of.min(products.len()).max(1);
                products.get(place).copied().unwrap_or(1)
            }
            _ => 1,
        }
    }

    /// One request, timed. Its reply is read to the end, and parsed only where a flow needs it.
    async fn call(&mut self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let turn = self.turn;
        let Target::Shop { client, token, key, .. } = &mut self.target else { bail!("not a shop") };
        let wants_key = method == Method::POST && (path == "/api/checkout" || path.ends_with("/pay"));
        let mut request: Request<Body> = request(method, path, token.as_deref(), body.as_ref());
        if wants_key {
            request.headers_mut().insert("idempotency-key", header::HeaderValue::try_from(format!("{key}-{turn}"))?);
        }
        let started = Instant::now();
        let (status, reply) = client.send(request).await?;
        self.record(started);
        if !status.is_success() {
            bail!("{path}: {status} {}", String::from_utf8_lossy(&reply));
        }
        match status {
            StatusCode::CREATED => Ok(serde_json::from_slice(&reply)?),
            _ => Ok(Value::Null),
        }
    }
}
