//! Starts and stops a gateway: the bus, the shards, the listener, the admin pages.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use diffyne_shared::bus::{self, Bus, BusEvent, GatewayIdentity};
use diffyne_shared::listener::Listener;
use diffyne_shared::rpc::Endpoint;
use diffyne_shared::settings::gateway::GatewaySettings;
use diffyne_shared::settings::mask_url;
use diffyne_shared::task;
use diffyne_shared::token::{SharedTokens, Tokens};
use diffyne_shared::trace::Tracer;
use diffyne_shared::{admin, descriptors};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::acceptor::{self, Acceptor};
use crate::admin::{DrainState, GatewayAdmin};
use crate::auth::admission::Admission;
use crate::auth::grant::Grants;
use crate::auth::sealed_cookies::SealedCookies;
use crate::call_log::CallLog;
use crate::cluster;
use crate::http::application_server::ApplicationServer;
use crate::http::health::{HealthSource, WorkerCounts};
use crate::http::pages::Pages;
use crate::lifecycle::delivery::Receiver;
use crate::lifecycle::tasks::{Lifecycle, LifecycleTasks};
use crate::lifecycle::webhook::{SharedSecrets, Webhook};
use crate::lifecycle_listener::LifecycleListener;
use crate::memory;
use crate::metrics::{Metrics, RedisUse};
use crate::operator;
use crate::presence::registry::RoomRegistry;
use crate::presence::rooms::RoomLimits;
use crate::presence::{feed, sync};
use crate::publish_api::PublishApi;
use crate::quota::Quota;
pub use crate::relay::OwnWorker;
use crate::relay::discovery::{self, Workers};
use crate::relay::{Health, RelaySettings};
use crate::shard;
use crate::shard::command::{Command, ShardHandle, send_to_all};
use crate::shard::delivery::Clock;
use crate::shard::departures::LEAVE_GRACE;
use crate::shard::state::GatewayContext;

/// The settings that name the public address.
const LISTEN: &str = "DIFFYNE_LISTEN, or DIFFYNE_WS_HOST and DIFFYNE_WS_PORT";
/// How often the shards are asked for the health of the workers.
const WORKERS_EVERY: Duration = Duration::from_millis(200);
/// The time limit at a stop for handshakes in progress.
const LATE_HANDSHAKES: Duration = Duration::from_secs(2);
/// The time limit at a stop for clients to answer the last close frame.
const LAST_CLOSES: Duration = Duration::from_secs(4);
/// How long a gateway that stops tries to send its last spans.
const LAST_SPANS: Duration = Duration::from_secs(2);
/// How often a stopping gateway checks its progress.
const STOP_STEP: Duration = Duration::from_millis(20);

/// Why a gateway does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The gateway cannot listen on an address.
    #[error("cannot listen on {address} ({setting}): {error}")]
    Listen {
        /// The settings that name the address.
        setting: &'static str,
        /// The address.
        address: Endpoint,
        /// The system's error.
        error: std::io::Error,
    },
    /// A setting of the bus is wrong.
    #[error("{0}")]
    Bus(String),
    /// A certificate cannot be used.
    #[error("{0}")]
    Tls(String),
    /// An `OTEL_*` variable is wrong.
    #[error("{0}")]
    Traces(String),
    /// A thread cannot be started.
    #[error("cannot start a thread (DIFFYNE_THREADS): {0}")]
    Thread(std::io::Error),
}

/// Creates the pages that a gateway serves beside the WebSocket.
pub type MakePages = Box<dyn FnOnce(Arc<HealthSource>) -> Arc<dyn Pages>>;

/// A running gateway.
pub struct Gateway {
    /// The address on which the gateway listens.
    pub address: Endpoint,
    /// The address of the admin pages, if they are served.
    pub admin_address: Option<Endpoint>,
    health: Arc<HealthSource>,
    context: Arc<GatewayContext>,
    shards: Vec<ShardHandle>,
    threads: Vec<std::thread::JoinHandle<()>>,
    stop_accepting: CancellationToken,
    acceptor: JoinHandle<()>,
    drain: Arc<DrainState>,
    tasks: Vec<JoinHandle<()>>,
    /// Tells the application what happens to connections.
    lifecycle: Option<LifecycleTasks>,
    webhook_secrets: SharedSecrets,
}

