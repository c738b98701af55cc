//! The running shop, in the embedded runtime or in Spin.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use load::http;

use crate::{
    address::Variables,
    project::Project,
    servers::{Databases, free_port},
    spin::Spin,
};

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
pub enum Runtime {
    /// The runtime that is built into this command
    Embedded,
    /// The installed Spin CLI
    Spin,
}

/// Limits of the embedded runtime.
#[derive(Clone, clap::Args)]
pub struct Connections {
    /// How many connections may be open at once; 0.8 of the limit on open files unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,

    /// How many of them may come from one address; a proxy that serves all clients needs more
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections_per_address: Option<u32>,
}

impl Connections {
    /// Spin has no such limits.
    pub fn check(&self, runtime: Runtime) -> anyhow::Result<()> {
        let is_given = self.max_connections.is_some() || self.max_connections_per_address.is_some();
        ensure!(
            runtime == Runtime::Embedded || !is_given,
            "--max-connections and --max-connections-per-address are limits of the embedded runtime: leave them out with --runtime spin"
        );
        Ok(())
    }
}

pub enum Shop {
    Embedded(Box<runtime::App>),
    Spin(Spin),
}

impl Shop {
    pub async fn start(
        project: &Project,
        runtime: Runtime,
        listen: SocketAddr,
        connections: &Connections,
        variables: Variables,
    ) -> anyhow::Result<Self> {
        Ok(match runtime {
            Runtime::Embedded => {
                let options = runtime::Options {
                    manifest: project.manifest(),
                    listen,
                    variables,
                    cache: Some(project.cache()),
                    max_connections: connections.max_connections.map(|max| max as usize),
                    max_connections_per_address: connections
                        .max_connections_per_address
                        .map_or(runtime::MAX_CONNECTIONS_PER_ADDRESS, |max| max as usize),
                };
                // The functions are compiled to native code the first time.
                let (name, first) = match project.cache().is_dir() {
                    true => ("Starting the functions again", Duration::from_secs(1)),
                    false => ("Starting the functions", Duration::from_secs(25)),
                };
                let durations = project.durations();
                let step = progress::step_of("Starting the functions", Some(durations.usual(name, first)));
                let app = runtime::start(options).await.map_err(|error| anyhow::anyhow!("{error}"))?;
                durations.record(name, step.elapsed());
                Self::Embedded(Box::new(app))
            }
            Runtime::Spin => {
                let port = if listen.port() == 0 { free_port()? } else { listen.port() };
                Self::Spin(Spin::start(project, SocketAddr::new(listen.ip(), port), variables)?)
            }
        })
    }

    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Embedded(app) => app.local_addr(),
            Self::Spin(spin) => spin.listen,
        }
    }

    /// The address for clients on this machine.
    pub fn local_address(&self) -> SocketAddr {
        let mut address = self.address();
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        address
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.local_address())
    }

    /// Waits until `GET /health` answers 200.
    pub async fn ready(&mut self, timeout: Duration) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + timeout;
        while !http::answers(self.local_address(), "/health").await {
            if tokio::time::Instant::now() > deadline {
                bail!("the shop was started, but GET {}/health did not answer 200 in time", self.base_url());
            }
            if let Self::Spin(spin) = self {
                spin.restart_if_exited()?;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    pub async fn stop(self) {
        match self {
            Self::Embedded(app) => app.stop().await,
            Self::Spin(spin) => drop(spin),
        }
    }
}

/// Checks that the address is free, before anything is built or started.
pub fn check_is_free(listen: SocketAddr) -> anyhow::Result<()> {
    match TcpListener::bind(listen) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            bail!("{listen} is in use: stop the program that listens there, or choose another address with --listen")
        }
        Err(error) => Err(error).with_context(|| format!("can't listen on {listen}")),
    }
}

/// The shop's variables: those of the environment, the databases' addresses, and the secret that signs tokens.
pub fn variables(project: &Project, environment: Variables, databases: &Databases) -> anyhow::Result<Variables> {
    let mut variables: BTreeMap<_, _> = environment;
    variables.extend(databases.variables());
    if !variables.contains_key("jwt_secret") {
        variables.insert("jwt_secret".into(), project.secret("jwt-secret")?);
    }
    Ok(variables)
}
