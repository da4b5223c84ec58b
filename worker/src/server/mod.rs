//! Accepts gateways and runs their calls: as many side by side as configured, a few waiting, the rest handed back.
//!
//! One current-thread runtime a core. A call is polled where it arrived, so one that needs no waiting is answered
//! without a task or a channel.

mod gateway;
mod strangers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use diffyne_shared::admin::{self, AdminSource, ApiFuture, ApiRequest};
use diffyne_shared::bus::{WorkerEntry, WorkerRegistry, random_bits};
use diffyne_shared::listener::{AcceptedStream, Listener, Stream};
use diffyne_shared::rpc::Endpoint;
use diffyne_shared::rpc::handshake::LegacyToken;
use diffyne_shared::settings::worker::WorkerSettings;
use diffyne_shared::tls::ServerTls;
use diffyne_shared::token::{SharedTokens, Tokens};
use hyper::StatusCode;
use prometheus::Registry;
use serde_json::json;
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, LocalSet};
use tokio_util::sync::CancellationToken;

use crate::announce;
use crate::backend::Backend;
use crate::metrics::Metrics;
use strangers::Strangers;

/// Connections on their way to a thread.
const ACCEPTED_MAX: usize = 256;
/// How long gateways may take to hang up on a drained worker.
const HANG_UP: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(10);

/// Why a worker does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address cannot be had.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: Endpoint,
        /// What happened.
        error: std::io::Error,
    },
    /// No thread could be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// The certificate cannot be used.
    #[error("{0}")]
    Tls(String),
    /// A setting of Redis is wrong.
    #[error("{0}")]
    Redis(String),
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) id: String,
    admin_token: Option<String>,
    /// What gateways have to prove; can be exchanged.
    pub(crate) tokens: SharedTokens,
    /// What becomes of gateways that show their token in the clear; can be exchanged.
    pub(crate) legacy_token: ArcSwap<LegacyToken>,
    /// Connections of which nobody knows yet whose they are.
    pub(crate) strangers: Strangers,
    /// How gateways on TCP have to speak; none: in the clear. Can be exchanged.
    pub(crate) tls: ArcSwapOption<ServerTls>,
    pub(crate) concurrency: usize,
    pub(crate) queue_max: usize,
    pub(crate) frame_bytes_max: usize,
    pub(crate) answer_bytes_max: usize,
    pub(crate) slots: Arc<Semaphore>,
    /// Calls running and waiting.
    pub(crate) load: AtomicU32,
    pub(crate) queued: AtomicUsize,
    pub(crate) connections: AtomicUsize,
    pub(crate) drain: CancellationToken,
    pub(crate) metrics: Arc<Metrics>,
}

impl Shared {
    /// Gateways came or went.
    fn gateways(&self, change: impl FnOnce(&AtomicUsize) -> usize) {
        let connected = change(&self.connections);
        self.metrics.connections.set(connected as i64);
        self.backend.gateways(connected, self.drain.is_cancelled());
    }
}

enum Incoming {
    Accepted(AcceptedStream),
    Memory(Stream),
}

/// A running worker.
pub struct Worker {
    /// Where it listens, if it does.
    pub address: Option<Endpoint>,
    /// Where its admin pages are, if anywhere.
    pub admin_address: Option<Endpoint>,
    shared: Arc<Shared>,
    threads: Vec<mpsc::Sender<Incoming>>,
    tasks: Vec<JoinHandle<()>>,
    announcing: Option<JoinHandle<()>>,
    drain_timeout: Duration,
}

struct Admin(Arc<Shared>);

impl AdminSource for Admin {
    fn registry(&self) -> &Registry {
        &self.0.metrics.registry
    }

    fn refresh(&self) {
        let queued = self.0.queued.load(Ordering::Relaxed) as i64;
        self.0.metrics.queued.set(queued);
        self.0.metrics.running.set(i64::from(self.0.load.load(Ordering::Relaxed)) - queued);
        self.0.metrics.concurrency.set(self.0.concurrency as i64);
    }

