//! `allowed_outbound_hosts`: the addresses that a component may connect to.

use std::net::IpAddr;

use url::{Host, Url};

use crate::variables::Variables;

/// The hosts that a component may connect to.
#[derive(Debug, Default)]
pub struct AllowedHosts(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    scheme: Option<String>,
    host: HostPattern,
    /// Any if there is none.
    ports: Option<std::ops::RangeInclusive<u16>>,
}

#[derive(Debug)]
enum HostPattern {
    Any,
    Subdomain(String),
    Exactly(Host),
    Network(IpAddr, u8),
    /// `self`: the application's own routes, which this runtime doesn't offer to its components.
    ThisApplication,
}

impl AllowedHosts {
    /// Parses the manifest's entries, with variables expanded.
    pub fn parse(entries: &[String], variables: &Variables) -> Result<Self, String> {
        let mut hosts = Vec::with_capacity(entries.len());
        for template in entries {
            let text = variables.expand(template)?;
            // An optional host is left out by setting its variable to nothing.
            if text != *template && matches!(text.as_str(), "" | "http://" | "https://") {
                continue;
            }
            let entry = Entry::parse(text.trim()).map_err(|e| format!("allowed_outbound_hosts: {template:?}: {e}"))?;
            hosts.push(entry);
        }
        Ok(Self(hosts))
    }

    /// Whether a component may connect to `address`. `scheme` is used if the address has none.
    pub fn allow(&self, address: &str, scheme: &str) -> bool {
        let Some(url) = parse_address(address, scheme) else {
            return false;
        };
        let Some(Ok(host)) = url.host_str().map(Host::parse) else {
            return false;
        };
        let port = url.port().or_else(|| well_known_port(url.scheme()));
        self.0.iter().any(|entry| {
            entry.scheme.as_deref().is_none_or(|s| s == url.scheme())
                && entry.host.matches(&host)
                && match (&entry.ports, port) {
                    (None, _) => true,
                    (Some(ports), Some(port)) => ports.contains(&port),
                    (Some(_), None) => false,
                }
        })
    }
}

impl Entry {
    /// The errors don't repeat the text, since a password may have got into it.
    fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or("it must be of the form scheme://host[:port]")?;
        let scheme = match scheme {
            "*" => None,
            name if !name.is_empty() && name.chars().all(char::is_alphabetic) => Some(name.to_string()),
            _ => return Err("the scheme must be a word or '*'".into()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // The last colon may be part of an IPv6 address.
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if HostPattern::parse(rest).is_err() => (host, port),
            _ => (rest, ""),
        };
        let number = |text: &str| text.parse::<u16>().map_err(|_| "its port must be a number");
        let ports = match port {
            "*" => None,
            "" => {
                let scheme = scheme.as_deref().unwrap_or("*");
                let port =
                    well_known_port(scheme).ok_or("it must have a port, since its scheme has none by default")?;
                Some(port..=port)
            }
            range => Some(match range.split_once("..") {
                // The range excludes its end.
                Some((from, to)) => number(from)?..=number(to)?.saturating_sub(1),
                None => number(range)?..=number(range)?,
            }),
        };
        Ok(Self { scheme, host: HostPattern::parse(host)?, ports })
    }
}

