//! An application: loads it, runs it, stops it.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use wasmtime_wasi_http::handler::ProxyHandler;

use crate::allowed_hosts::AllowedHosts;
use crate::compose::{self, Dependency};
use crate::connections::Connections;
use crate::engine::{Cache, EpochTicker};
use crate::error::Error;
use crate::file_limit;
use crate::function::{Function, Instances, Limits, Service};
use crate::guest::{self, ComponentConfig, Services};
use crate::http::{self, Server};
use crate::manifest::{Component, Manifest, Route};
use crate::mysql::pool::Pools;
use crate::output::Output;
use crate::password_queue::{Endpoint, PasswordQueue};
use crate::redis::connection;
use crate::routes::Router;
use crate::subscriber::{Subscriber, Subscriptions};
use crate::variables::Variables;

/// Requests and messages that are not finished this long after `stop` are aborted.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// `start` waits this long for the subscriptions. After that, the application runs and keeps trying to subscribe.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(5);

/// What to run and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `spin.toml`.
    pub manifest: PathBuf,
    /// The address to listen on. Port 0 picks a free port.
    pub listen: SocketAddr,
    /// Application variables. They take precedence over `SPIN_VARIABLE_…` in the environment, which takes precedence
    /// over the manifest's defaults.
    pub variables: BTreeMap<String, String>,
    /// A folder for compiled components. Nobody but this user may be able to write to it.
    pub cache: Option<PathBuf>,
    /// How many connections may be open at once; more are closed. The default is 0.8 of the limit on open files.
    pub max_connections: Option<usize>,
    /// How many of them may come from one address, or from one /64 of IPv6.
    pub max_connections_per_address: usize,
}

/// A running application.
pub struct App {
    address: SocketAddr,
    options: Options,
    platform: Platform,
    server: Arc<Server>,
    /// Stops the HTTP server.
    stop: watch::Sender<bool>,
    subscribers: Subscribers,
    /// The HTTP server, and the subscribers of replaced versions. They end by themselves when they are told to stop.
    tasks: JoinSet<()>,
    /// Maintenance that runs until the application stops.
    maintenance: JoinSet<()>,
}

/// Loads and starts an application. It accepts requests when this returns.
pub async fn start(options: Options) -> Result<App, Error> {
    start_with(options, Limits::default()).await
}

#[doc(hidden)]
pub async fn start_with(options: Options, limits: Limits) -> Result<App, Error> {
    // Before compiling, which takes seconds, so that a port in use is reported at once.
    let cannot_listen = |source| Error::Listen { address: options.listen, source };
    let listener = http::listen(options.listen).map_err(cannot_listen)?;
    let address = listener.local_addr().map_err(cannot_listen)?;

    let max_connections = max_connections(options.max_connections, file_limit::raise());
    let connections = Connections::new(max_connections, options.max_connections_per_address);

    // This fails only if a provider is set already, and any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let platform = Platform::new(limits.clone())?;
    let Version { routes, subscriptions } = platform.load(&options).await?;
    let subscribers = Subscribers::start(subscriptions).await;
    let passwords = PasswordQueue::start().map_err(|error| Error::Engine(error.to_string()))?;
    let server = Server::new(routes, connections, passwords, limits);
    let (stop, stopping) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(http::serve(listener, server.clone(), stopping));
    let mut maintenance = JoinSet::new();
    maintenance.spawn(platform.services.mysql.clone().close_idle());
    Ok(App { address, options, platform, server, stop, subscribers, tasks, maintenance })
}

/// By default 0.8 of the limit on open files: databases, instances and logs need some, too.
fn max_connections(asked_for: Option<usize>, files: u64) -> usize {
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let max = asked_for.unwrap_or(files / 5 * 4);
    if max > files {
        tracing::warn!("{max} connections are allowed, but only {files} files may be open");
    }
    max
}

impl App {
    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Reads the manifest and the components again, and uses them for all requests and messages from now on. Those in
    /// progress finish with the version that they began with, and no connection is closed. After an error, the version
    /// that was running goes on.
    pub async fn reload(&mut self) -> Result<(), Error> {
        let Version { routes, subscriptions } = self.platform.load(&self.options).await?;
        let subscribers = Subscribers::start(subscriptions).await;
        self.server.set_routes(routes);
        let replaced = std::mem::replace(&mut self.subscribers, subscribers);
        self.tasks.spawn(replaced.stop());
        // Those that ended since the last time.
        while self.tasks.try_join_next().is_some() {}
        Ok(())
    }

    /// Stops accepting requests and messages, lets those in progress finish (for at most ten seconds), and flushes the
    /// functions' output.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        self.tasks.spawn(self.subscribers.stop());
        let finish = async {
            while self.tasks.join_next().await.is_some() {}
            self.platform.instances.drain().await;
        };
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, finish).await.is_err() {
            tracing::warn!("requests or messages were aborted: they had not finished within {SHUTDOWN_TIMEOUT:?}");
        }
        self.tasks.shutdown().await;
        self.maintenance.shutdown().await;
        let services = self.platform.services;
        services.mysql.stop().await;
        // This blocks: it joins threads, which may be writing to a slow terminal.
        let _ = tokio::task::spawn_blocking(move || services.output.stop()).await;
    }
}