    fn ready(&self) -> Result<(), String> {
        if self.0.drain.is_cancelled() {
            return Err("this worker is stopping".to_owned());
        }
        self.0.backend.ready()
    }

    fn token(&self) -> Option<&str> {
        self.0.admin_token.as_deref()
    }

    fn api<'a>(&'a self, request: ApiRequest<'a>) -> ApiFuture<'a> {
        let backend = &self.0.backend;
        let answer = match request.path {
            "/api/reload" if backend.reload() => Some((StatusCode::ACCEPTED, json!({"left": backend.reloading()}))),
            "/api/reload" => {
                let error = "This worker runs no PHP processes.";
                Some((StatusCode::CONFLICT, json!({"error": error})))
            }
            "/api/reload/left" => Some((StatusCode::OK, json!({"left": backend.reloading()}))),
            _ => None,
        };
        Box::pin(std::future::ready(answer))
    }
}

impl Worker {
    /// Starts a worker that listens as its settings say. Must be called within a runtime, on which its tasks run.
    pub fn start(settings: &WorkerSettings, backend: Arc<dyn Backend>) -> Result<Self, StartError> {
        let bind = |address: &Endpoint| {
            Listener::bind(address).map_err(|error| StartError::Listen { address: address.clone(), error })
        };
        let listener = bind(&settings.listen)?;
        let address = listener.address().unwrap_or_else(|_| settings.listen.clone());
        let admin_listener = settings.admin_listen.as_ref().map(bind).transpose()?;
        let mut worker = Self::without_listener(settings, backend)?;
        if let Some(listener) = admin_listener {
            worker.admin_address = listener.address().ok();
            worker.tasks.push(tokio::spawn(admin::serve(listener, Arc::new(Admin(Arc::clone(&worker.shared))))));
        }
        if let Some(url) = &settings.redis.url {
            let tokens = Arc::clone(&worker.shared.tokens);
            let registry = WorkerRegistry::open(url, &settings.redis, tokens).map_err(StartError::Redis)?;
            let advertised = settings.advertise.as_ref().unwrap_or(&address).to_string();
            let entry = WorkerEntry { id: worker.shared.id.clone(), address: advertised, draining: false };
            let drain = worker.shared.drain.clone();
            worker.announcing = Some(tokio::spawn(announce::run(Arc::new(registry), entry, drain)));
        }
        worker.tasks.push(tokio::spawn(accept(listener, worker.threads.clone(), worker.shared.drain.clone())));
        tracing::info!(%address, worker = worker.shared.id, backend = worker.shared.backend.name(), "listening");
        worker.address = Some(address);
        Ok(worker)
    }

    /// Starts a worker that takes connections from within the process.
    pub fn in_memory(
        settings: &WorkerSettings,
        backend: Arc<dyn Backend>,
        mut connections: mpsc::Receiver<Stream>,
    ) -> Result<Self, StartError> {
        let mut worker = Self::without_listener(settings, backend)?;
        let threads = worker.threads.clone();
        worker.tasks.push(tokio::spawn(async move {
            let mut turn = 0;
            while let Some(stream) = connections.recv().await {
                turn = (turn + 1) % threads.len();
                if threads[turn].send(Incoming::Memory(stream)).await.is_err() {
                    return;
                }
            }
        }));
        Ok(worker)
    }

    fn without_listener(settings: &WorkerSettings, backend: Arc<dyn Backend>) -> Result<Self, StartError> {
        let metrics = Metrics::new();
        backend.register_metrics(&metrics.registry);
        let shared = Arc::new(Shared {
            backend,
            admin_token: settings.admin_token.clone(),
            id: format!("{}.{:016x}", settings.name, random_bits()),
            tokens: Tokens::shared(&settings.tokens),
            legacy_token: ArcSwap::from_pointee(settings.legacy_token),
            strangers: Strangers::default(),
            tls: ArcSwapOption::new(read_tls(settings).map_err(StartError::Tls)?),
            concurrency: settings.concurrency,
            queue_max: settings.queue_max,
            frame_bytes_max: settings.message_bytes_max + diffyne_shared::rpc::FRAME_OVERHEAD_MAX,
            answer_bytes_max: settings.answer_bytes_max,
            slots: Arc::new(Semaphore::new(settings.concurrency.min(Semaphore::MAX_PERMITS))),
            load: AtomicU32::new(0),
            queued: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            drain: CancellationToken::new(),
            metrics,
        });
        let mut threads = Vec::new();
        for index in 0..settings.threads {
            threads.push(spawn(index, Arc::clone(&shared)).map_err(StartError::Thread)?);
        }
        Ok(Self {
            address: None,
            admin_address: None,
            shared,
            threads,
            tasks: Vec::new(),
            announcing: None,
            drain_timeout: settings.drain_timeout,
        })
    }

