//! An application: loaded, running, stopped.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use wasmtime_wasi_http::handler::ProxyHandler;

use crate::compose::{self, Part};
use crate::engine::{self, Cache, Clock};
use crate::function::{Function, Instances, Limits, Service};
use crate::guest::{self, Grants, Services};
use crate::hosts::AllowedHosts;
use crate::manifest::{Component, Manifest, Route};
use crate::output::Output;
use crate::routes::Router;
use crate::subscriber::{Addresses, Listener, connectable};
use crate::variables::Variables;
use crate::{Error, Options, http};

/// What still runs when this is over is cut off.
const GRACE: Duration = Duration::from_secs(10);
/// `start` waits so long for the subscriptions; after that they are tried on while the rest runs.
const SUBSCRIBE_WAIT: Duration = Duration::from_secs(5);

/// A running application.
pub struct App {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    /// The server and the listeners, which end by themselves once `stop` says so.
    tasks: JoinSet<()>,
    /// What goes on for as long as the application does.
    upkeep: JoinSet<()>,
    instances: Arc<Instances>,
    services: Arc<Services>,
    _clock: Clock,
}

/// Loads and starts the application that `options` describe: when this returns, it answers.
pub async fn start(options: Options) -> Result<App, Error> {
    start_with(options, Limits::default()).await
}

#[doc(hidden)]
pub async fn start_with(options: Options, limits: Limits) -> Result<App, Error> {
    let manifest = Manifest::read(&options.manifest)?;
    let variables = Variables::resolve(&manifest.variables, &options.variables)?;
    // Before the work of compiling, so that a port that is taken is known at once.
    let cannot_listen = |source| Error::Listen { address: options.listen, source };
    let listener = http::listen(options.listen).map_err(cannot_listen)?;
    let address = listener.local_addr().map_err(cannot_listen)?;

    // Only fails if another provider was set first, which does as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let clock = Clock::start(limits.memory).map_err(|e| Error::Engine(e.to_string()))?;
    let services = Arc::new(Services { mysql: Default::default(), redis: Default::default(), output: Output::start() });
    let instances = Arc::new(Instances::new(engine::MOST_INSTANCES));
    let loader = Loader {
        clock: &clock,
        manifest: &manifest,
        variables: &variables,
        base: options.manifest.parent().unwrap_or(Path::new(".")).to_path_buf(),
        services: &services,
        instances: &instances,
        limits,
    };
    let functions = loader.load(options.cache.as_deref()).await?;
    let routes = routes(&manifest, &functions)?;
    let addresses = addresses(&manifest, &variables, &functions)?;

    let (stop, stopping) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut subscribed = Vec::new();
    for (address, channels) in addresses {
        // `addresses` has tried it.
        let Ok(client) = connectable(&address) else { continue };
        let (ready, is_ready) = watch::channel(false);
        subscribed.push(is_ready);
        tasks.spawn(channels.listen(client, stopping.clone(), ready));
    }
    let all = futures::future::join_all(subscribed.iter_mut().map(|ready| ready.wait_for(|ready| *ready)));
    if tokio::time::timeout(SUBSCRIBE_WAIT, all).await.is_err() {
        tracing::warn!("Redis doesn't answer yet: triggers will be heard once it does");
    }
    tasks.spawn(http::serve(listener, Arc::new(routes), stopping));
    let mut upkeep = JoinSet::new();
    upkeep.spawn(services.mysql.clone().close_idle());
    Ok(App { address, stop, tasks, upkeep, instances, services, _clock: clock })
}

impl App {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, finishes what runs (for at most ten seconds), and writes out what was printed.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let finish = async {
            while self.tasks.join_next().await.is_some() {}
            self.instances.drain().await;
        };
        if tokio::time::timeout(GRACE, finish).await.is_err() {
            tracing::warn!("stopped before everything was finished");
        }
        self.tasks.shutdown().await;
        self.upkeep.shutdown().await;
        self.services.mysql.stop().await;
        let services = self.services.clone();
        // Joins threads; the terminal may be slow.
        let _ = tokio::task::spawn_blocking(move || services.output.stop()).await;
    }
}

/// What the components are made from.
struct Loader<'a> {
    clock: &'a Clock,
    manifest: &'a Manifest,
    variables: &'a Variables,
    base: PathBuf,
    services: &'a Arc<Services>,
    instances: &'a Arc<Instances>,
    limits: Limits,
}

type Functions = HashMap<String, Arc<Function>>;

