//! The load generator's input and output: JSON between two processes, so that the generator does not share an executor
//! with what it measures.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::statistics::median;

#[derive(Clone, Serialize, Deserialize)]
pub struct Plan {
    pub work: Work,
    pub connections: usize,
    /// Requests during this time are not counted.
    pub warm_up: Duration,
    pub duration: Duration,
    /// The pause between two rounds of a connection.
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
    /// GET requests, one path after the other.
    Paths {
        address: SocketAddr,
        paths: Vec<String>,
    },
    /// Logins with a name and a password, one account after the other.
    Login {
        address: SocketAddr,
        accounts: Vec<Account>,
    },
    /// Selects the products whose names match all of some patterns, from a native client.
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
    /// The script of a flash-sale purchase, from a native client.
    RedisBuy {
        url: String,
        activity: i64,
    },
    /// With its own number of connections, and without pauses.
    Attack(Attack),
}

/// Requests at a fixed rate, and connections that are only held.
#[derive(Clone, Serialize, Deserialize)]
pub struct Attack {
    pub address: SocketAddr,
    /// The addresses of this machine that the connections come from, in turn.
    pub from: Vec<IpAddr>,
    /// Sent in turn.
    pub requests: Vec<Template>,
    /// Of all requests together.
    pub per_second: f64,
    pub idle: usize,
    pub slow_bodies: usize,
    pub slow_readers: usize,
    /// What slow readers ask for.
    pub long_reply: String,
    /// What slow bodies are sent to.
    pub slow_body: Template,
    /// The idle connections are opened within this time.
    pub ramp: Duration,
}

/// A request. `{n}` in its path and its body stands for a number that no other request has.
#[derive(Clone, Serialize, Deserialize)]
pub struct Template {
    pub method: String,
    pub path: String,
    pub token: Option<String>,
    pub body: Option<serde_json::Value>,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Account {
    pub username: String,
    pub password: String,
}

/// What a connection repeats.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Flow {
    Health,
    Detail,
    List,
    CartAdd,
    /// Cart add, checkout, pay.
    Buy,
    /// A purchase in a flash sale, each time by another shopper, and the status that is expected.
    FlashSale {
        activity: i64,
        status: u16,
    },
    /// A mix of the above.
    Mixed,
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Completed flows per second.
    pub per_second: f64,
    pub requests: u64,
    pub errors: u64,
    /// Latencies of single requests.
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
    pub first_error: Option<String>,
    /// How often each status was answered. Only an attack counts this.
    #[serde(default)]
    pub by_status: BTreeMap<u16, u64>,
}

impl Outcome {
    /// The median of several rounds; the greatest of their maxima, the sum of their errors.
    pub fn of_rounds(rounds: &[Self]) -> Self {
        let median_of = |of: fn(&Self) -> f64| median(rounds.iter().map(of).collect());
        Self {
            per_second: median_of(|round| round.per_second),
            requests: rounds.iter().map(|round| round.requests).sum(),
            errors: rounds.iter().map(|round| round.errors).sum(),
            p50: Duration::from_secs_f64(median_of(|round| round.p50.as_secs_f64())),
            p99: Duration::from_secs_f64(median_of(|round| round.p99.as_secs_f64())),
            max: rounds.iter().map(|round| round.max).max().unwrap_or_default(),
            first_error: rounds.iter().find_map(|round| round.first_error.clone()),
            by_status: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_summed_up_by_median_maximum_and_sum() {
        let round = |per_second, errors, max| Outcome {
            per_second,
            errors,
            max: Duration::from_millis(max),
            ..Outcome::default()
        };
        let all = Outcome::of_rounds(&[round(300.0, 0, 5), round(100.0, 2, 9), round(200.0, 1, 1)]);
        assert_eq!((all.per_second, all.errors, all.max), (200.0, 3, Duration::from_millis(9)));
    }
}