    /// Exchanges the tokens that gateways have to prove, and the certificate. Those who are connected stay so.
    pub fn set_secrets(&self, settings: &WorkerSettings) -> Result<(), String> {
        self.shared.tls.store(read_tls(settings)?);
        self.shared.tokens.store(Arc::new(Tokens::new(&settings.tokens)));
        self.shared.legacy_token.store(Arc::new(settings.legacy_token));
        Ok(())
    }

    /// Stops gracefully: no new calls, what has not started is handed back, what runs finishes within the limit.
    pub async fn stop(self) {
        tracing::info!(calls = self.shared.load.load(Ordering::Relaxed), "stopping");
        self.shared.drain.cancel();
        self.shared.backend.gateways(self.shared.connections.load(Ordering::Relaxed), true);
        if let Some(announcing) = self.announcing {
            // It ends by itself; a panic in it was logged.
            let _ = announcing.await;
        }
        let until = Instant::now() + self.drain_timeout;
        while self.shared.load.load(Ordering::Relaxed) > 0 && Instant::now() < until {
            tokio::time::sleep(STEP).await;
        }
        let left = self.shared.load.load(Ordering::Relaxed);
        if left > 0 {
            tracing::warn!(calls = left, "some calls did not finish in time");
        }
        let until = Instant::now() + HANG_UP;
        while self.shared.connections.load(Ordering::Relaxed) > 0 && Instant::now() < until {
            tokio::time::sleep(STEP).await;
        }
        for task in self.tasks {
            task.abort();
        }
        tracing::info!("stopped");
    }
}

fn read_tls(settings: &WorkerSettings) -> Result<Option<Arc<ServerTls>>, String> {
    let Some((certificate, key)) = &settings.tls else {
        if !settings.listen.is_local() {
            tracing::warn!(
                listen = %settings.listen,
                "calls come from other hosts in the clear: set DIFFYNE_WORKER_TLS_CERT and DIFFYNE_WORKER_TLS_KEY"
            );
        }
        return Ok(None);
    };
    let read = ServerTls::read(certificate, key).map_err(|error| format!("DIFFYNE_WORKER_TLS_CERT: {error}"))?;
    Ok(Some(Arc::new(read)))
}

async fn accept(listener: Listener, threads: Vec<mpsc::Sender<Incoming>>, drain: CancellationToken) {
    let mut turn = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.cancelled() => return,
        };
        match accepted {
            Ok(accepted) => {
                turn = (turn + 1) % threads.len();
                if threads[turn].send(Incoming::Accepted(accepted)).await.is_err() {
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

fn spawn(index: usize, shared: Arc<Shared>) -> std::io::Result<mpsc::Sender<Incoming>> {
    let (sender, mut incoming) = mpsc::channel(ACCEPTED_MAX);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        LocalSet::new().block_on(&runtime, async move {
            while let Some(connection) = incoming.recv().await {
                let stream = match connection {
                    Incoming::Accepted(accepted) => accepted.into_stream(),
                    Incoming::Memory(stream) => Ok(stream),
                };
                match stream {
                    Ok(stream) => {
                        tokio::task::spawn_local(gateway::serve(Arc::clone(&shared), stream));
                    }
                    Err(error) => tracing::warn!(%error, "a gateway's connection cannot be used"),
                }
            }
        });
    })?;
    Ok(sender)
}