/// The listeners of a gateway, bound before anything else starts.
struct Listeners {
    public: Listener,
    address: Endpoint,
    admin: Option<Listener>,
    admin_address: Option<Endpoint>,
}

impl Listeners {
    fn bind(settings: &GatewaySettings) -> Result<Self, StartError> {
        let failed =
            |setting, address: &Endpoint, error| StartError::Listen { setting, address: address.clone(), error };
        let public = acceptor::listen(&settings.listen).map_err(|error| failed(LISTEN, &settings.listen, error))?;
        let address = public.address().unwrap_or_else(|_| settings.listen.clone());
        let bind = |address: &Endpoint| {
            Listener::bind(address).map_err(|error| failed("DIFFYNE_ADMIN_LISTEN", address, error))
        };
        let admin = settings.admin_listen.as_ref().map(bind).transpose()?;
        let admin_address = admin.as_ref().and_then(|listener| listener.address().ok());
        Ok(Self { public, address, admin, admin_address })
    }
}

/// Checks the files and URLs that the settings name, as a start does.
pub fn check(settings: &GatewaySettings) -> Result<(), StartError> {
    if let Some(url) = &settings.redis.url {
        bus::check_url(url, &settings.redis).map_err(StartError::Bus)?;
    }
    RelaySettings::new(settings, String::new(), Tokens::shared(&[])).map_err(wrong_worker_ca)?;
    ApplicationServer::new(&settings.upload).map_err(wrong_upload_ca)?;
    Webhook::new(&settings.lifecycle, SharedSecrets::default()).map_err(wrong_webhook_ca)?;
    Tracer::check().map_err(StartError::Traces)
}

fn wrong_worker_ca(error: String) -> StartError {
    StartError::Tls(format!("DIFFYNE_WORKER_TLS_CA: {error}"))
}

fn wrong_webhook_ca(error: String) -> StartError {
    StartError::Tls(format!("DIFFYNE_WEBHOOK_CA: {error}"))
}

fn wrong_upload_ca(error: String) -> StartError {
    StartError::Tls(format!("DIFFYNE_UPLOAD_CA: {error}"))
}

impl Gateway {
    /// Starts a gateway. Returns when it accepts connections. Its background tasks run on the caller's runtime.
    pub fn start(settings: GatewaySettings, make_pages: MakePages) -> Result<Self, StartError> {
        Self::start_with(settings, make_pages, None)
    }

    /// Starts a gateway with a worker in the same process, at [`Endpoint::InProcess`].
    pub fn start_with(
        settings: GatewaySettings,
        make_pages: MakePages,
        own_worker: Option<OwnWorker>,
    ) -> Result<Self, StartError> {
        let settings = Arc::new(settings);
        check(&settings)?;
        let tokens = Tokens::shared(&settings.worker_tokens);
        let (bus, events) = open_bus(&settings, &tokens)?;
        let listeners = Listeners::bind(&settings)?;
        let quota = Quota::new(&settings);
        let health = HealthSource::new(bus.clone(), Arc::clone(&quota));
        let (worker_list, workers) = watch::channel(Workers::default());
        let pages = make_pages(Arc::clone(&health));
        let context = Arc::new(context(&settings, &bus, tokens, quota, pages, workers, own_worker)?);
        let (shards, threads) = spawn_shards(&context)?;
        let drain = Arc::new(DrainState::default());
        let webhook_secrets = SharedSecrets::new(ArcSwap::from_pointee(settings.lifecycle.secrets.clone()));
        let lifecycle = start_lifecycle(&context, &shards, &webhook_secrets)?;

        let mut tasks = spawn_tasks(&context, &shards, &health, events, worker_list);
        if let Some(listener) = listeners.admin {
            let source = admin_source(&context, &shards, &health, &drain);
            tasks.push(task::spawn(admin::serve(listener, Arc::new(source))));
        }
        let stop_accepting = CancellationToken::new();
        let descriptors_max = descriptors::raise_limit();
        let acceptor = Acceptor::new(listeners.public, shards.clone(), Arc::clone(&context), descriptors_max);
        let acceptor = task::spawn(acceptor.run(stop_accepting.clone()));
        log_start(&context, &listeners.address, listeners.admin_address.as_ref(), descriptors_max);
        Ok(Self {
            address: listeners.address,
            admin_address: listeners.admin_address,
            health,
            context,
            shards,
            threads,
            stop_accepting,
            acceptor,
            drain,
            tasks,
            lifecycle,
            webhook_secrets,
        })
    }

