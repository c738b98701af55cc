//! The address of a database: as a URL on the command line, as Spin variables for the functions, and as options of this
//! command's own clients.

use std::{collections::BTreeMap, fmt, str::FromStr};

use anyhow::{Context, bail, ensure};
use mysql_async::{OptsBuilder, SslOpts};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;

/// All characters that may have to be encoded in some part of a URL.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub type Variables = BTreeMap<String, String>;

#[derive(Clone, Debug, PartialEq)]
pub struct Mysql {
    /// `host:port`
    pub host: String,
    pub user: String,
    pub password: String,
    pub database: String,
    /// Empty, or `?ssl-mode=…`
    pub params: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Redis {
    /// `redis`, or `rediss` for TLS
    pub scheme: String,
    /// `host:port`
    pub host: String,
    /// Empty, or `user:password@`, encoded as in a URL.
    pub auth: String,
}

impl FromStr for Mysql {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        const FORM: &str = "a MySQL URL has the form mysql://user:password@host:port/database[?ssl-mode=…]";
        let url = Url::parse(text).ok().filter(|url| url.scheme() == "mysql").context(FORM)?;
        let user = decode(url.username())?;
        let database = decode(url.path().trim_matches('/'))?;
        ensure!(!user.is_empty(), "the MySQL URL has no user: {FORM}");
        ensure!(!database.is_empty() && !database.contains('/'), "the MySQL URL has no database: {FORM}");
        for (name, value) in url.query_pairs() {
            ensure!(name == "ssl-mode", "the MySQL URL has an unknown parameter `{name}`: {FORM}");
            ssl_mode(&value)?;
        }
        Ok(Self {
            host: host_and_port(&url, 3306).context(FORM)?,
            user,
            password: decode(url.password().unwrap_or_default())?,
            database,
            params: url.query().filter(|query| !query.is_empty()).map(|query| format!("?{query}")).unwrap_or_default(),
        })
    }
}

impl Mysql {
    pub fn variables(&self) -> [(&'static str, String); 5] {
        [
            ("mysql_host", self.host.clone()),
            ("mysql_user", self.user.clone()),
            ("mysql_password", self.password.clone()),
            ("mysql_database", self.database.clone()),
            ("mysql_params", self.params.clone()),
        ]
    }

    /// The address that the variables `mysql_…` give, if `mysql_host` is set.
    pub fn from_variables(variables: &Variables) -> anyhow::Result<Option<Self>> {
        let Some(host) = variables.get("mysql_host") else { return Ok(None) };
        let get = |name: &str, default: &str| variables.get(name).map_or_else(|| default.to_owned(), Clone::clone);
        let mysql = Self {
            host: host.clone(),
            user: get("mysql_user", "mall"),
            password: get("mysql_password", ""),
            database: get("mysql_database", "mall"),
            params: get("mysql_params", ""),
        };
        Ok(Some(mysql.to_url().parse().context("SPIN_VARIABLE_MYSQL_…")?))
    }

    /// Contains the password: for private files and the environment of child processes, never for a terminal.
    pub fn to_url(&self) -> String {
        let Self { host, params, .. } = self;
        let (user, password, database) = (encode(&self.user), encode(&self.password), encode(&self.database));
        format!("mysql://{user}:{password}@{host}/{database}{params}")
    }

    /// Without the database.
    pub fn options(&self) -> OptsBuilder {
        let (host, port) = split(&self.host, 3306);
        let tls = self.params.strip_prefix("?ssl-mode=").and_then(|mode| ssl_mode(mode).ok()).flatten();
        OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(port)
            .user(Some(&self.user))
            .pass(Some(&self.password))
            .ssl_opts(tls)
            // If the port is forwarded, the socket path that the server reports may be another server's.
            .prefer_socket(false)
    }

    /// Whether to connect without TLS if the server has none.
    pub fn tls_is_optional(&self) -> bool {
        self.params.eq_ignore_ascii_case("?ssl-mode=preferred")
    }
}

/// How to use TLS, if at all.
fn ssl_mode(text: &str) -> anyhow::Result<Option<SslOpts>> {
    let verified = SslOpts::default();
    Ok(match text.to_ascii_lowercase().as_str() {
        "disabled" => None,
        "preferred" | "required" => Some(verified.with_danger_accept_invalid_certs(true)),
        // mysql_async 0.37 misses the error of rustls that it would ignore here: it verifies the name, too.
        "verify-ca" => Some(verified.with_danger_skip_domain_validation(true)),
        "verify-identity" => Some(verified),
        _ => bail!("ssl-mode must be disabled, preferred, required, verify-ca or verify-identity, not `{text}`"),
    })
}

impl FromStr for Redis {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        const FORM: &str = "a Redis URL has the form redis://[user:password@]host:port, or rediss://… for TLS";
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "redis" | "rediss")).context(FORM)?;
        ensure!(
            url.path().trim_matches('/').is_empty() && url.query().is_none(),
            "the shop uses several Redis databases, so the URL must not name one: {FORM}"
        );
        let (user, password) = (decode(url.username())?, decode(url.password().unwrap_or_default())?);
        let auth = match (user.as_str(), password.as_str()) {
            ("", "") => String::new(),
            // The user that Redis assumes if only a password is given.
            ("", password) => format!("default:{}@", encode(password)),
            (user, password) => format!("{}:{}@", encode(user), encode(password)),
        };
        Ok(Self { scheme: url.scheme().to_owned(), host: host_and_port(&url, 6379).context(FORM)?, auth })
    }
}

