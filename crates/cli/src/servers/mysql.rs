//! A MySQL or MariaDB server of our own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail, ensure};

use super::{Durability, Server, end_predecessor, free_port, last_words, version_in, version_line};
use crate::{
    address::Mysql,
    database,
    process::{Guarded, find_program},
    project::{Project, private_folder, random_hex, write_private},
    ui,
};

const USER: &str = "mall";
const DATABASE: &str = "mall";

/// MariaDB first: where both are, it is the one that confinement such as AppArmor's lets work outside /var/lib.
pub fn program() -> Option<PathBuf> {
    find_program(&["mariadbd", "mysqld"])
}

#[derive(Clone, Copy, PartialEq)]
enum Flavour {
    MariaDb,
    MySql,
}

impl Flavour {
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
    let flavour = if line.contains("MariaDB") { Flavour::MariaDb } else { Flavour::MySql };
    let product = format!("{} {}", flavour.name(), version_in(&line));
    let folder = project.state.clone();
    end_predecessor(&folder, "mysql");

    let step = ui::step(&format!("Starting {product}"));
    let data = folder.join("mysql");
    initialise(&folder, &data, &program, flavour).await?;
    let password = project.secret("mysql-password")?;
    let welcome = folder.join("mysql-init.sql");
    write_private(&welcome, accounts(flavour, &password)?.as_bytes())?;

    // Between choosing a port and taking it, another may take it.
    let mut refused = None;
    for _ in 0..3 {
        let port = free_port()?;
        let recipe = recipe(program.clone(), data.clone(), welcome.clone(), port, durability);
        let mut server = Server::launch(product.clone(), &folder, "mysql", port, recipe)?;
        let mysql = Mysql {
            host: format!("127.0.0.1:{port}"),
            user: USER.into(),
            password: password.clone(),
            database: DATABASE.into(),
            params: String::new(),
        };
        match server.ready(|| async { database::connect(&mysql).await.is_ok() }).await {
            Ok(()) => {
                step.done(&format!("{product} on 127.0.0.1:{port}, data in {}", data.display()));
                return Ok((server, mysql));
            }
            Err(error) if error.to_string().contains("Bind on") || error.to_string().contains("port") => {
                refused = Some(error)
            }
            Err(error) => return Err(error),
        }
    }
    Err(refused.context("MySQL")?)
}

/// A new data folder is made aside and then moved: it is whole, or not there.
async fn initialise(folder: &Path, data: &Path, program: &Path, flavour: Flavour) -> anyhow::Result<()> {
    let mark = data.join("mall-made-by");
    if let Ok(maker) = fs::read_to_string(&mark) {
        ensure!(
            maker == flavour.name(),
            "{} was made by {maker}, and this machine now has {}: install {maker}, or start anew with --fresh",
            data.display(),
            flavour.name()
        );
        return Ok(());
    }
    ensure!(!data.exists(), "{} is not a data folder that this command made: move it away", data.display());

    let draft = folder.join("mysql.new");
    if draft.exists() {
        fs::remove_dir_all(&draft).with_context(|| format!("{} can't be removed", draft.display()))?;
    }
    private_folder(&draft)?;
    let log = folder.join("mysql-install.log");
    let mut command = match flavour {
        Flavour::MariaDb => {
            let installer = find_program(&["mariadb-install-db", "mysql_install_db"])
                .context("MariaDB's mariadb-install-db is missing: install the whole of MariaDB's server package")?;
            let mut command = Command::new(installer);
            command.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=socket"]);
            command
        }
        Flavour::MySql => {
            let mut command = Command::new(program);
            command.args(["--no-defaults", "--initialize-insecure"]);
            command
        }
    };
    command.arg(format!("--datadir={}", draft.display())).args(as_root());
    let file = fs::File::create(&log)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let mut installer = Guarded::spawn("the database installer", &mut command, Duration::from_secs(5))?;
    if !installer.wait().await.success() {
        bail!("{} could not make its data folder: {}", flavour.name(), last_words(&log));
    }
    fs::write(draft.join("mall-made-by"), flavour.name())?;
    fs::rename(&draft, data)?;
    Ok(())
}

/// Root's server stays root's: were it to change its user, the kernel would forget whom it is to end with,
/// and the data would have to belong to somebody else. It listens on 127.0.0.1 alone.
fn as_root() -> Option<&'static str> {
    rustix::process::geteuid().is_root().then_some("--user=root")
}

/// Run at every start, before anyone can connect. Nothing else holds the password.
fn accounts(flavour: Flavour, password: &str) -> anyhow::Result<String> {
    let mut sql = format!(
        "CREATE DATABASE IF NOT EXISTS `{DATABASE}` CHARACTER SET utf8mb4;\n\
         CREATE USER IF NOT EXISTS '{USER}'@'127.0.0.1' IDENTIFIED BY '{password}';\n\
         ALTER USER '{USER}'@'127.0.0.1' IDENTIFIED BY '{password}';\n\
         GRANT ALL ON `{DATABASE}`.* TO '{USER}'@'127.0.0.1';\n\
         GRANT ALL ON `{DATABASE}\\_%`.* TO '{USER}'@'127.0.0.1';\n"
    );
    // MariaDB's root comes in by a socket that does not exist, MySQL's by a password that nobody knows.
    if flavour == Flavour::MySql {
        sql.push_str(&format!("ALTER USER 'root'@'localhost' IDENTIFIED BY '{}';\n", random_hex(24)?));
    }
    Ok(sql)
}

fn recipe(
    program: PathBuf,
    data: PathBuf,
    welcome: PathBuf,
    port: u16,
    durability: Durability,
) -> impl Fn() -> Command + Send + 'static {
    let flush = if durability == Durability::Full { 1 } else { 2 };
    move || {
        let mut command = Command::new(&program);
        command
            .arg("--no-defaults")
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--init-file={}", welcome.display()))
            .arg(format!("--port={port}"))
            .args(["--bind-address=127.0.0.1", "--socket=", "--skip-name-resolve", "--loose-mysqlx=OFF"])
            .args(["--character-set-server=utf8mb4", "--max-connections=600", "--skip-log-bin"])
            .args(["--innodb-buffer-pool-size=256M", "--performance-schema=OFF"])
            .arg(format!("--innodb-flush-log-at-trx-commit={flush}"))
            .arg(format!("--pid-file={}", data.join("server.pid").display()))
            .args(as_root());
        command
    }
}