    /// Returns when an operator has asked for a stop.
    pub async fn drain_requested(&self) {
        self.drain.requested.notified().await;
    }

    /// Whether any worker can be reached now.
    pub fn has_worker(&self) -> bool {
        self.health.workers().reachable > 0
    }

    /// Replaces the WebSocket keys, the worker tokens, and the secrets that sign webhooks. The tokens apply to new connections and new messages in
    /// Redis.
    pub fn set_secrets(&self, keys: Vec<String>, worker_tokens: &[String], webhook: Vec<String>) {
        self.context.admission.set_keys(keys);
        self.webhook_secrets.store(Arc::new(webhook));
        self.context.tokens.store(Arc::new(Tokens::new(worker_tokens)));
    }

    /// Has load balancers leave this gateway out (`/ready` says 503) while it goes on accepting and serving. Returns for
    /// how long it is to do so.
    pub fn leave_rotation(&self) -> Duration {
        let delay = self.context.settings.shutdown_delay;
        if !self.drain.draining.swap(true, Ordering::Relaxed) && !delay.is_zero() {
            tracing::info!(?delay, "told to stop: serving on, while /ready says 503");
        }
        delay
    }

    /// Stops gracefully.
    ///
    /// It takes the connections in the accept queue and stops accepting; lets running calls finish within
    /// `DIFFYNE_DRAIN_TIMEOUT`; closes all connections with 1001; and leaves the cluster.
    pub async fn stop(self) {
        self.warn_of_short_drain();
        self.drain.draining.store(true, Ordering::Relaxed);
        self.stop_accepting.cancel();
        // The task ends by itself and cannot fail.
        let _ = self.acceptor.await;
        wait_until(LATE_HANDSHAKES, || self.context.metrics.handshakes_waiting.get() == 0).await;
        self.context.stopping.cancel();
        drain_connections(&self.context, &self.shards).await;
        if let Some(lifecycle) = self.lifecycle {
            lifecycle.stop().await;
        }
        for task in &self.tasks {
            task.abort();
        }
        self.context.bus.leave().await;
        drop(self.shards);
        for task in self.tasks {
            // The task was aborted above. Awaiting it drops what it held.
            let _ = task.await;
        }
        self.context.tracer.flush(LAST_SPANS).await;
        drop(self.context);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a serving thread had panicked");
            }
        }
        tracing::info!("stopped");
    }

    fn warn_of_short_drain(&self) {
        let connections = self.context.quota.connections.load(Ordering::Relaxed);
        let settings = &self.context.settings;
        let window = Duration::from_secs_f64(connections as f64 / f64::from(settings.drain_rate)) + LEAVE_GRACE;
        tracing::info!(connections, ?window, "stopping");
        if window > settings.drain_timeout {
            tracing::warn!(
                "DIFFYNE_DRAIN_TIMEOUT is shorter than it takes to send everybody away at DIFFYNE_DRAIN_RATE"
            );
        }
    }
}

/// The line by which an operator sees what has started, and how.
fn log_start(context: &GatewayContext, address: &Endpoint, admin: Option<&Endpoint>, descriptors: usize) {
    let settings = &context.settings;
    let keys = match settings.keys.len() {
        0 => "none: whoever may connect needs no key".to_owned(),
        count => format!("{count}, one of which a page has to show"),
    };
    let bus = settings.redis.url.as_deref().map_or("memory: no other gateway".to_owned(), mask_url);
    tracing::info!(
        version = diffyne_shared::build(),
        pid = std::process::id(),
        gateway = context.bus.gateway_id(),
        %address,
        admin = admin.map_or("none".to_owned(), ToString::to_string),
        threads = settings.threads,
        descriptors,
        origins = settings.origins.join(","),
        keys,
        bus,
        workers = settings.workers.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        "listening"
    );
}

fn open_bus(settings: &GatewaySettings, tokens: &SharedTokens) -> Result<(Bus, mpsc::Receiver<BusEvent>), StartError> {
    if settings.worker_tokens.is_empty() && !settings.redis.is_local {
        tracing::warn!(
            "Redis is on another machine and DIFFYNE_WORKER_TOKEN is not set: this gateway ignores commands of other \
             gateways (/api/disconnect, /api/connections) and workers on other hosts"
        );
    }
    let identity = GatewayIdentity::new(&settings.name);
    match &settings.redis.url {
        None => Ok(Bus::memory(identity)),
        Some(url) => Bus::redis(identity, url, &settings.redis, Arc::clone(tokens), settings.status_key.clone())
            .map_err(StartError::Bus),
    }
}

