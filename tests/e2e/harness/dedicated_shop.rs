use std::io::{BufRead, BufReader, Read};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use serde_json::Value;

use super::{FakeService, Servers, Shop, environment, eventually, unique};

const LIMITS: [&str; 7] = [
    "SPIN_VARIABLE_LOGIN_RATE",
    "SPIN_VARIABLE_LOGIN_BURST",
    "SPIN_VARIABLE_REGISTER_RATE",
    "SPIN_VARIABLE_REGISTER_BURST",
    "SPIN_VARIABLE_WRITE_RATE",
    "SPIN_VARIABLE_WRITE_BURST",
    "SPIN_VARIABLE_MAX_PENDING_ORDERS",
];

/// A shop for one test: with other settings, or to be broken. Stopped when dropped.
pub struct DedicatedShop {
    shop: Shop,
    process: Process,
}

struct Process {
    child: Child,
    folder: PathBuf,
    lines: Arc<Mutex<Vec<String>>>,
}

pub struct ShopBuilder {
    mysql: String,
    redis: String,
    /// The database of its users, if not that of the run.
    users_mysql: Option<String>,
    variables: Vec<(String, String)>,
    runtime: &'static str,
    /// With the default limits, instead of those that many tests can share.
    default_limits: bool,
    /// Another `spin.toml`.
    manifest: Option<String>,
    demo: bool,
}

impl DedicatedShop {
    /// On the databases of the run.
    pub fn builder() -> ShopBuilder {
        let (mysql, redis) = (environment("MALL_MYSQL_URL"), environment("MALL_REDIS_URL"));
        let variables = Vec::new();
        ShopBuilder {
            mysql,
            redis,
            users_mysql: None,
            variables,
            runtime: "embedded",
            default_limits: false,
            manifest: None,
            demo: false,
        }
    }

    /// On these servers.
    pub fn on(servers: &Servers) -> ShopBuilder {
        let (mysql, redis) = (servers.mysql_url().to_owned(), servers.redis_url());
        ShopBuilder { users_mysql: Some(mysql.clone()), ..DedicatedShop::builder().mysql(&mysql).redis(&redis) }
    }

    /// Ends it as a power cut does.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// The most memory that it has had so far, in MiB.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.child.id())).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
    }

    /// Whether it has printed this text.
    pub fn says(&self, text: &str) -> bool {
        self.process.lines.lock().expect("a lock").iter().any(|line| line.contains(text))
    }

    /// What its functions have logged so far: the lines that are JSON objects.
    pub fn log(&self) -> Vec<Value> {
        let lines = self.process.lines.lock().expect("a lock");
        let objects = lines.iter().filter_map(|line| serde_json::from_str::<Value>(&line[line.find('{')?..]).ok());
        objects.filter(Value::is_object).collect()
    }
}

impl Deref for DedicatedShop {
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
            eprintln!("output of the dedicated shop:\n{lines}");
        }
    }
}

impl ShopBuilder {
    /// A variable of `spin.toml`.
    pub fn variable(mut self, name: &str, value: impl ToString) -> Self {
        let name = format!("SPIN_VARIABLE_{}", name.to_uppercase());
        self.variables.push((name, value.to_string()));
        self
    }

    /// With a variable of its process's environment.
    pub fn environment(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.push((name.to_owned(), value.to_string()));
        self
    }

    /// With this e-mail service.
    pub fn with_mail(self, mail: &FakeService) -> Self {
        let shop = self.variable("mail_url", &mail.url).variable("mail_key", "key-of-the-shop");
        shop.variable("mail_from", "shop@shop.example")
    }

    /// With the default limits, instead of those that many tests can share.
    pub fn with_default_limits(mut self) -> Self {
        self.default_limits = true;
        self
    }

    /// In the installed Spin CLI.
    pub fn in_spin(mut self) -> Self {
        self.runtime = "spin";
        self
    }

    /// With the demo data.
    pub fn with_demo(mut self) -> Self {
        self.demo = true;
        self
    }

    /// With a changed `spin.toml`.
    pub fn replace_in_manifest(mut self, from: &str, to: &str) -> Self {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let text = std::fs::read_to_string(format!("{root}/spin.toml")).expect("spin.toml");
        assert!(text.contains(from), "spin.toml has no {from}");
        // Paths are relative to the original.
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

    pub async fn start(mut self) -> DedicatedShop {
        let folder = std::env::temp_dir().join(format!("mall-{}", unique()));
        if let Some(text) = self.manifest.take() {
            let file = folder.join("spin.toml");
            std::fs::create_dir(&folder).and_then(|()| std::fs::write(&file, text)).expect("a changed spin.toml");
            self.variables.push(("MALL_MANIFEST".to_owned(), file.display().to_string()));
        }
        // All tests sign in from one address, and some write and order a lot.
        let raised = LIMITS.into_iter().filter(|_| !self.default_limits).map(|name| (name, "10000"));
        let mut command = Command::new(environment("MALL_BIN"));
        command
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .args(["up", "--listen", "127.0.0.1:0", "--runtime", self.runtime])
            .args(["--mysql", &self.mysql, "--redis", &self.redis])
            .args(self.demo.then_some("--demo"))
            // Its state, with its own secret.
            .env("MALL_DIR", &folder)
            // On shared databases its workers must do the same as those of the running shop.
            .env("SPIN_VARIABLE_AUTO_SHIP", "false")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for name in LIMITS {
            command.env_remove(name);
        }
        let mut child = command.envs(raised).envs(self.variables).spawn().expect("MALL_BIN runs");
        let lines = Arc::default();
        let (sender, address) = mpsc::channel();
        read_output(child.stdout.take(), &lines, sender.clone());
        read_output(child.stderr.take(), &lines, sender);
        // From here on the process ends with the test, even if it never serves.
        let mut process = Process { child, folder, lines };
        // It may have to wait for a build that runs beside the tests.
        let base = eventually("the dedicated shop prints its address", Duration::from_secs(120), async || {
            if let Ok(Some(status)) = process.child.try_wait() {
                // Its last lines are still in the pipes.
                std::thread::sleep(Duration::from_millis(100));
                panic!("the shop ended instead of serving: {status}");
            }
            address.try_recv().ok()
        })
        .await;
        let shop = DedicatedShop { shop: Shop::own(&base, self.users_mysql.as_deref()), process };
        eventually("the dedicated shop answers", Duration::from_secs(30), async || {
            let health = shop.get("/health").unchecked().try_send().await;
            health.is_ok_and(|reply| reply.status == 200).then_some(())
        })
        .await;
        shop
    }
}

/// Reads all output, so that the shop never blocks on a full pipe; sends the address that it prints.
fn read_output(
    output: Option<impl Read + Send + 'static>,
    lines: &Arc<Mutex<Vec<String>>>,
    sender: mpsc::Sender<String>,
) {
    let lines = Arc::clone(lines);
    let output = output.expect("a pipe");
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(start) = line.find("http://127.0.0.1:") {
                let (scheme, rest) = line[start..].split_at("http://".len());
                let is_address = |c: &char| c.is_ascii_digit() || ".:".contains(*c);
                let address: String = rest.chars().take_while(is_address).collect();
                let _ = sender.send(format!("{scheme}{}", address.trim_end_matches('.')));
            }
            if let Ok(mut lines) = lines.lock() {
                lines.push(line);
            }
        }
    });
}
