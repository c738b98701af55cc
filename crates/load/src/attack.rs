//! Requests at a fixed rate from several addresses, beside connections that are only held: idle ones, bodies that come
//! slowly, readers that don't read.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use hyper::Method;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::TcpStream,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    http::{Client, connect, request},
    plan::{Attack, Outcome, Plan, Template},
};

/// How many connections send requests.
const SENDERS: u32 = 64;
/// A slow reader and a slow sender are given up after this time, and replaced.
const PATIENCE: Duration = Duration::from_secs(45);

impl Attack {
    fn from(&self, number: usize) -> anyhow::Result<IpAddr> {
        self.from.get(number % self.from.len().max(1)).copied().context("an attack needs addresses")
    }
}

/// What the requests of one task led to.
#[derive(Default)]
struct Replies {
    /// Milliseconds would be too coarse.
    took: Vec<Duration>,
    by_status: BTreeMap<u16, u64>,
    broken: u64,
    first_error: Option<String>,
}

pub async fn measure(plan: &Plan, attack: &Attack) -> anyhow::Result<Outcome> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("the limit on files can't be raised")?;
    let attack = Arc::new(attack.clone());
    let end = Instant::now() + plan.warm_up + plan.duration;
    let counting = Instant::now() + plan.warm_up;

    let mut held = JoinSet::new();
    for number in 0..attack.idle {
        held.spawn(idle(attack.clone(), number));
    }
    for number in 0..attack.slow_readers {
        held.spawn(slow_reader(attack.clone(), number));
    }
    let mut counted = JoinSet::new();
    for number in 0..attack.slow_bodies {
        counted.spawn(slow_bodies(attack.clone(), number, counting, end));
    }
    for number in 0..SENDERS as usize {
        counted.spawn(requests(attack.clone(), number, counting, end));
    }
    let mut all = Replies::default();
    while let Some(one) = counted.join_next().await {
        let one = one??;
        all.took.extend(one.took);
        all.broken += one.broken;
        all.first_error = all.first_error.or(one.first_error);
        for (status, count) in one.by_status {
            *all.by_status.entry(status).or_default() += count;
        }
    }
    held.shutdown().await;

    all.took.sort_unstable();
    let at = |share: f64| {
        let place = (all.took.len() as f64 * share) as usize;
        all.took.get(place).or(all.took.last()).copied().unwrap_or_default()
    };
    let failed: u64 =
        all.by_status.iter().filter(|(status, _)| **status >= 500 && **status != 503).map(|(_, n)| n).sum();
    Ok(Outcome {
        per_second: all.took.len() as f64 / plan.duration.as_secs_f64(),
        requests: all.took.len() as u64,
        errors: failed + all.broken,
        p50: at(0.5),
        p99: at(0.99),
        max: at(1.0),
        first_error: all.first_error,
        by_status: all.by_status,
    })
}

/// Sends a share of the requests.
async fn requests(attack: Arc<Attack>, number: usize, counting: Instant, end: Instant) -> anyhow::Result<Replies> {
    let mut replies = Replies::default();
    let mut client = Client::connect_from(attack.address, attack.from(number)?).await?;
    let period = Duration::from_secs_f64(f64::from(SENDERS) / attack.per_second);
    sleep(period.mul_f64(number as f64 / f64::from(SENDERS))).await;
    let mut pace = interval(period);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut turn = number;
    while Instant::now() < end {
        pace.tick().await;
        let template = attack.requests.get(turn % attack.requests.len().max(1)).context("no requests")?;
        let begun = Instant::now();
        let reply = client.send(template.request(turn)?).await;
        if begun >= counting {
            match reply {
                Ok((status, body)) => {
                    replies.took.push(begun.elapsed());
                    *replies.by_status.entry(status.as_u16()).or_default() += 1;
                    if status.is_server_error() && status.as_u16() != 503 {
                        replies.first_error.get_or_insert_with(|| {
                            format!(
                                "{} {}: {status} {}",
                                template.method,
                                template.path,
                                String::from_utf8_lossy(&body)
                            )
                        });
                    }
                }
                Err(error) => {
                    replies.broken += 1;
                    replies
                        .first_error
                        .get_or_insert_with(|| format!("{} {}: {error:#}", template.method, template.path));
                }
            }
        }
        turn += SENDERS as usize;
    }
    Ok(replies)
}

impl Template {
    fn request(&self, n: usize) -> anyhow::Result<hyper::Request<crate::http::Body>> {
        let method: Method = self.method.parse()?;
        let fill = |text: &str| text.replace("{n}", &n.to_string());
        let body = self.body.as_ref().map(|body| serde_json::from_str(&fill(&body.to_string()))).transpose()?;
        Ok(request(method, &fill(&self.path), self.token.as_deref(), body.as_ref()))
    }
}

/// Keeps a connection open on which nothing is sent; opens it again whenever it is closed.
async fn idle(attack: Arc<Attack>, number: usize) -> anyhow::Result<()> {
    sleep(attack.ramp.mul_f64(number as f64 / attack.idle.max(1) as f64)).await;
    loop {
        if let Ok(mut stream) = connect(attack.address, Some(attack.from(number)?), None).await {
            let _ = stream.read(&mut [0]).await;
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Asks for long replies and reads nothing, until the connection is cut.
async fn slow_reader(attack: Arc<Attack>, number: usize) -> anyhow::Result<()> {
    const SMALL: u32 = 4096;
    let asked = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", attack.long_reply).repeat(20);
    loop {
        if let Ok(mut stream) = connect(attack.address, Some(attack.from(number)?), Some(SMALL)).await
            && stream.write_all(asked.as_bytes()).await.is_ok()
        {
            let _ = timeout(PATIENCE, stream.ready(Interest::ERROR)).await;
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Sends bodies of which a byte comes every half second, and counts what is answered.
async fn slow_bodies(attack: Arc<Attack>, number: usize, counting: Instant, end: Instant) -> anyhow::Result<Replies> {
    let mut replies = Replies::default();
    let Template { method, path, token, .. } = &attack.slow_body;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n",
        token.as_deref().unwrap_or_default()
    );
    while Instant::now() < end {
        if let Ok(mut stream) = connect(attack.address, Some(attack.from(number)?), None).await
            && stream.write_all(head.as_bytes()).await.is_ok()
            && let Ok(status) = slow_body(&mut stream).await
            && Instant::now() >= counting
        {
            *replies.by_status.entry(status).or_default() += 1;
        }
        sleep(Duration::from_millis(200)).await;
    }
    Ok(replies)
}

/// Sends a body slowly until there is a reply; returns its status.
async fn slow_body(stream: &mut TcpStream) -> anyhow::Result<u16> {
    let begun = Instant::now();
    let mut reply = [0; 12];
    loop {
        match timeout(Duration::from_millis(500), stream.read_exact(&mut reply)).await {
            Ok(read) => {
                read?;
                return Ok(std::str::from_utf8(&reply)?.rsplit(' ').next().unwrap_or_default().parse()?);
            }
            Err(_) => {
                ensure!(begun.elapsed() < PATIENCE, "no reply");
                stream.write_all(b" ").await?;
            }
        }
    }
}