fn context(
    settings: &Arc<GatewaySettings>,
    bus: &Bus,
    tokens: SharedTokens,
    quota: Arc<Quota>,
    pages: Arc<dyn Pages>,
    workers: watch::Receiver<Workers>,
    own_worker: Option<OwnWorker>,
) -> Result<GatewayContext, StartError> {
    let relay =
        RelaySettings::new(settings, bus.gateway_id().to_owned(), Arc::clone(&tokens)).map_err(wrong_worker_ca)?;
    let relay = RelaySettings { own_worker, ..relay };
    let application_server = ApplicationServer::new(&settings.upload).map_err(wrong_upload_ca)?;
    let metrics = Metrics::new(bus.counters(), if settings.redis.url.is_some() { RedisUse::Yes } else { RedisUse::No });
    Ok(GatewayContext {
        bus: bus.clone(),
        tracer: Tracer::start("diffyne-gateway", &metrics.spans).map_err(StartError::Traces)?,
        lifecycle: Lifecycle::new(&settings.lifecycle, bus, &metrics),
        metrics,
        call_log: Arc::new(CallLog::new(settings.slow_call)),
        admission: Arc::new(Admission::new(settings)),
        tokens,
        relay,
        sealed_cookies: Arc::new(SealedCookies::new(&settings.signing_keys)),
        pages,
        clock: Clock::default(),
        quota,
        grants: Arc::new(Grants::new(&settings.signing_keys, &settings.cookie_keys, settings.grant_life)),
        presence: RoomRegistry::new(bus.gateway_id(), bus.has_others(), room_limits(settings)),
        ended_sessions: Arc::default(),
        handshakes: Arc::new(AtomicUsize::new(0)),
        requests: Arc::new(AtomicUsize::new(0)),
        uploads: Arc::new(AtomicUsize::new(0)),
        application_server: application_server.map(Arc::new),
        stopping: CancellationToken::new(),
        workers,
        settings: Arc::clone(settings),
    })
}

/// Starts what delivers the events of connections, where somebody gets them.
fn start_lifecycle(
    context: &GatewayContext,
    shards: &[ShardHandle],
    secrets: &SharedSecrets,
) -> Result<Option<LifecycleTasks>, StartError> {
    let Some(lifecycle) = &context.lifecycle else { return Ok(None) };
    let settings = &context.settings;
    let webhook = Webhook::new(&settings.lifecycle, Arc::clone(secrets)).map_err(wrong_webhook_ca)?;
    let receiver: Box<dyn Receiver> = match (webhook, &settings.lifecycle.listener, shards.first()) {
        (Some(webhook), ..) => Box::new(webhook),
        (None, Some(class), Some(shard)) => {
            Box::new(LifecycleListener { class: class.clone(), shard: shard.clone(), timeout: settings.call_timeout })
        }
        (None, ..) => return Ok(None),
    };
    let (message_bytes_max, bus) = (settings.message_bytes_max, &context.bus);
    Ok(Some(LifecycleTasks::start(lifecycle, &settings.lifecycle, receiver, message_bytes_max, bus, &context.metrics)))
}

fn room_limits(settings: &GatewaySettings) -> RoomLimits {
    RoomLimits {
        members_max: settings.presence_members_max,
        bytes_max: settings.presence_bytes_max,
        grace: settings.presence_grace,
    }
}

type Shards = (Vec<ShardHandle>, Vec<std::thread::JoinHandle<()>>);

fn spawn_shards(context: &Arc<GatewayContext>) -> Result<Shards, StartError> {
    let spawn = |index| shard::spawn(index, Arc::clone(context)).map_err(StartError::Thread);
    (0..context.settings.threads).map(spawn).collect::<Result<Vec<_>, _>>().map(|shards| shards.into_iter().unzip())
}

