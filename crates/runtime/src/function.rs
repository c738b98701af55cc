//! A function: the component, its limits, and the instances that answer its requests, reused as in Spin.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::Method;
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

use crate::engine::MAX_INSTANCES;
use crate::guest::{ComponentConfig, Guest, Services};

/// The limits of instances and of the HTTP server. How often and for how long an instance is reused is Spin's default.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Linear memory of an instance, in bytes.
    pub memory: usize,
    /// How long a function may take to answer a request.
    pub request_timeout: Duration,
    /// How long a function may take to handle a message. Other messages from the same address wait meanwhile.
    pub message_timeout: Duration,
    /// How many requests an instance answers before it is dropped.
    pub max_requests: usize,
    /// How many requests an instance answers concurrently.
    pub max_concurrent_requests: usize,
    /// How long an idle instance is kept.
    pub idle_timeout: Duration,
    /// How long one is kept that may have hashed a password: what that took of memory is free only when it is gone.
    pub idle_timeout_after_hashing: Duration,
    /// How many instances of all functions may exist at once.
    pub max_instances: u32,
    /// How many requests functions may be answering at once. It is what two cores answer in a second if each request
    /// takes two milliseconds: more would wait for so long that their clients give up.
    pub max_in_flight: usize,
    /// How long a client may take to send the headers of its next request.
    pub header_timeout: Duration,
    /// How long a request may wait for its body, and for an instance. Functions give up at this time, too.
    pub body_timeout: Duration,
    /// How long a client may take nothing of a reply.
    pub reply_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 128 << 20,
            request_timeout: Duration::from_secs(30),
            message_timeout: Duration::from_secs(300),
            max_requests: 128,
            max_concurrent_requests: 16,
            idle_timeout: Duration::from_secs(1),
            idle_timeout_after_hashing: Duration::from_millis(20),
            max_instances: MAX_INSTANCES,
            max_in_flight: 1024,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_millis(4500),
            reply_timeout: Duration::from_secs(30),
        }
    }
}

/// Counts the requests that functions are answering.
pub struct InFlight {
    count: AtomicUsize,
    max: usize,
}

impl InFlight {
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { count: AtomicUsize::new(0), max })
    }

    /// Another request, with its turn to hash a password if it needs one; none if there are too many.
    pub fn admit(self: &Arc<Self>, password_turn: Option<OwnedSemaphorePermit>) -> Option<InFlightRequest> {
        let request = InFlightRequest { in_flight: self.clone(), password_turn };
        (self.count.fetch_add(1, Relaxed) < self.max).then_some(request)
    }
}

/// A request that a function is answering. It counts until this is dropped: until its function is done, even if the
/// client is gone.
pub struct InFlightRequest {
    in_flight: Arc<InFlight>,
    password_turn: Option<OwnedSemaphorePermit>,
}

impl InFlightRequest {
    fn hashes_password(&self) -> bool {
        self.password_turn.is_some()
    }
}

impl Drop for InFlightRequest {
    fn drop(&mut self) {
        self.in_flight.count.fetch_sub(1, Relaxed);
    }
}

/// One more in a count, until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Limits the number of instances to what the engine's pool has room for, and drops them when the runtime stops.
pub struct Instances {
    permits: Arc<Semaphore>,
    max: u32,
    stopping: Arc<Notify>,
}

impl Instances {
    pub fn new(max: u32) -> Self {
        Self { permits: Arc::new(Semaphore::new(max as usize)), max, stopping: Arc::default() }
    }

    /// Waits until another instance may be created. It may exist as long as the permit does.
    pub async fn acquire(&self) -> wasmtime::Result<OwnedSemaphorePermit> {
        Ok(self.permits.clone().acquire_owned().await?)
    }

