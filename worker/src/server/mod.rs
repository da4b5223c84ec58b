//! Accepts gateways and runs their calls: some at once, a few after waiting in a queue. It hands back the rest.
//!
//! There is one current-thread runtime per core. A call is first polled on the thread where it arrived, so a call that
//! does not have to wait needs neither a task nor a channel.
//!
//! * `handshake`: TLS, hellos and proofs; `pending_connections`: limits unfinished handshakes
//! * `connection`: the frames of one connection; `calls`: a call from its frame to its result;
//!   `call_streams`: parts of an answer while its call runs; `follow_ups`: what comes after an answer
//! * `queue`: how many calls may wait
//! * `state`: the state that all connections share; `admin`: the admin pages; `traces`: the spans of a call

mod admin;
mod call_streams;
mod calls;
mod connection;
mod follow_ups;
mod handshake;
mod overview;
mod pending_connections;
mod queue;
mod state;
mod traces;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use diffyne_shared::bus::{self, WorkerEntry, WorkerRegistry};
use diffyne_shared::listener::{AcceptedStream, Listener, Stream};
use diffyne_shared::rpc::Endpoint;
use diffyne_shared::settings::mask_url;
use diffyne_shared::settings::worker::WorkerSettings;
use diffyne_shared::task;
use diffyne_shared::trace::Tracer;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, LocalSet};
use tokio_util::sync::CancellationToken;

use crate::announce;
use crate::backend::Backend;
use crate::metrics::WorkerMetrics;
use admin::WorkerAdmin;
use state::WorkerState;

/// Accepted connections that wait for their thread.
const ACCEPTED_MAX: usize = 256;
/// How long gateways may take to hang up after the worker has drained.
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a stopping worker checks whether it has drained.
const DRAIN_CHECK_INTERVAL: Duration = Duration::from_millis(10);
/// How often the clock of a serving thread ticks.
const TICK: Duration = Duration::from_secs(1);
/// How long a worker that stops tries to send its last spans.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// Why a worker does not start.
#[derive(Debug, Error)]
pub enum WorkerStartError {
    /// The worker cannot listen on an address.
    #[error("cannot listen on {address} ({setting}): {error}")]
    Listen {
        /// The setting that names the address.
        setting: &'static str,
        /// The address.
        address: Endpoint,
        /// The system's error.
        error: std::io::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread (DIFFYNE_WORKER_THREADS): {0}")]
    Thread(std::io::Error),
    /// The certificate cannot be used.
    #[error("{0}")]
    Tls(String),
    /// An `OTEL_*` variable is wrong.
    #[error("{0}")]
    Traces(String),
    /// A setting for Redis is wrong.
    #[error("{0}")]
    Redis(String),
}

/// A running worker.
pub struct Worker {
    state: Arc<WorkerState>,
    /// The serving threads run, with their connections, until the last sender is dropped.
    threads: Vec<mpsc::Sender<AcceptedStream>>,
    tasks: Vec<JoinHandle<()>>,
    announcement: Option<JoinHandle<()>>,
    drain_timeout: Duration,
    /// Where the admin pages are.
    pub admin_address: Option<Endpoint>,
}

/// Checks the files and URLs that the settings name, as a start does.
pub fn check(settings: &WorkerSettings) -> Result<(), WorkerStartError> {
    if let Some(url) = &settings.redis.url {
        bus::check_url(url, &settings.redis).map_err(WorkerStartError::Redis)?;
    }
    state::read_tls(settings).map_err(WorkerStartError::Tls)?;
    Tracer::check().map_err(WorkerStartError::Traces)
}

impl Worker {
    /// Starts a worker that listens as its settings say. Must be called within a runtime, on which its tasks run.
    pub fn start(settings: &WorkerSettings, backend: Arc<dyn Backend>) -> Result<Self, WorkerStartError> {
        check(settings)?;
        let bind = |setting, address: &Endpoint| {
            let failed = |error| WorkerStartError::Listen { setting, address: address.clone(), error };
            Listener::bind(address).map_err(failed)
        };
        let listener = match &settings.listen {
            Endpoint::InProcess => None,
            address => Some(bind("DIFFYNE_WORKER_LISTEN", address)?),
        };
        let address = listener.as_ref().and_then(|listener| listener.address().ok());
        let address = address.unwrap_or_else(|| settings.listen.clone());
        let bind_admin = |address| bind("DIFFYNE_WORKER_ADMIN_LISTEN", address);
        let admin_listener = settings.admin_listen.as_ref().map(bind_admin).transpose()?;
        let metrics = WorkerMetrics::new();
        let tracer = Tracer::start("diffyne-worker", &metrics.spans).map_err(WorkerStartError::Traces)?;
        let state = WorkerState::new(settings, backend, metrics, tracer).map_err(WorkerStartError::Tls)?;
        let state = Arc::new(state);
        // The gateway's threads serve the worker of their own process.
        let threads = if listener.is_some() { settings.threads } else { 0 };
        let threads = (0..threads)
            .map(|index| spawn_thread(index, Arc::clone(&state)))
            .collect::<std::io::Result<_>>()
            .map_err(WorkerStartError::Thread)?;
        let drain_timeout = settings.drain_timeout;
        let admin_address = admin_listener.as_ref().and_then(|listener| listener.address().ok());
        let mut worker = Self { state, threads, tasks: Vec::new(), announcement: None, drain_timeout, admin_address };
        if let Some(listener) = admin_listener {
            let source = Arc::new(WorkerAdmin(Arc::clone(&worker.state)));
            worker.tasks.push(task::spawn(diffyne_shared::admin::serve(listener, source)));
        }
        worker.announce(settings, &address)?;
        if let Some(listener) = listener {
            worker.tasks.push(task::spawn(accept(listener, worker.threads.clone(), worker.state.drain.clone())));
        }
        let admin = worker.admin_address.as_ref().map_or("none".to_owned(), ToString::to_string);
        let redis = settings.redis.url.as_deref().map_or("none".to_owned(), mask_url);
        tracing::info!(
            version = diffyne_shared::build(),
            pid = std::process::id(),
            worker = worker.state.id,
            backend = worker.state.backend.name(),
            %address,
            admin,
            threads = worker.threads.len(),
            concurrency = settings.concurrency,
            tokens = settings.tokens.len(),
            redis,
            "listening"
        );
        Ok(worker)
    }

