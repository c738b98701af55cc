//! Promotions in force. An order reads them from MySQL; a cart takes those that were read a moment ago, kept by the
//! instance and, since an instance does not live long, by Redis.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use kit::{
    Result, Timestamp,
    mysql::{self, Connection},
    params,
    redis::{self, Reply, arg, int},
    row,
};
use serde::{Deserialize, Serialize};

use crate::{Rule, pricing::wit};

/// In Redis, and again in the instance: together less than a second, with the time that reading takes.
const LIFE: Duration = Duration::from_millis(450);
const KEY: &str = "promotions";

row! {
    #[derive(Serialize, Deserialize)]
    struct Promotion {
        id: i64, name: String, rule: Rule, exclusive: bool, priority: i64, starts_at: Option<Timestamp>,
        ends_at: Option<Timestamp>,
    }
}

impl Promotion {
    fn to_wit(&self) -> Option<wit::Promotion> {
        Some(wit::Promotion {
            id: u64::try_from(self.id).ok()?,
            rule: self.rule.to_wit(&self.name, self.starts_at, self.ends_at),
            exclusive: self.exclusive,
            priority: i32::try_from(self.priority).ok()?,
        })
    }
}

/// Those of now, as MySQL has them.
pub(crate) async fn read(db: &mut Connection) -> Result<Vec<wit::Promotion>> {
    Ok(rows(db).await?.iter().filter_map(Promotion::to_wit).collect())
}

/// With those that begin while they are kept.
async fn rows(db: &mut Connection) -> Result<Vec<Promotion>> {
    const RUNNING: &str = "
        SELECT id, name, rule, exclusive, priority, starts_at, ends_at FROM promotions
        WHERE (ends_at IS NULL OR ends_at > ?) AND (starts_at IS NULL OR starts_at <= ?)";
    let now = Timestamp::now();
    Ok(db.query(RUNNING, params![now, now.plus_seconds(2)]).await?)
}

type Kept = Option<(Instant, Arc<[wit::Promotion]>)>;
static KEPT: Mutex<Kept> = Mutex::new(None);

/// Those of now, or of less than a second ago.
pub(crate) async fn recent() -> Result<Arc<[wit::Promotion]>> {
    // Their age counts from before they were read.
    let now = Instant::now();
    if let Some((_, promotions)) =
        KEPT.lock().ok().and_then(|kept| kept.clone().filter(|(read_at, _)| now.duration_since(*read_at) < LIFE))
    {
        return Ok(promotions);
    }
    let promotions: Arc<[_]> = shared().await?.iter().filter_map(Promotion::to_wit).collect();
    if let Ok(mut kept) = KEPT.lock() {
        *kept = Some((now, promotions.clone()));
    }
    Ok(promotions)
}

/// What Redis has, or MySQL, and then Redis has it too. A Redis that does not answer is no reason not to read.
async fn shared() -> Result<Vec<Promotion>> {
    if let Ok(reply) = redis::command("GET", vec![arg(KEY)]).await
        && let Some(promotions) = reply.text(0).and_then(|json| serde_json::from_str(json).ok())
    {
        return Ok(promotions);
    }
    let promotions = rows(&mut mysql::connection().await?).await?;
    let json = serde_json::to_vec(&promotions).unwrap_or_default();
    let life = i64::try_from(LIFE.as_millis()).unwrap_or_default();
    let _ = redis::command("SET", vec![arg(KEY), arg(json), arg("PX"), int(life)]).await;
    Ok(promotions)
}
