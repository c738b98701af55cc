//! Refusals of sales that have ended or sold out, cached by the instance for a moment: most requests come after a flash
//! sale's end.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Mutex,
    time::{Duration, Instant},
};

use kit::{ActivityId, Problem, UserId};

/// How long a sale is refused although a unit may have been returned.
const TTL: Duration = Duration::from_millis(200);
const MAX_SALES: usize = 64;

struct Refusal {
    expires: Instant,
    problem: Problem,
    /// They may have a ticket, so their requests go to Redis.
    buyers: HashSet<UserId>,
}

static CACHE: Mutex<BTreeMap<ActivityId, Refusal>> = Mutex::new(BTreeMap::new());

/// The cached refusal for this user, if there is one.
pub fn get(activity_id: ActivityId, user_id: UserId) -> Option<Problem> {
    let cache = CACHE.lock().ok()?;
    let refusal = cache.get(&activity_id)?;
    (Instant::now() < refusal.expires && !refusal.buyers.contains(&user_id)).then(|| refusal.problem.clone())
}

/// Caches a refusal for everybody but the buyers.
pub fn put(activity_id: ActivityId, problem: &Problem, buyers: Vec<UserId>) {
    let Some(expires) = Instant::now().checked_add(TTL) else { return };
    if let Ok(mut cache) = CACHE.lock() {
        if cache.len() >= MAX_SALES {
            cache.clear();
        }
        cache.insert(activity_id, Refusal { expires, problem: problem.clone(), buyers: buyers.into_iter().collect() });
    }
}
