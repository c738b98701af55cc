//! Applications for the tests, servers for them to use, and an HTTP client.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use runtime::{App, Error, Limits, MAX_CONNECTIONS_PER_ADDRESS, Options};

/// The components of `tests/guests`, built once, and one in WebAssembly text.
pub fn components() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--release", "--quiet", "--target", "wasm32-wasip2", "--target-dir"])
            .arg(&target)
            .current_dir(guests)
            .status()
            .expect("cargo runs");
        assert!(built.success(), "the components of tests/guests don't build: rustup target add wasm32-wasip2?");
        let folder = target.join("wasm32-wasip2/release");
        let calculator = wat::parse_str(include_str!("calculator.wat")).expect("it is WebAssembly");
        std::fs::write(folder.join("calculator.wasm"), calculator).expect("a component is written");
        folder
    })
}

/// An application's folder, with compiled components shared by all tests.
pub struct Folder(pub tempfile::TempDir);

pub fn options(folder: &Folder, manifest: &str) -> Options {
    let path = folder.0.path().join("spin.toml");
    let components = components().display().to_string();
    let manifest = format!(
        "spin_manifest_version = 2\n[application]\nname = \"test\"\n{}",
        manifest.replace("@/", &format!("{components}/"))
    );
    std::fs::write(&path, manifest).expect("a manifest is written");
    Options {
        manifest: path,
        listen: "127.0.0.1:0".parse().expect("an address"),
        variables: BTreeMap::new(),
        cache: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")),
        max_connections: None,
        max_connections_per_address: MAX_CONNECTIONS_PER_ADDRESS,
    }
}

pub fn folder() -> Folder {
    Folder(tempfile::tempdir().expect("a folder"))
}

/// Starts a manifest in which `@/` stands for the folder of the components.
pub async fn start(manifest: &str) -> App {
    start_with(manifest, Limits::default()).await
}

pub async fn start_with(manifest: &str, limits: Limits) -> App {
    start_changed(manifest, limits, |_| {}).await
}

/// Starts it with other options.
pub async fn start_changed(manifest: &str, limits: Limits, change: impl FnOnce(&mut Options)) -> App {
    let _ = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(|| LogWriter(tracing_subscriber::fmt::TestWriter::new()))
        .with_max_level(tracing::Level::WARN)
        .try_init();
    let folder = folder();
    let mut options = options(&folder, manifest);
    change(&mut options);
    runtime::start_with(options, limits).await.expect("it starts")
}

/// The log of all tests.
static LOG: Mutex<String> = Mutex::new(String::new());

/// Writes to the log, and to the output of the running test.
struct LogWriter(tracing_subscriber::fmt::TestWriter);

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().expect("the log").push_str(&String::from_utf8_lossy(bytes));
        self.0.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// The lines of the runtime's log that contain `text`.
pub fn logged(text: &str) -> Vec<String> {
    LOG.lock().expect("the log").lines().filter(|line| line.contains(text)).map(String::from).collect()
}

pub async fn failure(manifest: &str) -> String {
    let folder = folder();
    let error: Error = match runtime::start(options(&folder, manifest)).await {
        Ok(_) => panic!("it starts"),
        Err(error) => error,
    };
    let text = error.to_string();
    assert!(!text.contains('\n'), "more than one line: {text}");
    text
}

/// One component for all paths, with further settings.
pub fn web(settings: &str) -> String {
    format!(
        r#"
        [[trigger.http]]
        route = "/..."
        component = "web"
        [component.web]
        source = "@/web.wasm"
        dependencies = {{ "test:math/calculator@0.1.0" = {{ component = "calculator" }} }}
        {settings}
        [component.calculator]
        source = "@/calculator.wasm"
        "#
    )
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// The status line and the headers.
    pub head: String,
    pub body: String,
}