impl Redis {
    pub fn variables(&self) -> [(&'static str, String); 3] {
        [("redis_scheme", self.scheme.clone()), ("redis_host", self.host.clone()), ("redis_auth", self.auth.clone())]
    }

    pub fn from_variables(variables: &Variables) -> anyhow::Result<Option<Self>> {
        let Some(host) = variables.get("redis_host") else { return Ok(None) };
        let get = |name: &str, default| variables.get(name).map_or(default, String::as_str);
        let (scheme, auth) = (get("redis_scheme", "redis"), get("redis_auth", ""));
        Ok(Some(format!("{scheme}://{auth}{host}").parse().context("SPIN_VARIABLE_REDIS_…")?))
    }

    pub fn to_url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.auth, self.host)
    }
}

/// Leaves out the password.
impl fmt::Display for Mysql {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.host)
    }
}

impl fmt::Display for Redis {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.host)
    }
}

fn host_and_port(url: &Url, default: u16) -> anyhow::Result<String> {
    let host = url.host_str().filter(|host| !host.is_empty()).context("the URL has no host")?;
    Ok(format!("{host}:{}", url.port().unwrap_or(default)))
}

/// Splits `host:port`, also if the host is an IPv6 address in brackets.
pub fn split(address: &str, default: u16) -> (String, u16) {
    match address.rsplit_once(':') {
        Some((host, port)) => (host.trim_matches(['[', ']']).to_owned(), port.parse().unwrap_or(default)),
        None => (address.to_owned(), default),
    }
}

fn decode(text: &str) -> anyhow::Result<String> {
    let text = percent_decode_str(text).decode_utf8().context("a name or password in the URL is not UTF-8")?;
    Ok(text.into_owned())
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mysql_url_is_parsed_and_formatted() {
        let mysql: Mysql = "mysql://shop:p%40ss%2Fword@db.example:3307/mall?ssl-mode=required".parse().unwrap();
        assert_eq!(
            mysql,
            Mysql {
                host: "db.example:3307".into(),
                user: "shop".into(),
                password: "p@ss/word".into(),
                database: "mall".into(),
                params: "?ssl-mode=required".into(),
            }
        );
        assert_eq!(mysql.to_url().parse::<Mysql>().unwrap(), mysql);
        assert_eq!(mysql.variables()[2], ("mysql_password", "p@ss/word".to_owned()));
    }

    #[test]
    fn default_ports_are_added() {
        assert_eq!("mysql://a:b@h/d".parse::<Mysql>().unwrap().host, "h:3306");
        assert_eq!("redis://h".parse::<Redis>().unwrap().host, "h:6379");
        assert_eq!(split("[::1]:3306", 1), ("::1".to_owned(), 3306));
    }

    #[test]
    fn invalid_mysql_urls_are_refused() {
        for text in [
            "",
            "nonsense",
            "postgres://a:b@h/d",
            "mysql://a:b@h",
            "mysql://h/d",
            "mysql://a:b@h/d?pool=3",
            "mysql://a:b@h/d?ssl-mode=maybe",
            "mysql://a:b@h:port/d",
        ] {
            assert!(text.parse::<Mysql>().is_err(), "{text}");
        }
    }

    #[test]
    fn redis_urls_are_parsed() {
        let auth = |text: &str| text.parse::<Redis>().unwrap().auth;
        assert_eq!(auth("redis://h:1"), "");
        assert_eq!(auth("redis://:secret@h:1/"), "default:secret@");
        assert_eq!(auth("redis://shop:a%3Ab%40@h:1"), "shop:a%3Ab%40@");
        for text in ["redis://h:1", "rediss://default:secret@h:1"] {
            assert_eq!(text.parse::<Redis>().unwrap().to_url(), text);
        }
        for text in ["http://h:1", "rediss://", "redis://", "redis://h:1/3", "h:1"] {
            assert!(text.parse::<Redis>().is_err(), "{text}");
        }
    }

    #[test]
    fn variables_give_an_address() {
        let variables = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let none: Variables = variables(&[("mysql_user", "x")]);
        assert_eq!(Mysql::from_variables(&none).unwrap(), None);
        let some: Variables = variables(&[("mysql_host", "h:1"), ("mysql_password", "a@b")]);
        let mysql = Mysql::from_variables(&some).unwrap().unwrap();
        assert_eq!((mysql.user.as_str(), mysql.password.as_str()), ("mall", "a@b"));
        let redis = |pairs: &[(&str, &str)]| Redis::from_variables(&variables(pairs)).unwrap().unwrap().to_url();
        assert_eq!(redis(&[("redis_host", "h:1")]), "redis://h:1");
        let tls = [("redis_host", "h:1"), ("redis_auth", "a:b@"), ("redis_scheme", "rediss")];
        assert_eq!(redis(&tls), "rediss://a:b@h:1");
    }
}
