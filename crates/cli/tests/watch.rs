//! `cargo mall up --watch` on a copy of the project: changes are swapped in while a client keeps calling on one
//! connection. The copy has one function, so that little has to be compiled.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

const FUNCTION: &str = "functions/ops/src/lib.rs";
const ANSWER: &str = "status: \"ok\" }";

#[test]
fn a_change_is_swapped_in_without_dropping_a_connection() {
    // In the target folder, where what was compiled is kept for the next time.
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("watched");
    copy_project(&copy);
    let source = fs::read_to_string(copy.join(FUNCTION)).unwrap();
    assert!(source.contains(ANSWER), "{FUNCTION} has changed: this test replaces its answer");
    let save = |text: &str| fs::write(copy.join(FUNCTION), text).unwrap();
    let answer = |text: &str| source.replacen(ANSWER, &format!("status: \"{text}\" }}"), 1);

    let shop = Shop::start(&copy);
    assert!(shop.health().contains("\"ok\""));
    let client = Client::start(&shop.address);

    save(&answer("changed"));
    shop.wait("the change is live", || shop.health().contains("\"changed\""));

    save(&answer("broken").replacen("async fn health", "async fn", 1));
    shop.wait("the error is shown", || shop.said("error: ") && shop.said("the shop goes on as it was"));
    assert!(shop.health().contains("\"changed\""));

    fs::write(copy.join("migrations/9999_watched.sql"), "CREATE TABLE watched (id BIGINT PRIMARY KEY);\n").unwrap();
    save(&answer("mended"));
    shop.wait("the change is live", || shop.health().contains("\"mended\""));
    assert!(shop.said("1 migration ran."));

    fs::write(copy.join("crates/cli/src/main.rs"), "// changed\n").unwrap();
    shop.wait("a restart is asked for", || shop.said("crates/cli/src/main.rs is part of the tools: restart"));

    let answers = client.stop();
    assert!(answers.len() > 100, "{}", answers.len());
    assert!(answers.iter().all(|answer| answer.starts_with("HTTP/1.1 200")), "{answers:?}");
}

/// Copies what the shop is built from. Files that are the same stay as they are, so that they are not compiled anew.
fn copy_project(to: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    for name in ["crates", "examples", "functions", "migrations", "tests", "wit", ".cargo"] {
        copy(&root.join(name), &to.join(name));
    }
    for name in ["Cargo.lock", "Cargo.toml", "clippy.toml", "rust-toolchain.toml"] {
        copy(&root.join(name), &to.join(name));
    }
    let _ = fs::remove_file(to.join("migrations/9999_watched.sql"));
    let manifest = fs::read_to_string(root.join("spin.toml")).unwrap();
    fs::write(to.join("spin.toml"), with_one_function(&manifest, "ops")).unwrap();
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            copy(&from.join(&name), &to.join(&name));
        }
    } else {
        let content = fs::read(from).unwrap();
        if fs::read(to).ok().as_ref() != Some(&content) {
            fs::write(to, content).unwrap();
        }
    }
}

fn with_one_function(manifest: &str, name: &str) -> String {
    let mut manifest: toml::Table = manifest.parse().unwrap();
    manifest["component"].as_table_mut().unwrap().retain(|component, _| component == name);
    let triggers = manifest["trigger"].as_table_mut().unwrap();
    for (_, triggers) in triggers.iter_mut() {
        triggers.as_array_mut().unwrap().retain(|trigger| trigger["component"].as_str() == Some(name));
    }
    toml::to_string(&manifest).unwrap()
}

/// `cargo mall up --watch` in the copy.
struct Shop {
    process: Child,
    /// Host and port.
    address: String,
    output: Arc<Mutex<String>>,
}

impl Drop for Shop {
    fn drop(&mut self) {
        // It stops its databases when it is asked to.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

impl Shop {
    fn start(copy: &Path) -> Self {
        let state: PathBuf = copy.join(".mall");
        let _ = fs::remove_dir_all(&state);
        let mut command = Command::new(env!("CARGO_BIN_EXE_mall"));
        command.args(["up", "--watch", "--no-demo", "--listen", "127.0.0.1:0"]).current_dir(copy);
        // It is a shop of its own, and so are its builds.
        for name in
            ["MALL_TEST", "MALL_MYSQL_URL", "MALL_REDIS_URL", "MALL_MANIFEST", "MALL_TEST_TIMES", "RUSTC_BOOTSTRAP"]
        {
            command.env_remove(name);
        }
        command.env("MALL_DIR", state).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        collect(process.stdout.take().unwrap(), output.clone());
        collect(process.stderr.take().unwrap(), output.clone());
        let mut shop = Self { process, address: String::new(), output };
        shop.wait("it serves", || shop.said("wasmall is serving at http://"));
        let output = shop.output.lock().unwrap().clone();
        let (_, rest) = output.split_once("wasmall is serving at http://").unwrap();
        shop.address = rest.lines().next().unwrap().trim().to_owned();
        shop
    }

    fn said(&self, text: &str) -> bool {
        self.output.lock().unwrap().contains(text)
    }

    fn health(&self) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        ask(&mut stream)
    }

    fn wait(&self, what: &str, holds: impl Fn() -> bool) {
        let begun = Instant::now();
        while !holds() {
            // The first time, everything is compiled.
            let output = || self.output.lock().unwrap().clone();
            assert!(begun.elapsed() < Duration::from_secs(600), "never: {what}\n{}", output());
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn collect(from: impl Read + Send + 'static, to: Arc<Mutex<String>>) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut output = to.lock().unwrap();
            output.push_str(&line);
            output.push('\n');
        }
    });
}

/// A client that calls again and again on one connection.
struct Client {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Client {
    fn start(address: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut stream = TcpStream::connect(address).unwrap();
        let thread = thread::spawn({
            let stop = stop.clone();
            move || {
                let mut answers = Vec::new();
                while !stop.load(Relaxed) {
                    answers.push(ask(&mut stream));
                    thread::sleep(Duration::from_millis(5));
                }
                answers
            }
        });
        Self { stop, thread }
    }

    fn stop(self) -> Vec<String> {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap()
    }
}

/// Asks `/health`, and returns the whole reply. The connection stays open.
fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: shop.example\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the connection was closed after {head:?}");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}