impl HostPattern {
    fn parse(host: &str) -> Result<Self, String> {
        let literal = |host: &str| Host::parse(host).map_err(|error| format!("its host is not valid: {error}"));
        match host {
            "*" => return Ok(Self::Any),
            "self" | "self.alt" => return Ok(Self::ThisApplication),
            _ => {}
        }
        if let Some((address, bits)) = host.split_once('/') {
            return match (address.parse::<IpAddr>(), bits.parse::<u8>()) {
                (Ok(ip), Ok(bits)) if bits <= address_bits(ip) => Ok(Self::Network(ip, bits)),
                _ => Err("it must not have a path".into()),
            };
        }
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(Self::Network(ip, address_bits(ip)));
        }
        match host.strip_prefix("*.") {
            Some(domain) if !domain.contains('*') => match literal(domain)? {
                Host::Domain(domain) => Ok(Self::Subdomain(format!(".{domain}"))),
                _ => Err("a wildcard needs a domain".into()),
            },
            None if !host.contains('*') => Ok(Self::Exactly(literal(host)?)),
            _ => Err("a wildcard may only be the first label".into()),
        }
    }

    fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Subdomain(suffix), Host::Domain(domain)) => domain.ends_with(suffix),
            (Self::Exactly(rule), host) => rule == host,
            (Self::Network(IpAddr::V4(net), bits), Host::Ipv4(ip)) => {
                let shift = 32 - u32::from(*bits);
                (net.to_bits() ^ ip.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (Self::Network(IpAddr::V6(net), bits), Host::Ipv6(ip)) => {
                let shift = 128 - u32::from(*bits);
                (net.to_bits() ^ ip.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

fn address_bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// Parses an address as the clients do, so that the host that is checked is the host that is connected to.
fn parse_address(address: &str, scheme: &str) -> Option<Url> {
    match Url::parse(address) {
        Ok(url) if url.has_host() => Some(url),
        _ => Url::parse(&format!("{scheme}://{address}")).ok(),
    }
}

fn well_known_port(scheme: &str) -> Option<u16> {
    match scheme {
        "mysql" => Some(3306),
        "redis" => Some(6379),
        "postgres" => Some(5432),
        "mqtt" => Some(1883),
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn hosts(entries: &[&str]) -> AllowedHosts {
        let variables = Variables::resolve(&BTreeMap::new(), &BTreeMap::new()).unwrap();
        let entries: Vec<_> = entries.iter().map(|e| e.to_string()).collect();
        AllowedHosts::parse(&entries, &variables).unwrap()
    }

    #[test]
    fn only_listed_hosts_are_allowed() {
        let allowed = hosts(&["mysql://127.0.0.1:3307", "redis://cache", "http://*.example.com:80..90"]);
        assert!(allowed.allow("mysql://u:p@127.0.0.1:3307/db", "mysql"));
        assert!(!allowed.allow("mysql://u:p@127.0.0.1:3306/db", "mysql"));
        assert!(!allowed.allow("mysql://127.0.0.2:3307", "mysql"));
        assert!(allowed.allow("redis://cache:6379/1", "redis"));
        assert!(allowed.allow("cache", "redis"));
        assert!(!allowed.allow("redis://cache:6380", "redis"));
        assert!(allowed.allow("http://a.example.com:89", "http"));
        assert!(!allowed.allow("http://a.example.com:90", "http"));
        assert!(!allowed.allow("http://example.com", "http"));
        assert!(!allowed.allow("not an address", "redis"));
        assert!(!hosts(&[]).allow("redis://cache", "redis"));
    }

    #[test]
    fn credentials_are_not_mistaken_for_the_host() {
        let allowed = hosts(&["redis://cache:6379"]);
        assert!(!allowed.allow("redis://cache:6379@elsewhere:6379", "redis"));
        assert!(!allowed.allow("redis://elsewhere:6379/@cache:6379", "redis"));
        assert!(!allowed.allow("redis://elsewhere:6379#@cache:6379", "redis"));
        assert!(!allowed.allow("redis://elsewhere:6379?@cache:6379", "redis"));
        assert!(allowed.allow("redis://user:p%40ss@cache:6379", "redis"));
    }

    #[test]
    fn wildcards_and_networks() {
        assert!(hosts(&["*://*:*"]).allow("redis://anything:1", "redis"));
        assert!(hosts(&["redis://10.0.0.0/8:*"]).allow("redis://10.1.2.3:7", "redis"));
        assert!(!hosts(&["redis://10.0.0.0/8:*"]).allow("redis://11.1.2.3:7", "redis"));
        assert!(hosts(&["redis://[::1]:6379"]).allow("redis://[::1]", "redis"));
        let variables = Variables::resolve(&BTreeMap::new(), &BTreeMap::new()).unwrap();
        for bad in ["cache", "redis://a/b", "redis://user@", "odd://host", "redis://a:x"] {
            assert!(AllowedHosts::parse(&[bad.into()], &variables).is_err(), "{bad}");
        }
        let address = |value: &str| BTreeMap::from([("host".to_owned(), value.to_owned())]);
        for value in ["shop:hush@cache:6379", "cache:hush", "default:hush@cache", "cache/hush"] {
            let declared = toml::from_str("host = { default = '' }").unwrap();
            let variables = Variables::resolve(&declared, &address(value)).unwrap();
            let error = AllowedHosts::parse(&["redis://{{ host }}".into()], &variables).unwrap_err();
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
