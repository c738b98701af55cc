//! Pauses between the batches of a worker, so that requests are served meanwhile.

use std::time::{Duration, Instant};

use spin_sdk::wasip3;

use crate::{Result, log, mysql::connection};

/// About how many SELECTs workers run during a batch.
const OF_A_BATCH: f64 = 12.0;
/// The longest pause, in durations of a batch.
const LONGEST: f64 = 3.0;

/// A batch that waited for locks must not hold up the worker for even longer.
const LONGEST_PAUSE: Duration = Duration::from_millis(300);

/// How many SELECTs MySQL had run at some time: requests consist of them mostly.
struct Reading {
    at: Instant,
    selects: i64,
}

/// Knows how busy MySQL is with requests.
pub(super) struct Pacer(Option<Reading>);

impl Pacer {
    pub async fn start() -> Self {
        Pacer(read().await)
    }

    /// Pauses after a batch that took this long: the more SELECTs others have run since the last pause, the longer, and not
    /// at all if there are no requests.
    pub async fn pause(&mut self, took: Duration) {
        let now = read().await;
        let batches = match (&self.0, &now) {
            (Some(before), Some(now)) => pause(before, now, took),
            // As if requests took half of the time.
            _ => 1.0,
        };
        let pause = took.mul_f64(batches).min(LONGEST_PAUSE);
        let nanoseconds = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        if nanoseconds > 0 {
            wasip3::clocks::monotonic_clock::wait_for(nanoseconds).await;
        }
        self.0 = now;
    }
}

/// The length of a pause, in durations of the batch.
fn pause(before: &Reading, now: &Reading, took: Duration) -> f64 {
    let selects = now.selects.saturating_sub(before.selects) as f64 - OF_A_BATCH;
    let since = now.at.saturating_duration_since(before.at).max(took).as_secs_f64();
    let during_a_batch = if since > 0.0 { selects * took.as_secs_f64() / since } else { 0.0 };
    (during_a_batch / OF_A_BATCH).clamp(0.0, LONGEST)
}

async fn read() -> Option<Reading> {
    let selects = selects().await;
    match selects {
        Ok(selects) => selects.map(|selects| Reading { at: Instant::now(), selects }),
        Err(problem) => {
            log::warn("MySQL's load is not known", &problem);
            None
        }
    }
}

crate::row! {
    #[allow(non_snake_case)]
    struct Status { Value: String }
}

async fn selects() -> Result<Option<i64>> {
    const SELECTS: &str = "SHOW GLOBAL STATUS LIKE 'Com_select'";
    let status = connection().await?.query_one::<Status>(SELECTS, vec![]).await?;
    Ok(status.and_then(|status| status.Value.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_grows_with_what_others_do() {
        let start = Instant::now();
        let paused = |selects: i64, since_ms: u64| {
            let reading = |ms, selects| Reading { at: start + Duration::from_millis(ms), selects };
            pause(&reading(0, 1000), &reading(since_ms, 1000 + selects), Duration::from_millis(20))
        };
        assert_eq!(paused(12, 20), 0.0, "workers alone");
        assert_eq!(paused(24, 20), 1.0);
        assert_eq!(paused(36, 40), 1.0, "as many, after a pause");
        assert_eq!(paused(1000, 20), LONGEST);
        assert_eq!(paused(-500, 20), 0.0, "MySQL was restarted");
    }
}
