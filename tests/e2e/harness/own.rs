use std::io::{BufRead, BufReader, Read};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use serde_json::Value;

use super::{Servers, Service, Shop, environment, eventually, unique};

/// A shop for one test, on the databases of the run: with other settings, or to be broken. Gone when dropped.
pub struct OwnShop {
    shop: Shop,
    process: Process,
}

struct Process {
    child: Child,
    folder: PathBuf,
    lines: Arc<Mutex<Vec<String>>>,
}

pub struct Settings {
    mysql: String,
    redis: String,
    /// Where its people are, if not in the databases of the run.
    people: Option<String>,
    variables: Vec<(String, String)>,
    runtime: &'static str,
    /// As many logins a second as a shop allows by default.
    usual_limits: bool,
    /// Another `spin.toml`.
    manifest: Option<String>,
}

impl OwnShop {
    pub fn with() -> Settings {
        let (mysql, redis) = (environment("MALL_MYSQL_URL"), environment("MALL_REDIS_URL"));
        let variables = Vec::new();
        Settings { mysql, redis, people: None, variables, runtime: "embedded", usual_limits: false, manifest: None }
    }

    /// On servers of its own.
    pub fn on(servers: &Servers) -> Settings {
        let (mysql, redis) = (servers.mysql_url().to_owned(), servers.redis_url());
        Settings { people: Some(mysql.clone()), ..OwnShop::with().mysql(&mysql).redis(&redis) }
    }

    /// Ends it as a power cut does.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// What its functions have logged so far: the lines that are JSON objects.
    pub fn log(&self) -> Vec<Value> {
        let lines = self.process.lines.lock().expect("a lock");
        let objects = lines.iter().filter_map(|line| serde_json::from_str::<Value>(&line[line.find('{')?..]).ok());
        objects.filter(Value::is_object).collect()
    }
}

impl Deref for OwnShop {
    type Target = Shop;

    fn deref(&self) -> &Shop {
        &self.shop
    }
}

impl Process {
    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
        if std::thread::panicking() {
            let lines = self.lines.lock().map(|lines| lines.join("\n")).unwrap_or_default();
            eprintln!("the test's own shop said:\n{lines}");
        }
    }
}

impl Settings {
    /// A variable of `spin.toml`.
    pub fn variable(mut self, name: &str, value: impl ToString) -> Self {
        let name = format!("SPIN_VARIABLE_{}", name.to_uppercase());
        self.variables.push((name, value.to_string()));
        self
    }

    /// With an account at this e-mail service.
    pub fn mailing(self, mail: &Service) -> Self {
        let shop = self.variable("mail_url", &mail.url).variable("mail_key", "key-of-the-shop");
        shop.variable("mail_from", "shop@shop.example")
    }

    /// With the limits of logins that a shop has by default.
    pub fn with_usual_limits(mut self) -> Self {
        self.usual_limits = true;
        self
    }

    /// In the installed Spin CLI.
    pub fn in_spin(mut self) -> Self {
        self.runtime = "spin";
        self
    }

    /// With this in the checkout's `spin.toml` replaced.
    pub fn replacing(mut self, from: &str, to: &str) -> Self {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let text = std::fs::read_to_string(format!("{root}/spin.toml")).expect("spin.toml");
        assert!(text.contains(from), "spin.toml has no {from}");
        // The copy lies elsewhere.
        let text = text.replace(from, to).replace("\"target/", &format!("\"{root}/target/"));
        self.manifest = Some(text);
        self
    }

    pub fn mysql(mut self, url: &str) -> Self {
        self.mysql = url.to_owned();
        self
    }

    pub fn redis(mut self, url: &str) -> Self {
        self.redis = url.to_owned();
        self
    }

    pub async fn start(mut self) -> OwnShop {
        let folder = std::env::temp_dir().join(format!("mall-{}", unique()));
        if let Some(text) = self.manifest.take() {
            let file = folder.join("spin.toml");
            std::fs::create_dir(&folder).and_then(|()| std::fs::write(&file, text)).expect("a spin.toml of its own");
            self.variables.push(("MALL_MANIFEST".to_owned(), file.display().to_string()));
        }
        // All tests sign in from one address, at all their shops.
        let limits = [("SPIN_VARIABLE_LOGIN_RATE", "10000"), ("SPIN_VARIABLE_LOGIN_BURST", "10000")];
        let limits = limits.into_iter().filter(|_| !self.usual_limits);
        let mut child = Command::new(environment("MALL_BIN"))
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .args(["up", "--listen", "127.0.0.1:0", "--no-demo", "--runtime", self.runtime])
            .args(["--mysql", &self.mysql, "--redis", &self.redis])
            // What it keeps for itself, its secret among it.
            .env("MALL_DIR", &folder)
            // On the databases of the run its workers do what the running shop's do.
            .env("SPIN_VARIABLE_AUTO_SHIP", "false")
            .env_remove("SPIN_VARIABLE_LOGIN_RATE")
            .env_remove("SPIN_VARIABLE_LOGIN_BURST")
            .envs(limits)
            .envs(self.variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("MALL_BIN runs");
        let lines = Arc::default();
        let (found, address) = mpsc::channel();
        listen(child.stdout.take(), &lines, found.clone());
        listen(child.stderr.take(), &lines, found);
        // From here on it ends with the test, even if it never serves.
        let mut process = Process { child, folder, lines };
        // It may have to wait for a build that goes on beside the tests.
        let base = eventually("a shop of one's own says where it is", Duration::from_secs(120), async || {
            if let Ok(Some(status)) = process.child.try_wait() {
                // What it said last is still on its way through the pipes.
                std::thread::sleep(Duration::from_millis(100));
                panic!("the shop ended instead of serving: {status}");
            }
            address.try_recv().ok()
        })
        .await;
        let own = OwnShop { shop: Shop::own(&base, self.people.as_deref()), process };
        eventually("a shop of one's own answers", Duration::from_secs(30), async || {
            let health = own.get("/health").lenient().attempt().await;
            health.is_ok_and(|reply| reply.status == 200).then_some(())
        })
        .await;
        own
    }
}

/// Reads on for as long as the shop writes, so that it never waits for a reader.
fn listen(output: Option<impl Read + Send + 'static>, lines: &Arc<Mutex<Vec<String>>>, found: mpsc::Sender<String>) {
    let lines = Arc::clone(lines);
    let output = output.expect("a pipe");
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(start) = line.find("http://127.0.0.1:") {
                let (scheme, rest) = line[start..].split_at("http://".len());
                let is_part = |c: &char| c.is_ascii_digit() || ".:".contains(*c);
                let place: String = rest.chars().take_while(is_part).collect();
                let _ = found.send(format!("{scheme}{}", place.trim_end_matches('.')));
            }
            if let Ok(mut lines) = lines.lock() {
                lines.push(line);
            }
        }
    });
}
