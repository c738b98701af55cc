use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mysql_async::{Conn, Opts, OptsBuilder, prelude::Queryable};
use redis::aio::MultiplexedConnection;

use super::{environment, eventually, unique};

/// A database and a Redis for one test: for shops whose workers have other settings, and to be broken. Removed when
/// dropped.
pub struct Servers {
    /// The URL of the test's database, on the MySQL of the run.
    mysql: String,
    database: String,
    folder: PathBuf,
    port: u16,
    /// Where Redis speaks TLS, too.
    tls_port: Option<u16>,
    redis: Option<Child>,
}

impl Servers {
    pub async fn start() -> Self {
        Self::start_on(None).await
    }

    /// With a Redis that speaks TLS, too: at [`Servers::redis_tls_url`], with a certificate of [`Servers::authority`].
    pub async fn start_with_tls() -> Self {
        Self::start_on(Some(free_port())).await
    }

    async fn start_on(tls_port: Option<u16>) -> Self {
        let given = environment("MALL_MYSQL_URL");
        let (server, database) = given.rsplit_once('/').expect("a database in the URL");
        let (name, parameters) =
            database.split_once('?').map_or((database, String::new()), |(name, rest)| (name, format!("?{rest}")));
        let database = format!("{name}_{}", unique());
        let mut connection = connect(&given).await.expect("MySQL");
        let create = format!("CREATE DATABASE `{database}` CHARACTER SET utf8mb4");
        connection.query_drop(create).await.expect("a new database");
        let folder = std::env::temp_dir().join(format!("mall-redis-{}", unique()));
        std::fs::create_dir(&folder).expect("a folder");
        let mysql = format!("{server}/{database}{parameters}");
        let mut servers = Self { mysql, database, folder, port: free_port(), tls_port, redis: None };
        if tls_port.is_some() {
            servers.write_certificates();
        }
        servers.start_redis().await;
        servers
    }

    pub fn mysql_url(&self) -> &str {
        &self.mysql
    }

    pub fn redis_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn redis_tls_url(&self) -> String {
        format!("rediss://127.0.0.1:{}", self.tls_port.expect("a Redis with TLS"))
    }