/// Starts the tasks that run beside the shards until the gateway stops.
fn spawn_tasks(
    context: &Arc<GatewayContext>,
    shards: &[ShardHandle],
    health: &Arc<HealthSource>,
    events: mpsc::Receiver<BusEvent>,
    worker_list: watch::Sender<Workers>,
) -> Vec<JoinHandle<()>> {
    let settings = &context.settings;
    let (bus, quota, metrics) = (&context.bus, &context.quota, &context.metrics);
    let deliveries = cluster::Deliveries {
        bus: bus.clone(),
        shards: shards.to_vec(),
        clock: context.clock.clone(),
        metrics: Arc::clone(metrics),
        grants: Arc::clone(&context.grants),
        presence: Arc::clone(&context.presence),
        tracer: context.tracer.clone(),
        reactions_per_second: settings.reactions_per_second,
    };
    let memory = memory::watch(shards.to_vec(), Arc::clone(quota), Arc::clone(metrics), settings.memory_max);
    let presence = || Arc::clone(&context.presence);
    vec![
        task::spawn(feed::tell_changes(presence(), shards.to_vec(), Arc::clone(metrics))),
        task::spawn(feed::deliver_whispers(presence(), shards.to_vec(), bus.clone(), Arc::clone(metrics))),
        task::spawn(sync::run(presence(), bus.clone(), Arc::clone(metrics))),
        task::spawn(deliveries.run(events)),
        task::spawn(cluster::count_connections(bus.clone(), Arc::clone(quota))),
        task::spawn(memory),
        task::spawn(discovery::run(settings.workers.clone(), bus.workers(), worker_list)),
        task::spawn(watch_workers(shards.to_vec(), Arc::clone(health))),
    ]
}

fn admin_source(
    context: &GatewayContext,
    shards: &[ShardHandle],
    health: &Arc<HealthSource>,
    drain: &Arc<DrainState>,
) -> GatewayAdmin {
    GatewayAdmin {
        metrics: Arc::clone(&context.metrics),
        bus: context.bus.clone(),
        presence: Arc::clone(&context.presence),
        call_log: Arc::clone(&context.call_log),
        publish: Arc::new(PublishApi::new(&context.bus, Arc::clone(&context.metrics), context.settings.publish_wait)),
        health: Arc::clone(health),
        drain: Arc::clone(drain),
        quota: Arc::clone(&context.quota),
        shards: shards.to_vec(),
        tokens: context.settings.admin_tokens.clone(),
    }
}

/// Disconnects all clients and waits for running calls. After `DIFFYNE_DRAIN_TIMEOUT`, it closes the remaining
/// connections.
async fn drain_connections(context: &GatewayContext, shards: &[ShardHandle]) {
    let connections = || context.quota.connections.load(Ordering::Relaxed);
    let requests = || context.requests.load(Ordering::Relaxed);
    wait_until(LATE_HANDSHAKES, || context.handshakes.load(Ordering::Relaxed) == 0).await;
    let per_second = f64::from(context.settings.drain_rate) / shards.len() as f64;
    send_to_all(shards, || Command::Drain(per_second)).await;
    wait_until(context.settings.drain_timeout, || connections() + requests() == 0).await;
    if connections() > 0 {
        tracing::warn!(connections = connections(), "some calls did not finish in time");
        send_to_all(shards, || Command::Close).await;
        wait_until(LAST_CLOSES, || connections() == 0).await;
    }
    if connections() > 0 && context.lifecycle.is_some() {
        send_to_all(shards, || Command::Abandon).await;
        // Another command is executed when that one has been. A thread that does not get there holds up no stop.
        let _ = tokio::time::timeout(LAST_CLOSES, operator::workers(shards)).await;
    }
}

async fn wait_until(limit: Duration, done: impl Fn() -> bool) {
    let until = Instant::now() + limit;
    while !done() && Instant::now() < until {
        tokio::time::sleep(STOP_STEP).await;
    }
}

/// Counts the workers by health.
async fn watch_workers(shards: Vec<ShardHandle>, health: Arc<HealthSource>) {
    loop {
        let Some(all) = operator::workers(&shards).await else { return };
        let count = |health| all.values().filter(|other| **other == health).count();
        let outdated = count(Health::Outdated);
        health.set_workers(WorkerCounts {
            known: all.len(),
            reachable: count(Health::Healthy) + outdated,
            faulty: count(Health::Degraded),
            outdated,
        });
        tokio::time::sleep(WORKERS_EVERY).await;
    }
}
