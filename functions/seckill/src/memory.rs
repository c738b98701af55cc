//! That a sale is over, kept by the instance for a moment: most of a flash sale's traffic comes after its end.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Mutex,
    time::{Duration, Instant},
};

use kit::Problem;

/// How long a sale may be taken for over that has a unit again.
const LIFE: Duration = Duration::from_millis(200);
const MAX_SALES: usize = 64;

struct Over {
    until: Instant,
    problem: Problem,
    /// They are answered by Redis: they may have a ticket to be shown again.
    buyers: HashSet<i64>,
}

static OVER: Mutex<BTreeMap<i64, Over>> = Mutex::new(BTreeMap::new());

/// Why this user can't buy, if that is known.
pub fn recall(activity_id: i64, user_id: i64) -> Option<Problem> {
    let over = OVER.lock().ok()?;
    let over = over.get(&activity_id)?;
    (Instant::now() < over.until && !over.buyers.contains(&user_id)).then(|| over.problem.clone())
}

/// Keeps that nobody but these users can get anything of the sale but this.
pub fn remember(activity_id: i64, problem: &Problem, buyers: Vec<i64>) {
    let Some(until) = Instant::now().checked_add(LIFE) else { return };
    if let Ok(mut over) = OVER.lock() {
        if over.len() >= MAX_SALES {
            over.clear();
        }
        over.insert(activity_id, Over { until, problem: problem.clone(), buyers: buyers.into_iter().collect() });
    }
}