impl Loader<'_> {
    /// Loads every component that a trigger names, several at once.
    async fn load(&self, cache: Option<&Path>) -> Result<Functions, Error> {
        let engine = &self.clock.engine;
        let cache = Cache::open(cache, engine)
            .map_err(|source| Error::Cache { path: cache.unwrap_or(Path::new("")).into(), source })?;
        let cache = Arc::new(cache);
        let linker = Arc::new(guest::linker(engine).map_err(|e| Error::Engine(e.to_string()))?);
        let http = self.manifest.trigger.http.iter().map(|t| &t.component);
        let redis = self.manifest.trigger.redis.iter().map(|t| &t.component);
        let triggered: std::collections::BTreeSet<_> = http.chain(redis).collect();

        let mut loading = JoinSet::new();
        let room = Arc::new(tokio::sync::Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from)));
        for name in triggered {
            let component = &self.manifest.component[name];
            let sources = self.sources(name, component)?;
            let (engine, cache, linker, room) = (engine.clone(), cache.clone(), linker.clone(), room.clone());
            let name = name.clone();
            loading.spawn(async move {
                let _permit = room.acquire_owned().await;
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
                Ok(Err(e)) | Err(e) => return Err(Error::Engine(format!("compiling broke off: {e}"))),
            };
            let pre = pre.map_err(|e| broken(&name, one_line(&e)))?;
            let grants = Arc::new(self.grants(&name)?);
            let function = Function {
                engine: engine.clone(),
                pre,
                grants,
                services: self.services.clone(),
                limits: self.limits.clone(),
                instances: self.instances.clone(),
            };
            functions.insert(name, Arc::new(function));
        }
        Ok(functions)
    }

    fn grants(&self, name: &str) -> Result<Grants, Error> {
        let component = &self.manifest.component[name];
        let fill = |(name, template): (&String, &String)| Ok((name.clone(), self.variables.fill(template)?));
        Ok(Grants {
            name: name.into(),
            variables: self.variables.of_component(component).map_err(|e| broken(name, e))?,
            hosts: AllowedHosts::parse(&component.allowed_outbound_hosts, self.variables)
                .map_err(|e| broken(name, e))?,
            environment: component
                .environment
                .iter()
                .map(fill)
                .collect::<Result<_, String>>()
                .map_err(|e| broken(name, e))?,
        })
    }

    fn sources(&self, name: &str, component: &Component) -> Result<Sources, Error> {
        let read = |path: &Path| {
            let path = self.base.join(path);
            std::fs::read(&path).map_err(|source| match source.kind() {
                std::io::ErrorKind::NotFound => broken(name, format!("{} is not built", path.display())),
                _ => Error::Read { path, source },
            })
        };
        let dependencies = component.dependencies.iter().map(|(import, dependency)| {
            let source = self
                .manifest
                .dependency_source(dependency)
                .map_err(|e| broken(name, format!("dependency {import:?}: {e}")))?;
            Ok((import.clone(), read(source)?, dependency.export.clone()))
        });
        Ok(Sources {
            name: name.into(),
            dependencies: dependencies.collect::<Result<_, Error>>()?,
            wasm: read(&component.source)?,
        })
    }
}

/// A component and what is composed into it: import, Wasm, export.
struct Sources {
    name: String,
    wasm: Vec<u8>,
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
            let parts: BTreeMap<&str, Part> = self
                .dependencies
                .iter()
                .map(|(import, wasm, export)| {
                    let export = export.as_deref();
                    (import.as_str(), Part { wasm, export })
                })
                .collect();
            compose::compose(&self.name, self.wasm.clone(), &parts).map_err(|e| wasmtime::format_err!("{e:#}"))
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
                    .map_err(|e| broken(name, format!("it doesn't answer HTTP: {}", one_line(&e))))?;
                let handler = ProxyHandler::new(service);
                handlers.insert(name, handler.clone());
                handler
            }
        };
        routes.push((route.clone(), handler));
    }
    Router::new(routes)
}

fn addresses(manifest: &Manifest, variables: &Variables, functions: &Functions) -> Result<Addresses, Error> {
    let mut addresses = Addresses::new();
    for trigger in &manifest.trigger.redis {
        let bad = |reason: String| Error::Trigger { channel: trigger.channel.clone(), reason };
        let address = manifest.redis_address(trigger).unwrap_or_default();
        let address = variables.fill(address).map_err(bad)?;
        let channel = variables.fill(&trigger.channel).map_err(bad)?;
        connectable(&address).map_err(|_| bad("its address is not that of a Redis".into()))?;
        let name = &trigger.component;
        let listener = Listener::new(functions[name].clone())
            .map_err(|e| broken(name, format!("it doesn't handle messages: {}", one_line(&e))))?;
        addresses.entry(address).or_default().add(channel, listener);
    }
    Ok(addresses)
}

fn broken(component: &str, reason: String) -> Error {
    Error::Component { component: component.into(), reason }
}

/// An error and its causes.
fn one_line(error: &impl std::fmt::Display) -> String {
    format!("{error:#}").replace('\n', " ")
}