/// The subscribers of one version of the application.
struct Subscribers {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Subscribers {
    /// Returns when they are subscribed, or when Redis has not answered for a while.
    async fn start(subscriptions: Vec<Subscriptions>) -> Self {
        let (stop, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut subscribed = Vec::new();
        for subscriptions in subscriptions {
            let (ready, is_ready) = watch::channel(false);
            subscribed.push(is_ready);
            tasks.spawn(subscriptions.run(stopping.clone(), ready));
        }
        let all = futures::future::join_all(subscribed.iter_mut().map(|ready| ready.wait_for(|ready| *ready)));
        if tokio::time::timeout(SUBSCRIBE_TIMEOUT, all).await.is_err() {
            tracing::warn!("Redis does not answer yet: Redis triggers start as soon as it does");
        }
        Self { stop, tasks }
    }

    /// Takes no more messages. Returns when those in progress are handled; aborts them if it is dropped before.
    async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// What all versions of the application run on.
struct Platform {
    ticker: EpochTicker,
    services: Arc<Services>,
    instances: Arc<Instances>,
    limits: Limits,
}

/// What the manifest and the components were when they were read.
struct Version {
    routes: http::Routes,
    subscriptions: Vec<Subscriptions>,
}

impl Platform {
    fn new(limits: Limits) -> Result<Self, Error> {
        let ticker = EpochTicker::start(limits.memory).map_err(|e| Error::Engine(e.to_string()))?;
        let here = Handle::current();
        let services = Arc::new(Services {
            mysql: Pools::new(here.clone()),
            redis: connection::Connections::new(here),
            output: Output::start(),
        });
        let instances = Arc::new(Instances::new(limits.max_instances));
        Ok(Self { ticker, services, instances, limits })
    }

    /// Reads the manifest and loads its components.
    async fn load(&self, options: &Options) -> Result<Version, Error> {
        let manifest = Manifest::read(&options.manifest)?;
        let variables = Variables::resolve(&manifest.variables, &options.variables)?;
        let base = options.manifest.parent().unwrap_or(Path::new("."));
        let loader = Loader { platform: self, manifest: &manifest, variables: &variables, base };
        let functions = loader.load(options.cache.as_deref()).await?;
        Ok(Version {
            routes: routes(&manifest, &functions)?,
            subscriptions: subscriptions(&manifest, &variables, &functions)?,
        })
    }
}

/// What is needed to load components.
struct Loader<'a> {
    platform: &'a Platform,
    manifest: &'a Manifest,
    variables: &'a Variables,
    /// The folder to which the manifest's paths are relative.
    base: &'a Path,
}

type Functions = HashMap<String, Arc<Function>>;

impl Loader<'_> {
    /// Loads every component that has a trigger, several at a time.
    async fn load(&self, cache: Option<&Path>) -> Result<Functions, Error> {
        let Platform { ticker, services, instances, limits } = self.platform;
        let engine = &ticker.engine;
        let cache = Cache::open(cache, engine)
            .map_err(|source| Error::Cache { path: cache.unwrap_or(Path::new("")).into(), source })?;
        let cache = Arc::new(cache);
        let linker = Arc::new(guest::linker(engine).map_err(|e| Error::Engine(e.to_string()))?);
        let http = self.manifest.trigger.http.iter().map(|t| &t.component);
        let redis = self.manifest.trigger.redis.iter().map(|t| &t.component);
        let triggered: std::collections::BTreeSet<_> = http.chain(redis).collect();

        let mut loading = JoinSet::new();
        let permits =
            Arc::new(tokio::sync::Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from)));
        for name in triggered {
            let component = &self.manifest.component[name];
            let sources = self.sources(name, component)?;
            let (engine, cache, linker, permits) = (engine.clone(), cache.clone(), linker.clone(), permits.clone());
            let name = name.clone();
            loading.spawn(async move {
                let _permit = permits.acquire_owned().await;
                tokio::task::spawn_blocking(move || {
                    let loaded =
                        sources.compile(&engine, &cache).and_then(|component| linker.instantiate_pre(&component));
                    (name, loaded)
                })
                .await
            });
        }
        let mut functions = Functions::new();
        while let Some(loaded) = loading.join_next().await {
            let (name, pre) = match loaded {
                Ok(Ok(loaded)) => loaded,
                Ok(Err(e)) | Err(e) => return Err(Error::Engine(format!("compiling was aborted: {e}"))),
            };
            let pre = pre.map_err(|e| component_error(&name, one_line(&e)))?;
            let config = Arc::new(self.config(&name)?);
            let function = Function {
                engine: engine.clone(),
                pre,
                config,
                services: services.clone(),
                limits: limits.clone(),
                instances: instances.clone(),
            };
            functions.insert(name, Arc::new(function));
        }
        Ok(functions)
    }

    fn config(&self, name: &str) -> Result<ComponentConfig, Error> {
        let component = &self.manifest.component[name];
        let expand = |(name, template): (&String, &String)| Ok((name.clone(), self.variables.expand(template)?));
        Ok(ComponentConfig {
            name: name.into(),
            variables: self.variables.for_component(component).map_err(|e| component_error(name, e))?,
            hosts: AllowedHosts::parse(&component.allowed_outbound_hosts, self.variables)
                .map_err(|e| component_error(name, e))?,
            environment: component
                .environment
                .iter()
                .map(expand)
                .collect::<Result<_, String>>()
                .map_err(|e| component_error(name, e))?,
            hashes_passwords: component
                .tool
                .mall
                .hashes_passwords
                .iter()
                .map(|endpoint| Endpoint::parse(endpoint))
                .collect::<Result<_, String>>()
                .map_err(|e| component_error(name, e))?,
        })
    }

    fn sources(&self, name: &str, component: &Component) -> Result<Sources, Error> {
        let read = |path: &Path| {
            let path = self.base.join(path);
            std::fs::read(&path).map_err(|source| match source.kind() {
                std::io::ErrorKind::NotFound => component_error(name, format!("{} is not built", path.display())),
                _ => Error::Read { path, source },
            })
        };
        let dependencies = component.dependencies.iter().map(|(import, dependency)| {
            let source = self
                .manifest
                .dependency_source(dependency)
                .map_err(|e| component_error(name, format!("dependency {import:?}: {e}")))?;
            Ok((import.clone(), read(source)?, dependency.export.clone()))
        });
        Ok(Sources {
            name: name.into(),
            dependencies: dependencies.collect::<Result<_, Error>>()?,
            wasm: read(&component.source)?,
        })
    }
}