    /// The file of the certificate authority.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    fn write_certificates(&self) {
        const KEY: [&str; 6] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days"];
        let openssl = |arguments: &[&str]| {
            let mut command = Command::new("openssl");
            command.args(["req", "-x509"]).args(KEY).arg("2").args(arguments).current_dir(&self.folder);
            let output = command.output().expect("openssl runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        openssl(&["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=An authority"]);
        let signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE"];
        let redis = ["-keyout", "redis.key", "-out", "redis.pem", "-subj", "/CN=Redis"];
        openssl(&[&signed[..], &redis, &["-addext", "subjectAltName=IP:127.0.0.1"]].concat());
    }

    /// Redis with an append-only file, which survives a restart.
    pub async fn start_redis(&mut self) {
        let tls = |port: &u16| {
            let file = |name| self.folder.join(name).display().to_string();
            let options = [("--tls-port", port.to_string()), ("--tls-auth-clients", "no".to_owned())];
            let files = [("--tls-cert-file", file("redis.pem")), ("--tls-key-file", file("redis.key"))];
            options.into_iter().chain(files).flat_map(|(name, value)| [name.to_owned(), value])
        };
        let tls: Vec<_> = self.tls_port.iter().flat_map(tls).collect();
        let start = |program: &str| {
            Command::new(program)
                .args(&tls)
                .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
                .args(["--save", "", "--appendonly", "yes", "--notify-keyspace-events", "Ex"])
                .arg("--dir")
                .arg(&self.folder)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
        };
        self.redis = Some(start("redis-server").or_else(|_| start("valkey-server")).expect("a Redis"));
        eventually("Redis answers", Duration::from_secs(10), async || self.try_redis().await.ok()).await;
    }

    /// Ends it as a power cut does.
    pub fn kill_redis(&mut self) {
        if let Some(mut redis) = self.redis.take() {
            let _ = redis.kill();
            let _ = redis.wait();
        }
    }

    pub async fn redis(&self) -> MultiplexedConnection {
        self.try_redis().await.expect("Redis")
    }

    async fn try_redis(&self) -> redis::RedisResult<MultiplexedConnection> {
        let mut connection = redis::Client::open(self.redis_url())?.get_multiplexed_async_connection().await?;
        redis::cmd("PING").query_async::<()>(&mut connection).await?;
        Ok(connection)
    }

    pub async fn mysql(&self) -> Conn {
        connect(&self.mysql).await.expect("MySQL")
    }

    /// Moves the order's expiry to the past, and wakes the timer.
    pub async fn expire_order(&self, order_no: &str) {
        const ORDER: &str = "UPDATE orders SET expires_at = created_at WHERE order_no = ?";
        const TIMER: &str = "UPDATE jobs SET due_at = 0 WHERE queue = 'timer' AND state = 'queued' AND payload LIKE ?";
        let mut mysql = self.mysql().await;
        mysql.exec_drop(ORDER, (order_no,)).await.expect("an order");
        mysql.exec_drop(TIMER, (format!("%{order_no}%"),)).await.expect("its timer");
        let mut redis = self.redis().await;
        let wake = redis::cmd("PUBLISH").arg("__keyevent@1__:expired").arg("due").query_async(&mut redis).await;
        let _: i64 = wake.expect("the message is published");
    }

    /// Gives the user an address that counts as verified, without a mail.
    pub async fn set_email(&self, username: &str, email: &str) {
        let set = "UPDATE users SET email = ?, email_verified = 1 WHERE username = ?";
        self.mysql().await.exec_drop(set, (email, username)).await.expect("a user");
    }

    /// The checksum of each table but those that workers change by themselves: to tell that nothing has changed.
    pub async fn checksums(&self) -> Vec<(String, i64)> {
        const TABLES: &str = "
            SELECT CAST(table_name AS CHAR) FROM information_schema.tables
            WHERE table_schema = DATABASE() AND table_name NOT IN ('jobs', 'messages') ORDER BY table_name";
        let mut mysql = self.mysql().await;
        let tables: Vec<String> = mysql.query(TABLES).await.expect("the tables");
        let checksum = format!("CHECKSUM TABLE {}", tables.join(", "));
        mysql.query(checksum).await.expect("their checksums")
    }

    /// Makes the time to pay of all unpaid orders end now, and wakes the timer.
    pub async fn expire_all_orders(&self) {
        const ORDERS: &str = "UPDATE orders SET expires_at = created_at WHERE status = 'pending'";
        const TIMER: &str = "UPDATE jobs SET due_at = 0 WHERE queue = 'timer' AND state = 'queued'";
        let mut mysql = self.mysql().await;
        for sql in [ORDERS, TIMER] {
            mysql.query_drop(sql).await.expect("orders and their timers");
        }
        self.wake("timer").await;
    }

    /// Wakes the worker of a queue.
    pub async fn wake(&self, queue: &str) {
        let mut redis = self.redis().await;
        let wake = redis::cmd("PUBLISH").arg(format!("mall:{queue}")).arg("test").query_async(&mut redis).await;
        let _: i64 = wake.expect("the message is published");
    }

    /// A single number.
    pub async fn number(&self, sql: &str) -> i64 {
        let number = self.mysql().await.query_first(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        number.unwrap_or_else(|| panic!("{sql}: no row"))
    }
}

/// Without the options of the URL, such as those of TLS: it is a server on this machine.
async fn connect(url: &str) -> mysql_async::Result<Conn> {
    let options = Opts::from_url(url.split('?').next().unwrap_or_default())?;
    Conn::new(OptsBuilder::from_opts(options).prefer_socket(false)).await
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port()
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.kill_redis();
        let _ = std::fs::remove_dir_all(&self.folder);
        let (database, url) = (self.database.clone(), environment("MALL_MYSQL_URL"));
        // A new runtime: that of the test has ended.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(drop_database(&url, &database)).map_err(std::io::Error::other)
        });
        if let Ok(Err(error)) = dropped.join() {
            eprintln!("the database was not removed: {error}");
        }
    }
}

/// Drops a database. Other connections to it are killed first, perhaps left by the proxy of a finished test: DROP would
/// wait for their transactions.
async fn drop_database(url: &str, database: &str) -> mysql_async::Result<()> {
    let mut connection = connect(url).await?;
    let others = "SELECT id FROM information_schema.processlist WHERE db = ?";
    for id in connection.exec::<u64, _, _>(others, (database,)).await? {
        // The connection may be closed by now.
        let _ = connection.query_drop(format!("KILL {id}")).await;
    }
    connection.query_drop(format!("DROP DATABASE `{database}`")).await
}

/// Runs `cargo mall ledger check`: whether it found the books in order, and what it printed.
pub fn ledger_check(servers: &Servers) -> (bool, String) {
    let done = Command::new(environment("MALL_BIN"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["ledger", "check", "--mysql", servers.mysql_url(), "--redis", &servers.redis_url()])
        .output()
        .expect("MALL_BIN runs");
    let printed = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8_lossy(&printed).into_owned())
}
