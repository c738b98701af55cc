//! What a load generator is told, and what it tells. Lines of JSON between two processes, so that the generator
//! shares no executor with what it measures.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
pub struct Plan {
    pub work: Work,
    pub connections: usize,
    /// Before this, nothing is counted.
    pub warm_up: Duration,
    pub duration: Duration,
    /// Between one round of a connection and its next.
    pub pause: Duration,
}

#[derive(Clone, Serialize, Deserialize)]
pub enum Work {
    Http {
        address: SocketAddr,
        flow: Flow,
        shoppers: Vec<String>,
        products: Vec<i64>,
    },
    /// One path after the other.
    Paths {
        address: SocketAddr,
        paths: Vec<String>,
    },
    /// The products whose names have all of some patterns, by a native client.
    Like {
        url: String,
        patterns: Vec<Vec<String>>,
    },
    RedisPing {
        url: String,
    },
    RedisScript {
        url: String,
    },
    /// The purchase of a flash sale, by a native client.
    RedisBuy {
        url: String,
        activity: i64,
    },
}

/// What one connection does again and again.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Flow {
    Health,
    Detail,
    List,
    CartAdd,
    /// Cart add, checkout, pay.
    Buy,
    /// A purchase in a flash sale, each time by another shopper, and the status that it is answered with.
    Seckill {
        activity: i64,
        status: u16,
    },
    /// A little of everything.
    Mixed,
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Flows that were gone through a second.
    pub per_second: f64,
    pub requests: u64,
    pub errors: u64,
    /// Of single requests.
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
    pub first_error: Option<String>,
}

impl Outcome {
    /// The middle of several rounds; the worst of what must never be.
    pub fn of_rounds(rounds: &[Self]) -> Self {
        Self {
            per_second: median(rounds.iter().map(|round| round.per_second).collect()),
            requests: rounds.iter().map(|round| round.requests).sum(),
            errors: rounds.iter().map(|round| round.errors).sum(),
            p50: median(rounds.iter().map(|round| round.p50).collect()),
            p99: median(rounds.iter().map(|round| round.p99).collect()),
            max: rounds.iter().map(|round| round.max).max().unwrap_or_default(),
            first_error: rounds.iter().find_map(|round| round.first_error.clone()),
        }
    }
}

pub fn median<T: PartialOrd + Copy + Default>(mut values: Vec<T>) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_come_to_their_middle_and_their_worst() {
        let round = |per_second, errors, max| Outcome {
            per_second,
            errors,
            max: Duration::from_millis(max),
            ..Outcome::default()
        };
        let all = Outcome::of_rounds(&[round(300.0, 0, 5), round(100.0, 2, 9), round(200.0, 1, 1)]);
        assert_eq!((all.per_second, all.errors, all.max), (200.0, 3, Duration::from_millis(9)));
        assert_eq!(median::<u8>(Vec::new()), 0);
    }
}
