//! How many connections clients may have: in all, and each address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Enough for a busy proxy or the users behind one address, too few to exhaust the server.
pub const MAX_CONNECTIONS_PER_ADDRESS: usize = 2000;

/// Counts the open connections.
pub struct Connections {
    max: usize,
    max_per_address: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    total: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// An open connection. It counts until this is dropped.
pub struct Connection {
    connections: Arc<Connections>,
    network: IpAddr,
}

impl Connections {
    pub fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_address, open: Mutex::default() })
    }

    /// Another connection of a client; none if there are too many.
    pub fn admit(self: &Arc<Self>, client: IpAddr) -> Option<Connection> {
        let network = network(client);
        let mut open = self.open();
        if open.total >= self.max {
            return None;
        }
        let of_network = open.by_network.entry(network).or_default();
        if *of_network >= self.max_per_address {
            return None;
        }
        *of_network += 1;
        open.total += 1;
        Some(Connection { connections: self.clone(), network })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        open.total -= 1;
        if let Some(of_network) = open.by_network.get_mut(&self.network) {
            *of_network -= 1;
            if *of_network == 0 {
                open.by_network.remove(&self.network);
            }
        }
    }
}

/// What counts as one client: an IPv4 address, or the /64 that an IPv6 address is in. A client has all addresses of its
/// /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(connections: &Arc<Connections>, client: &str) -> Option<Connection> {
        connections.admit(client.parse().unwrap())
    }

    #[test]
    fn connections_are_limited_in_all_and_by_address() {
        let connections = Connections::new(3, 2);
        let first = admit(&connections, "192.0.2.1").unwrap();
        let _second = admit(&connections, "192.0.2.1").unwrap();
        assert!(admit(&connections, "192.0.2.1").is_none(), "a third of one address");
        let _third = admit(&connections, "192.0.2.2").unwrap();
        assert!(admit(&connections, "192.0.2.3").is_none(), "a fourth in all");
        drop(first);
        assert!(admit(&connections, "192.0.2.1").is_some(), "after one has ended");
    }

    #[test]
    fn all_addresses_of_a_64_count_as_one() {
        let connections = Connections::new(10, 1);
        let _first = admit(&connections, "2001:db8::1").unwrap();
        assert!(admit(&connections, "2001:db8::ffff:2").is_none());
        assert!(admit(&connections, "2001:db8:0:1::1").is_some());
        let _mapped = admit(&connections, "::ffff:192.0.2.1").unwrap();
        assert!(admit(&connections, "192.0.2.1").is_none());
        assert!(admit(&connections, "::ffff:192.0.2.2").is_some());
    }

    #[test]
    fn nothing_is_kept_of_closed_connections() {
        let connections = Connections::new(10, 1);
        drop(admit(&connections, "192.0.2.1"));
        assert!(connections.open().by_network.is_empty());
        assert_eq!(connections.open().total, 0);
    }
}
