//! Finds the component for a path, by Spin's rules: by path alone, and the most specific route wins.

use http::{HeaderMap, HeaderName, HeaderValue};
use routefinder::{Captures, RouteSpec};

use crate::error::Error;

/// The routes of an application.
pub struct Router<T>(routefinder::Router<Entry<T>>);

struct Entry<T> {
    target: T,
    route: String,
    /// The headers that describe the route to the component.
    headers: Box<[(HeaderName, HeaderValue)]>,
}

/// A route that matched.
pub struct Match<'a, 'p, T> {
    pub target: &'a T,
    /// As it is written in the manifest.
    pub route: &'a str,
    headers: &'a [(HeaderName, HeaderValue)],
    captures: Captures<'a, 'p>,
    path: &'p str,
}

const PATH_INFO: HeaderName = HeaderName::from_static("spin-path-info");

impl<T> Router<T> {
    /// If two routes are equal, the later one is used, as in Spin.
    pub fn new(routes: impl IntoIterator<Item = (String, T)>) -> Result<Self, Error> {
        let mut router = routefinder::Router::new();
        for (raw, target) in routes {
            let absolute = format!("/{}", raw.strip_prefix('/').unwrap_or(&raw));
            let matched_route = absolute.strip_suffix('/').unwrap_or(&absolute);
            let prefix = matched_route.strip_suffix("/...");
            let pattern = prefix.map_or_else(|| matched_route.to_string(), |prefix| format!("{prefix}/*"));
            let invalid = |reason: String| Error::Route { route: raw.clone(), reason };
            let spec: RouteSpec = pattern.as_str().try_into().map_err(invalid)?;
            let raw_prefix = raw.strip_suffix("/...").unwrap_or(&raw);
            let headers = [
                ("spin-matched-route", matched_route),
                ("spin-base-path", "/"),
                ("spin-raw-component-route", &raw),
                ("spin-component-route", raw_prefix),
            ];
            let headers = headers
                .into_iter()
                .map(|(name, value)| {
                    let value = HeaderValue::from_str(value).map_err(|e| invalid(e.to_string()))?;
                    Ok((HeaderName::from_static(name), value))
                })
                .collect::<Result<_, Error>>()?;
            router.add(spec, Entry { target, route: raw.clone(), headers }).map_err(|e| invalid(e.to_string()))?;
        }
        Ok(Self(router))
    }

    pub fn find<'a, 'p>(&'a self, path: &'p str) -> Option<Match<'a, 'p, T>> {
        let found = self.0.best_match(path)?;
        let entry = found.handler();
        Some(Match {
            target: &entry.target,
            route: &entry.route,
            headers: &entry.headers,
            captures: found.captures(),
            path,
        })
    }
}

impl<T> Match<'_, '_, T> {
    /// Sets the headers that describe the match to the component. As in Spin, a value that can't be a header is left
    /// out.
    pub fn set_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in self.headers {
            headers.insert(name.clone(), value.clone());
        }
        if let Ok(value) = HeaderValue::try_from(self.path_info()) {
            headers.insert(PATH_INFO, value);
        }
        for (name, value) in self.captures.iter() {
            let name = format!("spin-path-match-{}", name.to_ascii_lowercase().replace('_', "-"));
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
                headers.insert(name, value);
            }
        }
    }

    /// What `/...` matched, with the slashes that the client sent.
    fn path_info(&self) -> String {
        match self.captures.wildcard() {
            None => String::new(),
            Some("") if self.path.ends_with('/') => "/".into(),
            Some("") => String::new(),
            Some(rest) if self.path.ends_with('/') => format!("/{rest}/"),
            Some(rest) => format!("/{rest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(routes: &[&'static str]) -> Router<&'static str> {
        Router::new(routes.iter().map(|r| (r.to_string(), *r))).unwrap()
    }

    #[test]
    fn the_most_specific_route_wins() {
        let router = router(&["/...", "/api/order/...", "/api/order/:no/pay", "/api/order/all", "/api/cart"]);
        for (path, route) in [
            ("/", "/..."),
            ("/health", "/..."),
            ("/api/order", "/api/order/..."),
            ("/api/order/", "/api/order/..."),
            ("/api/order/1", "/api/order/..."),
            ("/api/order/all", "/api/order/all"),
            ("/api/order/1/pay", "/api/order/:no/pay"),
            ("/api/order/1/pay/x", "/api/order/..."),
            ("/api/cart", "/api/cart"),
            ("/api/cart/", "/api/cart"),
            ("/api/cart/x", "/..."),
        ] {
            assert_eq!(router.find(path).map(|m| *m.target), Some(route), "{path}");
        }
    }

    #[test]
    fn other_paths_match_no_route() {
        let router = router(&["/api/cart", "/a/:b"]);
        for path in ["/", "/api", "/a", "/a/b/c"] {
            assert!(router.find(path).is_none(), "{path}");
        }
    }

    #[test]
    fn the_component_is_told_its_route() {
        let router = router(&["/shop/:who_is/..."]);
        let mut headers = HeaderMap::new();
        router.find("/shop/me/a/b/").unwrap().set_headers(&mut headers);
        assert_eq!(headers["spin-path-info"], "/a/b/");
        assert_eq!(headers["spin-path-match-who-is"], "me");
        assert_eq!(headers["spin-matched-route"], "/shop/:who_is/...");
        assert_eq!(headers["spin-component-route"], "/shop/:who_is");
        assert_eq!(headers["spin-base-path"], "/");
    }
}
