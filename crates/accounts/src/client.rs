//! The client, by its IP address.

use http::HeaderMap;
use kit::{Result, config, rate_limit};

/// The client's IP address as Spin saw it: a proxy's, if there is one in front.
pub fn address(headers: &HeaderMap) -> &str {
    let address = headers.get("spin-client-addr").and_then(|value| value.to_str().ok()).unwrap_or("unknown");
    address.rsplit_once(':').map_or(address, |(ip, _port)| ip)
}

/// 429 if this IP address signs up too often, by the variables `register_rate` and `register_burst`.
pub async fn limit_sign_ups(headers: &HeaderMap) -> Result<()> {
    let rate = config::number("register_rate", 1, 1_000_000).await?;
    let burst = config::number("register_burst", 1, 1_000_000).await?;
    rate_limit::limit(&format!("register:{}", address(headers)), rate, burst).await
}

/// 429 if this IP address exceeds the rate limit. Each action, such as `login`, is counted on its own, but all have the
/// limit of the variables `login_rate` and `login_burst`.
pub async fn limit_rate(action: &str, headers: &HeaderMap) -> Result<()> {
    let rate = config::number("login_rate", 1, 1_000_000).await?;
    let burst = config::number("login_burst", 1, 1_000_000).await?;
    rate_limit::limit(&format!("{action}:{}", address(headers)), rate, burst).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_has_no_port() {
        let seen_as = |value: &str| {
            let headers = HeaderMap::from_iter([("spin-client-addr".parse().unwrap(), value.parse().unwrap())]);
            address(&headers).to_owned()
        };
        assert_eq!(seen_as("192.0.2.7:50123"), "192.0.2.7");
        assert_eq!(seen_as("[2001:db8::7]:50123"), "[2001:db8::7]");
        assert_eq!(address(&HeaderMap::new()), "unknown");
    }
}
