//! Sales that are over, remembered by the instance for a moment: most of a flash sale's traffic comes after its end.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Mutex,
    time::{Duration, Instant},
};

use kit::{ActivityId, Problem, UserId};

/// How long a sale may count as over although a unit has been returned.
const TTL: Duration = Duration::from_millis(200);
const MAX_SALES: usize = 64;

struct Over {
    until: Instant,
    problem: Problem,
    /// For them Redis is asked, since they may have a ticket.
    buyers: HashSet<UserId>,
}

static OVER: Mutex<BTreeMap<ActivityId, Over>> = Mutex::new(BTreeMap::new());

/// Why this user can't buy, if that is known.
pub fn recall(activity_id: ActivityId, user_id: UserId) -> Option<Problem> {
    let over = OVER.lock().ok()?;
    let over = over.get(&activity_id)?;
    (Instant::now() < over.until && !over.buyers.contains(&user_id)).then(|| over.problem.clone())
}

/// Remembers that everybody but the buyers gets this problem.
pub fn remember(activity_id: ActivityId, problem: &Problem, buyers: Vec<UserId>) {
    let Some(until) = Instant::now().checked_add(TTL) else { return };
    if let Ok(mut over) = OVER.lock() {
        if over.len() >= MAX_SALES {
            over.clear();
        }
        over.insert(activity_id, Over { until, problem: problem.clone(), buyers: buyers.into_iter().collect() });
    }
}