    /// Drops idle instances and waits until the others have finished.
    pub async fn drain(&self) {
        let all = self.permits.acquire_many(self.max);
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

/// Everything that is needed to create an instance.
pub struct Function {
    pub engine: Engine,
    pub pre: InstancePre<Guest>,
    pub config: Arc<ComponentConfig>,
    pub services: Arc<Services>,
    pub limits: Limits,
    pub instances: Arc<Instances>,
}

impl Function {
    pub fn store(&self) -> Store<Guest> {
        Guest::store(&self.engine, &self.config, &self.services, self.limits.memory)
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

    /// Whether requests like this hash a password.
    pub fn hashes_password(&self, method: &Method, path: &str) -> bool {
        self.function.config.hashes_passwords.iter().any(|endpoint| endpoint.matches(method, path))
    }

    /// The component's name.
    pub fn name(&self) -> &str {
        &self.function.config.name
    }
}

impl HandlerState for Service {
    type StoreData = Guest;
    type WorkerExpiration = Expiration;
    type WorkerState = Worker;

    async fn instantiate(&self) -> wasmtime::Result<Instance<Guest, Expiration, Worker>> {
        let function = &self.function;
        let limits = &function.limits;
        let permit = tokio::time::timeout(limits.body_timeout, function.instances.acquire()).await??;
        let idle_timeout = match function.config.hashes_passwords.is_empty() {
            true => limits.idle_timeout,
            false => limits.idle_timeout_after_hashing,
        };
        let mut store = function.store();
        let service = self.pre.instantiate_async(&mut store).await?;
        Ok(Instance {
            store,
            proxy: Proxy::P3(service),
            view: ViewFn::P3(<Guest as WasiHttpView>::http),
            expiration: Expiration {
                idle_timeout,
                request_timeout: limits.request_timeout,
                timer: Box::pin(tokio::time::sleep(idle_timeout)),
                stopping: Box::pin(function.instances.stopping.clone().notified_owned()),
            },
            state: Worker { function: function.clone(), hashing: Arc::default(), _permit: permit },
        })
    }
}

/// Decides when an instance is dropped. It is polled whenever the instance waits or yields, and a guest that is
/// computing yields too: this is what stops an endless loop.
pub struct Expiration {
    idle_timeout: Duration,
    request_timeout: Duration,
    timer: Pin<Box<Sleep>>,
    stopping: Pin<Box<OwnedNotified>>,
}

impl WorkerExpiration for Expiration {
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>, status: WorkerStatus, start: Instant) -> Poll<()> {
        let timeout = match status {
            WorkerStatus::Idle => {
                if self.stopping.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                self.idle_timeout
            }
            WorkerStatus::Requests | WorkerStatus::PostReturn => self.request_timeout,
        };
        let deadline = (start + timeout).into();
        // The timer may fire early but never late. Resetting it for every request would cost more than an early
        // wake-up.
        if self.timer.deadline() > deadline || self.timer.is_elapsed() {
            self.timer.as_mut().reset(deadline);
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if self.timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(deadline);
        }
    }
}

/// Decides whether an instance accepts another request, and for how long a request may run.
pub struct Worker {
    function: Arc<Function>,
    /// How many of its requests hash a password.
    hashing: Arc<AtomicUsize>,
    _permit: OwnedSemaphorePermit,
}

impl WorkerState for Worker {
    type StoreData = Guest;
    type RequestId = InFlightRequest;

    fn should_accept_request(&self, concurrent: usize, total: usize) -> ShouldAccept {
        let limits = &self.function.limits;
        if total >= limits.max_requests {
            ShouldAccept::Never
        } else if concurrent >= limits.max_concurrent_requests || self.hashing.load(Relaxed) > 0 {
            // An instance computes one thing at a time: beside a hash, a request would wait, and a second hash would leave
            // a core idle.
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        _: StoreContextMut<'_, Guest>,
        in_flight: InFlightRequest,
        _: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        let timeout = tokio::time::sleep(self.function.limits.request_timeout);
        let hashing = in_flight.hashes_password().then(|| Counted::new(&self.hashing));
        Box::pin(async move {
            let (_in_flight, _hashing) = (in_flight, hashing);
            timeout.await;
        })
    }

    fn drop(&self, store: Store<Guest>, result: wasmtime::Result<()>) {
        if let Err(error) = result {
            // Which of its requests caused this is not known: each has a line of its own (see `http`).
            tracing::error!(component = self.function.config.name, "instance failed: {error:#}");
        }
        drop(store);
    }
}
