//! The client, by its IP address.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use kit::{
    Result, config,
    rate_limit::{self, RateLimit},
};

/// The address and port of whom Spin talks to: a proxy's, if there is one in front.
const PEER: HeaderName = HeaderName::from_static("spin-client-addr");
/// The client's address and those of the proxies that passed the request on, in this order. A client can send anything
/// in it, a trusted proxy appends what it sees.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// 429 if this client signs up too often, by the variables `register_rate` and `register_burst`.
pub async fn limit_sign_ups(headers: &HeaderMap) -> Result<()> {
    limit("register", "register_rate", "register_burst", headers).await
}

/// 429 if this client exceeds the rate limit. Each action, such as `login`, is counted on its own, but all have the
/// limit of the variables `login_rate` and `login_burst`.
pub async fn limit_rate(action: &str, headers: &HeaderMap) -> Result<()> {
    limit(action, "login_rate", "login_burst", headers).await
}

/// `rate` and `burst` are names of variables.
async fn limit(action: &str, rate: &'static str, burst: &'static str, headers: &HeaderMap) -> Result<()> {
    let limit = RateLimit {
        rate: config::number(rate, 1, 1_000_000).await?,
        burst: config::number(burst, 1, 1_000_000).await?,
    };
    rate_limit::limit(&format!("{action}:{}", network(headers).await?), limit).await
}

/// The client's IP address; none if Spin does not tell it.
pub async fn address(headers: &HeaderMap) -> Result<Option<IpAddr>> {
    Ok(find(headers, &trusted_proxies().await?))
}

/// The network whose requests are counted together: an IPv4 address, or the /64 of an IPv6 address, which is the least
/// that an internet provider gives to a customer.
async fn network(headers: &HeaderMap) -> Result<String> {
    Ok(address(headers).await?.map_or_else(|| "unknown".to_owned(), |address| network_of(address).to_string()))
}

/// The networks of the variable `trusted_proxies`, separated by commas; 503 if one is malformed. A single address is a
/// network, too.
async fn trusted_proxies() -> Result<Vec<IpNet>> {
    let value = config::text("trusted_proxies").await?;
    let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
    let network = |part: &str| part.parse().or_else(|_| part.parse::<IpAddr>().map(IpNet::from));
    let networks: std::result::Result<_, _> = parts.map(network).collect();
    networks.map_err(|_| config::invalid("trusted_proxies", "must be networks such as 10.0.0.0/8, separated by commas"))
}

/// The client's address. If the peer is a trusted proxy, it is the rightmost address of `X-Forwarded-For` that is not a
/// trusted proxy's.
fn find(headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let mut address = parse(headers.get(PEER)?.to_str().ok()?)?;
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let forwarded: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
    let mut hops = forwarded.iter().rev().flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
    while is_trusted(address)
        && let Some(hop) = hops.next().and_then(|hop| parse(hop.trim()))
    {
        address = hop;
    }
    Some(address)
}

/// Reads an address with or without a port. One that is IPv4 written as IPv6 becomes IPv4.
fn parse(text: &str) -> Option<IpAddr> {
    let socket = text.parse::<SocketAddr>().map(|socket| socket.ip());
    let address = socket.or_else(|_| text.trim_matches(['[', ']']).parse::<IpAddr>()).ok()?;
    Some(address.to_canonical())
}

fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str], trusted: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(PEER, peer.parse().unwrap());
        for value in forwarded {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        let trusted: Vec<_> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        find(&headers, &trusted).map(|address| network_of(address).to_string())
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let client = |peer, forwarded| client(peer, forwarded, &["10.0.0.0/8", "fd00::/8"]).unwrap();
        assert_eq!(client("192.0.2.7:50123", &[]), "192.0.2.7");
        assert_eq!(client("192.0.2.7:50123", &["198.51.100.1"]), "192.0.2.7");
        assert_eq!(client("10.1.2.3:50123", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("[fd00::1]:443", &["198.51.100.1:1234"]), "198.51.100.1");
        assert_eq!(client("[::ffff:10.1.2.3]:443", &["198.51.100.1"]), "198.51.100.1");
    }

    #[test]
    fn the_rightmost_address_that_no_proxy_has_counts() {
        let client = |forwarded| client("10.1.2.3:50123", forwarded, &["10.0.0.0/8"]).unwrap();
        assert_eq!(client(&["203.0.113.9, 198.51.100.1, 10.9.9.9"]), "198.51.100.1");
        assert_eq!(client(&["203.0.113.9", "198.51.100.1 , 10.9.9.9"]), "198.51.100.1");
        assert_eq!(client(&["10.8.8.8, 10.9.9.9"]), "10.8.8.8");
        // What a client makes up stands left of the address that the proxy saw.
        assert_eq!(client(&["nonsense, 198.51.100.1"]), "198.51.100.1");
        assert_eq!(client(&["198.51.100.1, nonsense"]), "10.1.2.3");
        assert_eq!(client(&[]), "10.1.2.3");
    }

    #[test]
    fn an_ipv6_address_counts_by_its_64() {
        assert_eq!(client("[2001:db8:1:2:3:4:5:6]:50123", &[], &[]).unwrap(), "2001:db8:1:2::");
        assert_eq!(client("nonsense", &[], &[]), None);
    }
}