/// The Wasm of a component and of its dependencies.
struct Sources {
    name: String,
    wasm: Vec<u8>,
    /// The import that each satisfies, its Wasm, and the export that is used if its name differs from the import's.
    dependencies: Vec<(String, Vec<u8>, Option<String>)>,
}

impl Sources {
    fn compile(self, engine: &wasmtime::Engine, cache: &Cache) -> wasmtime::Result<wasmtime::component::Component> {
        let mut inputs: Vec<&[u8]> = vec![&self.wasm];
        for (import, wasm, export) in &self.dependencies {
            inputs.extend([import.as_bytes(), wasm, export.as_deref().unwrap_or("").as_bytes()]);
        }
        cache.load(engine, &inputs, || {
            if self.dependencies.is_empty() {
                return Ok(self.wasm.clone());
            }
            let dependencies: BTreeMap<&str, Dependency> = self
                .dependencies
                .iter()
                .map(|(import, wasm, export)| {
                    let export = export.as_deref();
                    (import.as_str(), Dependency { wasm, export })
                })
                .collect();
            compose::compose(&self.name, self.wasm.clone(), &dependencies).map_err(|e| wasmtime::format_err!("{e:#}"))
        })
    }
}

fn routes(manifest: &Manifest, functions: &Functions) -> Result<http::Routes, Error> {
    let mut handlers: HashMap<&str, ProxyHandler<Service>> = HashMap::new();
    let mut routes = Vec::new();
    for trigger in &manifest.trigger.http {
        let Route::Path(route) = &trigger.route else { continue };
        let name = &trigger.component;
        let handler = match handlers.get(name.as_str()) {
            Some(handler) => handler.clone(),
            None => {
                let service = Service::new(functions[name].clone())
                    .map_err(|e| component_error(name, format!("it has no HTTP handler: {}", one_line(&e))))?;
                let handler = ProxyHandler::new(service);
                handlers.insert(name, handler.clone());
                handler
            }
        };
        routes.push((route.clone(), handler));
    }
    Router::new(routes)
}

/// The subscriptions of each Redis address.
fn subscriptions(
    manifest: &Manifest,
    variables: &Variables,
    functions: &Functions,
) -> Result<Vec<Subscriptions>, Error> {
    let mut by_address = BTreeMap::new();
    for trigger in &manifest.trigger.redis {
        let invalid = |reason: String| Error::Trigger { channel: trigger.channel.clone(), reason };
        let address = manifest.redis_address(trigger).unwrap_or_default();
        let address = variables.expand(address).map_err(invalid)?;
        let channel = variables.expand(&trigger.channel).map_err(invalid)?;
        let client =
            connection::client(&address).map_err(|_| invalid("its address is not a valid Redis URL".into()))?;
        let name = &trigger.component;
        let subscriber = Subscriber::new(functions[name].clone())
            .map_err(|e| component_error(name, format!("it has no handler for Redis messages: {}", one_line(&e))))?;
        by_address.entry(address).or_insert_with(|| Subscriptions::new(client)).add(channel, subscriber);
    }
    Ok(by_address.into_values().collect())
}

fn component_error(component: &str, reason: String) -> Error {
    Error::Component { component: component.into(), reason }
}

/// An error and its causes.
fn one_line(error: &impl std::fmt::Display) -> String {
    format!("{error:#}").replace('\n', " ")
}