pub fn request(to: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> std::io::Result<Response> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let length = body.len();
    // HTTP/1.0: the answer is not chunked and ends with the connection.
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: shop.example\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    // The guests' debug output has type names, which the tests leave out.
    let body = ["RedisResult::", "MysqlError(Error::", "DbDataType::", "DbValue::", "Error::"]
        .iter()
        .fold(body.to_string(), |body, name| body.replace(name, ""));
    Ok(Response { status, head: head.to_string(), body })
}

pub async fn send(app: &App, method: &'static str, path: &str, body: &str) -> Response {
    let (to, path, body) = (app.local_addr(), path.to_string(), body.to_string());
    tokio::task::spawn_blocking(move || request(to, method, &path, "", &body))
        .await
        .expect("no panic")
        .expect("an answer")
}

pub async fn get(app: &App, path: &str) -> Response {
    send(app, "GET", path, "").await
}

/// Waits until `check` holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let begun = Instant::now();
    while !check().await {
        assert!(begun.elapsed() < Duration::from_secs(15), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A database server, started for a test.
pub struct Server {
    child: Option<Child>,
    pub port: u16,
    folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn program(names: &[&str]) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
    let mut found = std::env::split_paths(&path).flat_map(|dir| names.iter().map(move |name| dir.join(name)));
    found
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("these tests need one of {names:?}: apt-get install redis-server mariadb-server"))
}

impl Server {
    pub fn redis() -> Self {
        let mut server = Self { child: None, port: free_port(), folder: tempfile::tempdir().expect("a folder") };
        server.start_redis();
        server
    }

    /// Starts it, on the same port as before.
    pub fn start_redis(&mut self) {
        let child = Command::new(program(&["redis-server", "valkey-server"]))
            .args(["--port", &self.port.to_string(), "--save", "", "--bind", "127.0.0.1"])
            .args(["--notify-keyspace-events", "Ex", "--dir"])
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("Redis runs");
        self.child = Some(child);
        self.wait(|port| redis_command(port, "PING").contains("PONG"));
    }

    pub fn mysql() -> Self {
        let mut server = Self { child: None, port: free_port(), folder: tempfile::tempdir().expect("a folder") };
        let data = server.folder.path().join("data");
        let installed = Command::new(program(&["mariadb-install-db"]))
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--user=root"])
            .arg(format!("--datadir={}", data.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("MariaDB is set up");
        assert!(installed.success());
        // Connections from this machine would match MariaDB's anonymous user before any other.
        let init = "DROP USER IF EXISTS ''@'localhost';\n\
            CREATE DATABASE IF NOT EXISTS shop CHARACTER SET utf8mb4;\n\
            CREATE DATABASE IF NOT EXISTS other;\n\
            CREATE USER IF NOT EXISTS 'mall'@'%' IDENTIFIED BY 'p@ss';\n\
            GRANT ALL ON *.* TO 'mall'@'%';\n";
        std::fs::write(server.folder.path().join("init.sql"), init).expect("a script is written");
        server.start_mysql();
        server
    }

    pub fn start_mysql(&mut self) {
        let folder = self.folder.path();
        let child = Command::new(program(&["mariadbd"]))
            .args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1", "--skip-log-bin"])
            .args(["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M"])
            .arg(format!("--port={}", self.port))
            .arg(format!("--datadir={}", folder.join("data").display()))
            .arg(format!("--socket={}", folder.join("socket").display()))
            .arg(format!("--init-file={}", folder.join("init.sql").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("MariaDB runs");
        self.child = Some(child);
        self.wait(|port| {
            let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
            stream.read(&mut [0; 16]).is_ok_and(|read| read > 0)
        });
    }

    fn wait(&self, ready: impl Fn(u16) -> bool) {
        let begun = Instant::now();
        while !ready(self.port) {
            assert!(begun.elapsed() < Duration::from_secs(30), "a server doesn't answer");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn redis_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn mysql_url(&self) -> String {
        format!("mysql://mall:p%40ss@127.0.0.1:{}/shop", self.port)
    }
}

/// Redis' unparsed reply to a command.
pub fn redis_command(port: u16, command: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return String::new() };
    stream.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
    let _ = write!(stream, "{command}\r\nQUIT\r\n");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}
