//! Starts a MySQL or MariaDB server for the shop.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail, ensure};

use super::server::{Durability, Server, free_port, last_error, stop_leftover, version_in, version_line};
use crate::{
    address::Mysql,
    database,
    process::{ChildProcess, find_program},
    project::{Project, private_folder, random_hex, write_private},
};

const USER: &str = "mall";
const DATABASE: &str = "mall";

/// Prefers MariaDB, since AppArmor profiles often confine MySQL to /var/lib.
pub fn program() -> Option<PathBuf> {
    find_program(&["mariadbd", "mysqld"])
}

#[derive(Clone, Copy, PartialEq)]
enum Product {
    MariaDb,
    MySql,
}

impl Product {
    fn name(self) -> &'static str {
        match self {
            Self::MariaDb => "MariaDB",
            Self::MySql => "MySQL",
        }
    }
}

pub async fn start(project: &Project, durability: Durability) -> anyhow::Result<(Server, Mysql)> {
    let program = program().context("no MySQL or MariaDB server on this machine")?;
    let line = version_line(&program)?;
    let product = if line.contains("MariaDB") { Product::MariaDb } else { Product::MySql };
    let name = format!("{} {}", product.name(), version_in(&line));
    let folder = project.state.clone();
    stop_leftover(&folder, "mysql");

    let data = folder.join("mysql");
    let usual = if data.exists() { Duration::from_secs(2) } else { Duration::from_secs(8) };
    let step = progress::step_of(&format!("Starting {name}"), Some(usual));
    initialise(&folder, &data, &program, product).await?;
    let password = project.secret("mysql-password")?;
    let init_file = folder.join("mysql-init.sql");
    write_private(&init_file, init_sql(product, &password)?.as_bytes())?;

    // Another process may take the port before the server does.
    let mut port_taken = None;
    for _ in 0..3 {
        let port = free_port()?;
        let new_command = server_command(product, program.clone(), data.clone(), init_file.clone(), port, durability);
        let mut server = Server::start(name.clone(), &folder, "mysql", port, new_command)?;
        let mysql = Mysql {
            host: format!("127.0.0.1:{port}"),
            user: USER.into(),
            password: password.clone(),
            database: DATABASE.into(),
            params: String::new(),
        };
        match server.ready(|| async { database::reachable(&mysql).await.is_ok() }).await {
            Ok(()) => {
                step.done(&format!("{name} on 127.0.0.1:{port}, data in {}", data.display()));
                return Ok((server, mysql));
            }
            Err(error) if error.to_string().contains("Bind on") || error.to_string().contains("port") => {
                port_taken = Some(error)
            }
            Err(error) => return Err(error),
        }
    }
    Err(port_taken.context("MySQL")?)
}

/// Creates the data folder. It is moved to its place when it is complete.
async fn initialise(folder: &Path, data: &Path, program: &Path, product: Product) -> anyhow::Result<()> {
    let creator_file = data.join("mall-made-by");
    if let Ok(creator) = fs::read_to_string(&creator_file) {
        ensure!(
            creator == product.name(),
            "{} was created by {creator}, but this machine has {}: install {creator}, or delete the data with --fresh",
            data.display(),
            product.name()
        );
        return Ok(());
    }
    ensure!(!data.exists(), "{} was not created by this command: move it away", data.display());

    let temporary = folder.join("mysql.new");
    if temporary.exists() {
        fs::remove_dir_all(&temporary).with_context(|| format!("{} can't be removed", temporary.display()))?;
    }
    private_folder(&temporary)?;
    let log = folder.join("mysql-install.log");
    let mut command = match product {
        Product::MariaDb => {
            let installer = find_program(&["mariadb-install-db", "mysql_install_db"])
                .context("mariadb-install-db is missing: install MariaDB's whole server package")?;
            let mut command = Command::new(installer);
            command.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=socket"]);
            // Adds no entries for this machine's host name: the server resolves none, and would warn of them.
            command.arg("--cross-bootstrap");
            command
        }
        Product::MySql => {
            let mut command = Command::new(program);
            command.args(["--no-defaults", "--initialize-insecure"]);
            command
        }
    };
    command.arg(format!("--datadir={}", temporary.display())).args(as_root());
    let file = fs::File::create(&log)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let mut installer = ChildProcess::spawn("the database installer", &mut command, Duration::from_secs(5))?;
    if !installer.wait().await.success() {
        bail!("{} could not create its data folder: {}", product.name(), last_error(&log));
    }
    fs::write(temporary.join("mall-made-by"), product.name())?;
    fs::rename(&temporary, data)?;
    Ok(())
}

/// If this command runs as root, so does the server. If it changed its user, the kernel would no longer terminate it
/// with this process, and the data would have to belong to that user. It listens on 127.0.0.1 only.
fn as_root() -> Option<&'static str> {
    rustix::process::geteuid().is_root().then_some("--user=root")
}

/// The SQL that creates the database and its user. The server runs it at every start, before it accepts connections.
fn init_sql(product: Product, password: &str) -> anyhow::Result<String> {
    let mut sql = format!(
        "CREATE DATABASE IF NOT EXISTS `{DATABASE}` CHARACTER SET utf8mb4;\n\
         CREATE USER IF NOT EXISTS '{USER}'@'127.0.0.1' IDENTIFIED BY '{password}';\n\
         ALTER USER '{USER}'@'127.0.0.1' IDENTIFIED BY '{password}';\n\
         GRANT ALL ON `{DATABASE}`.* TO '{USER}'@'127.0.0.1';\n\
         GRANT ALL ON `{DATABASE}\\_%`.* TO '{USER}'@'127.0.0.1';\n"
    );
    // Nobody can sign in as root: MariaDB requires the socket, which is disabled, and MySQL gets a password that is not
    // stored.
    if product == Product::MySql {
        sql.push_str(&format!("ALTER USER 'root'@'localhost' IDENTIFIED BY '{}';\n", random_hex(24)?));
    }
    Ok(sql)
}

fn server_command(
    product: Product,
    program: PathBuf,
    data: PathBuf,
    init_file: PathBuf,
    port: u16,
    durability: Durability,
) -> impl Fn() -> Command + Send + 'static {
    let flush = if durability == Durability::Full { 1 } else { 2 };
    move || {
        let mut command = Command::new(&program);
        command
            .arg("--no-defaults")
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--init-file={}", init_file.display()))
            .arg(format!("--port={port}"))
            .args(["--bind-address=127.0.0.1", "--socket=", "--skip-name-resolve"])
            .args(["--character-set-server=utf8mb4", "--max-connections=600", "--skip-log-bin"])
            // The default would require more open files than many systems allow, and the server would warn of that.
            .arg("--table-open-cache=1000")
            .args(["--innodb-buffer-pool-size=256M", "--performance-schema=OFF"])
            .arg(format!("--innodb-flush-log-at-trx-commit={flush}"))
            .arg(format!("--pid-file={}", data.join("server.pid").display()))
            .args(as_root());
        if product == Product::MySql {
            command.arg("--loose-mysqlx=OFF");
        }
        command
    }
}