    /// Announces the worker in Redis, where the settings name one.
    fn announce(&mut self, settings: &WorkerSettings, address: &Endpoint) -> Result<(), WorkerStartError> {
        let Some(url) = &settings.redis.url else { return Ok(()) };
        let tokens = Arc::clone(&self.state.tokens);
        let registry = WorkerRegistry::open(url, &settings.redis, tokens).map_err(WorkerStartError::Redis)?;
        let advertised = settings.advertise.as_ref().unwrap_or(address).to_string();
        let entry = WorkerEntry { id: self.state.id.clone(), address: advertised, draining: false };
        let drain = self.state.drain.clone();
        self.announcement = Some(task::spawn(announce::run(Arc::new(registry), entry, drain)));
        Ok(())
    }

    /// Serves connections of the gateway in this process, each on the thread that opens it.
    pub fn serve_in_process(&self) -> Arc<dyn Fn(Stream) + Send + Sync> {
        let state = Arc::clone(&self.state);
        Arc::new(move |stream| {
            task::spawn_local(connection::serve(Arc::clone(&state), stream));
        })
    }

    /// Replaces the tokens that gateways have to prove, and the certificate. Connected gateways stay connected.
    pub fn set_secrets(&self, settings: &WorkerSettings) -> Result<(), String> {
        self.state.set_secrets(settings)
    }

    /// Stops gracefully: accepts no more calls, hands back queued ones, and lets running ones finish within the limit.
    pub async fn stop(self) {
        let state = &self.state;
        tracing::info!(calls = state.load.load(Ordering::Relaxed), "stopping");
        state.drain.cancel();
        state.backend.gateways(state.connections.load(Ordering::Relaxed), true);
        if let Some(announcement) = self.announcement {
            // The task ends by itself; a panic in it was logged.
            let _ = announcement.await;
        }
        wait_until(self.drain_timeout, || state.load.load(Ordering::Relaxed) == 0).await;
        let left = state.load.load(Ordering::Relaxed);
        if left > 0 {
            tracing::warn!(calls = left, "some calls did not finish in time");
        }
        wait_until(HANG_UP_TIMEOUT, || state.connections.load(Ordering::Relaxed) == 0).await;
        for task in self.tasks {
            task.abort();
        }
        state.tracer.flush(LAST_SPANS).await;
        tracing::info!("stopped");
    }
}

/// Waits for a condition, within a limit.
async fn wait_until(limit: Duration, condition: impl Fn() -> bool) {
    let until = Instant::now() + limit;
    while !condition() && Instant::now() < until {
        tokio::time::sleep(DRAIN_CHECK_INTERVAL).await;
    }
}

async fn accept(listener: Listener, threads: Vec<mpsc::Sender<AcceptedStream>>, drain: CancellationToken) {
    let mut turn = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.cancelled() => return,
        };
        match accepted {
            Ok(accepted) => {
                turn = (turn + 1) % threads.len();
                if threads[turn].send(accepted).await.is_err() {
                    tracing::error!(thread = turn, "a serving thread has ended");
                }
            }
            Err(error) => {
                tracing::error!(%error, "the listener is broken");
                return;
            }
        }
    }
}

/// Has a timer that is soon due on this thread at any time. A timer that is set to be the first one wakes the thread by two
/// system calls; so those of calls, each of which would be that, are not.
async fn tick() {
    let mut tick = tokio::time::interval(TICK);
    loop {
        tick.tick().await;
    }
}

fn spawn_thread(index: usize, state: Arc<WorkerState>) -> std::io::Result<mpsc::Sender<AcceptedStream>> {
    let (sender, mut incoming) = mpsc::channel::<AcceptedStream>(ACCEPTED_MAX);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        LocalSet::new().block_on(&runtime, async move {
            let clock = task::spawn_local(tick());
            while let Some(connection) = incoming.recv().await {
                match connection.into_stream() {
                    Ok(stream) => {
                        task::spawn_local(connection::serve(Arc::clone(&state), stream));
                    }
                    Err(error) => tracing::warn!(%error, "a gateway's connection cannot be used"),
                }
            }
            clock.abort();
        });
    })?;
    Ok(sender)
}
