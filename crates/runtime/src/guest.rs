//! The host's side of an instance: its state, and the imports that it may use.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime::{Engine, ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::{TrappableError, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::WasiHttpCtx;
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p3::{RequestOptions, WasiHttpCtxView, WasiHttpHooks, WasiHttpView, default_send_request};

use crate::allowed_hosts::AllowedHosts;
use crate::mysql::pool::Pools;
use crate::output::Output;
use crate::password_queue::Endpoint;
use crate::redis::connection::Connections;
use crate::{bindings, variables};

/// How much of a reply is taken from a function before the client has read what was taken before, in bytes.
const REPLY_CHUNK: usize = 64 << 10;

/// What `spin.toml` says about a component, with variables expanded.
pub struct ComponentConfig {
    pub name: String,
    pub variables: HashMap<String, String>,
    pub hosts: AllowedHosts,
    pub environment: Vec<(String, String)>,
    /// The endpoints that hash passwords.
    pub hashes_passwords: Vec<Endpoint>,
}

/// What all instances share.
pub struct Services {
    pub mysql: Pools,
    pub redis: Connections,
    pub output: Output,
}

/// The data of one instance.
pub struct Guest {
    wasi: WasiCtx,
    pub table: ResourceTable,
    http: WasiHttpCtx,
    hooks: OutboundHttp,
    memory: MemoryLimit,
    pub config: Arc<ComponentConfig>,
    pub services: Arc<Services>,
}

impl Guest {
    pub fn store(
        engine: &Engine,
        config: &Arc<ComponentConfig>,
        services: &Arc<Services>,
        memory: usize,
    ) -> Store<Self> {
        let (out, err) = services.output.streams(&config.name);
        let wasi = WasiCtxBuilder::new().envs(&config.environment).stdout(out).stderr(err).build();
        let guest = Self {
            wasi,
            table: ResourceTable::new(),
            http: WasiHttpCtx::new(),
            hooks: OutboundHttp(config.clone()),
            memory: MemoryLimit { remaining: memory },
            config: config.clone(),
            services: services.clone(),
        };
        let mut store = Store::new(engine, guest);
        store.limiter(|guest| &mut guest.memory);
        // A guest that is computing yields in every epoch, so that its timeout is checked and others can run.
        store.set_epoch_deadline(1);
        // Tokio polls its I/O after `yield_now`, which it doesn't when a task merely wakes itself.
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))));
        store
    }
}

/// Everything that a component may import. A call that the manifest doesn't permit is refused when it is made.
pub fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    bindings::Functions::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    Ok(linker)
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

/// Sends HTTP requests, to allowed hosts only.
struct OutboundHttp(Arc<ComponentConfig>);

type Body = UnsyncBoxBody<Bytes, ErrorCode>;
type Finished = Box<dyn Future<Output = Result<(), ErrorCode>> + Send>;
type Sent = Result<(http::Response<Body>, Finished), TrappableError<ErrorCode>>;

impl WasiHttpHooks for OutboundHttp {
    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        REPLY_CHUNK
    }

    fn send_request(
        &mut self,
        request: http::Request<Body>,
        options: Option<RequestOptions>,
        _finished: Finished,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let allowed = self.0.hosts.allow(&request.uri().to_string(), "https");
        Box::new(async move {
            if !allowed {
                return Err(ErrorCode::HttpRequestDenied.into());
            }
            let (response, io) = default_send_request(request, options).await?;
            Ok((response.map(BodyExt::boxed_unsync), Box::new(io) as Finished))
        })
    }
}

/// How much memory an instance may still allocate, over all of its linear memories.
struct MemoryLimit {
    remaining: usize,
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current);
        let allowed = growth <= self.remaining;
        if allowed {
            self.remaining -= growth;
        }
        Ok(allowed)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= 100_000)
    }
}

impl bindings::spin::variables::variables::Host for Guest {}

impl<T: Send> bindings::spin::variables::variables::HostWithStore<T> for HasSelf<Guest> {
    async fn get(
        accessor: &wasmtime::component::Accessor<T, Self>,
        name: String,
    ) -> Result<String, bindings::spin::variables::variables::Error> {
        use bindings::spin::variables::variables::Error;
        variables::check_name(&name).map_err(Error::InvalidName)?;
        accessor.with(|mut access| {
            let config = &access.get().config;
            let value = config.variables.get(&name);
            value.cloned().ok_or_else(|| Error::Undefined(format!("no variable for {:?}.{name:?}", config.name)))
        })
    }
}
