//! A component that answers HTTP: its instances, reused as Spin reuses them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use wasmtime::component::{GuestTaskId, InstancePre};
use wasmtime::{Engine, Store, StoreContextMut};
use wasmtime_wasi_http::handler::{
    HandlerState, Instance, Proxy, ShouldAccept, ViewFn, WorkerExpiration, WorkerState, WorkerStatus,
};
use wasmtime_wasi_http::p3::WasiHttpView;
use wasmtime_wasi_http::p3::bindings::ServicePre;

use crate::guest::{Grants, Guest, Services};

/// What bounds an instance. The defaults are Spin's, and the issue's.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Linear memory of an instance, in bytes.
    pub memory: usize,
    /// Time until a request must be answered.
    pub request: Duration,
    /// Time until a message must be handled. Others on the same address wait for it.
    pub message: Duration,
    /// Requests that an instance answers in its life.
    pub requests: usize,
    /// Requests that an instance answers at once.
    pub concurrent: usize,
    /// Time after which an idle instance is dropped.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 128 << 20,
            request: Duration::from_secs(30),
            message: Duration::from_secs(300),
            requests: 128,
            concurrent: 16,
            idle: Duration::from_secs(1),
        }
    }
}

/// Counts instances, so that there are never more than the pool has room for, and ends them when the runtime stops.
pub struct Instances {
    room: Arc<Semaphore>,
    most: u32,
    stopping: Arc<Notify>,
}

impl Instances {
    pub fn new(most: u32) -> Self {
        Self { room: Arc::new(Semaphore::new(most as usize)), most, stopping: Arc::default() }
    }

    /// Waits for room for one more.
    pub async fn enter(&self) -> wasmtime::Result<OwnedSemaphorePermit> {
        Ok(self.room.clone().acquire_owned().await?)
    }

    /// Drops what is idle and waits for the rest.
    pub async fn drain(&self) {
        let all = self.room.acquire_many(self.most);
        tokio::pin!(all);
        loop {
            self.stopping.notify_waiters();
            tokio::select! {
                _ = &mut all => return,
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    }
}

/// All that it takes to make an instance.
pub struct Function {
    pub engine: Engine,
    pub pre: InstancePre<Guest>,
    pub grants: Arc<Grants>,
    pub services: Arc<Services>,
    pub limits: Limits,
    pub instances: Arc<Instances>,
}

impl Function {
    pub fn store(&self) -> Store<Guest> {
        Guest::store(&self.engine, &self.grants, &self.services, self.limits.memory)
    }
}

/// A function as an HTTP service.
pub struct Service {
    function: Arc<Function>,
    pre: ServicePre<Guest>,
}

impl Service {
    pub fn new(function: Arc<Function>) -> wasmtime::Result<Self> {
        let pre = ServicePre::new(function.pre.clone())?;
        Ok(Self { function, pre })
    }

    pub fn name(&self) -> &str {
        &self.function.grants.name
    }
}

impl HandlerState for Service {
    type StoreData = Guest;
    type WorkerExpiration = Expiration;
    type WorkerState = Worker;

    async fn instantiate(&self) -> wasmtime::Result<Instance<Guest, Expiration, Worker>> {
        let function = &self.function;
        let permit = tokio::time::timeout(function.limits.request, function.instances.enter()).await??;
        let mut store = function.store();
        let service = self.pre.instantiate_async(&mut store).await?;
        Ok(Instance {
            store,
            proxy: Proxy::P3(service),
            view: ViewFn::P3(<Guest as WasiHttpView>::http),
            expiration: Expiration {
                idle: function.limits.idle,
                request: function.limits.request,
                sleep: Box::pin(tokio::time::sleep(function.limits.idle)),
                stopping: Box::pin(function.instances.stopping.clone().notified_owned()),
            },
            state: Worker { function: function.clone(), _permit: permit },
        })
    }
}

/// When an instance must go. It is asked whenever the instance has nothing to do but wait, a busy guest's yields
/// included: this is what ends one that computes for ever.
pub struct Expiration {
    idle: Duration,
    request: Duration,
    sleep: Pin<Box<Sleep>>,
    stopping: Pin<Box<OwnedNotified>>,
}

impl WorkerExpiration for Expiration {
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>, status: WorkerStatus, start: Instant) -> Poll<()> {
        let after = match status {
            WorkerStatus::Idle => {
                if self.stopping.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                self.idle
            }
            WorkerStatus::Requests | WorkerStatus::PostReturn => self.request,
        };
        let deadline = (start + after).into();
        // The timer may ring too early, never too late: setting it for every request would cost more than it.
        if self.sleep.deadline() > deadline || self.sleep.is_elapsed() {
            self.sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            if self.sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(deadline);
        }
    }
}

/// Decides what an instance takes on.
pub struct Worker {
    function: Arc<Function>,
    _permit: OwnedSemaphorePermit,
}

impl WorkerState for Worker {
    type StoreData = Guest;
    type RequestId = ();

    fn should_accept_request(&self, concurrent: usize, total: usize) -> ShouldAccept {
        let limits = &self.function.limits;
        if total >= limits.requests {
            ShouldAccept::Never
        } else if concurrent >= limits.concurrent {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        _: StoreContextMut<'_, Guest>,
        _: (),
        _: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        Box::pin(tokio::time::sleep(self.function.limits.request))
    }

    fn drop(&self, store: Store<Guest>, result: wasmtime::Result<()>) {
        if let Err(error) = result {
            tracing::error!(component = self.function.grants.name, "an instance failed: {error:#}");
        }
        drop(store);
    }
}
