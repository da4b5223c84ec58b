//! Starts and stops a gateway: the bus, the threads, the listener, the admin pages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use diffyne_shared::admin::{self, AdminSource, ApiFuture, ApiRequest};
use diffyne_shared::bus::{Bus, CLAIMS, GatewayIdentity, RedisState, read_event};
use diffyne_shared::listener::Listener;
use diffyne_shared::rpc::Endpoint;
use diffyne_shared::settings::gateway::GatewaySettings;
use diffyne_shared::token::Tokens;
use hyper::{Method, StatusCode};
use prometheus::Registry;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::acceptor;
use crate::cluster;
use crate::grant::Grants;
use crate::handover::Handover;
use crate::handshake::Admission;
use crate::http::{HealthSource, Pages, WorkerCounts};
use crate::hub::{Clock, LEAVE_GRACE};
use crate::memory;
use crate::metrics::{Metrics, advance};
use crate::operator::{self, Order, Whom};
use crate::quota::Quota;
use crate::reactor::{self, Command, Common, ReactorHandle};
use crate::relay::{MemoryConnector, RelaySettings, Wellness, discovery};

/// How often the threads are asked which workers they reach.
const WORKERS_EVERY: Duration = Duration::from_millis(200);
/// How long handshakes may take that were under way at a stop.
const LATE_HANDSHAKES: Duration = Duration::from_secs(2);
/// How long clients may take to answer the last close frame.
const LAST_CLOSES: Duration = Duration::from_secs(4);
const STEP: Duration = Duration::from_millis(20);

/// Why a gateway does not start.
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
    /// A setting of the bus is wrong.
    #[error("{0}")]
    Bus(String),
    /// A certificate cannot be used.
    #[error("{0}")]
    Tls(String),
    /// No thread could be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// The parameters of a query, as a JSON object.
fn query_object(query: &str) -> Value {
    form_urlencoded::parse(query.as_bytes()).map(|(name, value)| (name.into_owned(), Value::from(value))).collect()
}

/// What `dev` adds to a gateway.
pub struct Extras {
    /// Workers in this process.
    pub memory: Option<MemoryConnector>,
    /// Makes the pages from the figures.
    pub pages: Box<dyn FnOnce(Arc<HealthSource>) -> Arc<dyn Pages>>,
}

/// A running gateway.
pub struct Gateway {
    /// Where it listens.
    pub address: Endpoint,
    /// Where the admin pages are, if anywhere.
    pub admin_address: Option<Endpoint>,
    admission: Arc<Admission>,
    health: Arc<HealthSource>,
    common: Arc<Common>,
    threads: Vec<ReactorHandle>,
    joins: Vec<std::thread::JoinHandle<()>>,
    stop_accepting: CancellationToken,
    acceptor: JoinHandle<()>,
    draining: Arc<AtomicBool>,
    drain_asked: Arc<Notify>,
    tasks: Vec<JoinHandle<()>>,
}

struct Admin {
    metrics: Arc<Metrics>,
    bus: Bus,
    health: Arc<HealthSource>,
    draining: Arc<AtomicBool>,
    drain_asked: Arc<Notify>,
    quota: Arc<Quota>,
    threads: Vec<ReactorHandle>,
    token: Option<String>,
}

impl Admin {
    /// Publishes what an application says: a queue job, a cron job.
    fn broadcast(&self, body: &str) -> (StatusCode, Value) {
        let Some(event) = read_event(body) else {
            let error = "The body must be {\"name\": \"...\", \"params\": [...], \"except\"?: client id}.";
            return (StatusCode::UNPROCESSABLE_ENTITY, json!({"error": error}));
        };
        match self.bus.publish(event) {
            Ok(id) => {
                self.metrics.broadcasts_published.inc();
                (StatusCode::ACCEPTED, json!({"id": id}))
            }
            Err(full) => (StatusCode::SERVICE_UNAVAILABLE, json!({"error": full.to_string()})),
        }
    }
}

impl Admin {
    async fn answer(&self, request: ApiRequest<'_>) -> Option<(StatusCode, Value)> {
        let everywhere = async |whom: Option<Whom>, order: fn(Whom) -> Order| {
            let Some(whom) = whom else {
                let error = "Name either a client (its id) or an address.";
                return (StatusCode::UNPROCESSABLE_ENTITY, json!({"error": error}));
            };
            (StatusCode::OK, operator::everywhere(&self.bus, &self.threads, &order(whom)).await)
        };
        Some(match (request.method, request.path) {
            (&Method::POST, "/api/broadcast") => self.broadcast(request.body),
            (&Method::POST, "/api/disconnect") => {
                let body = serde_json::from_str(request.body).unwrap_or_default();
                everywhere(Whom::read(&body), Order::Disconnect).await
            }
            (&Method::GET, "/api/connections") => {
                everywhere(Whom::read(&query_object(request.query)), Order::Find).await
            }
            (&Method::GET, "/api/presence") => {
                let presence = self.bus.presence();
                let total: u64 = presence.values().sum();
                (StatusCode::OK, json!({"connections": total, "gateways": *presence}))
            }
            (&Method::POST, "/api/drain") => {
                self.drain_asked.notify_one();
                let left = self.quota.connections.load(Ordering::Relaxed);
                (StatusCode::ACCEPTED, json!({"connections": left}))
            }
            _ => return None,
        })
    }
}

impl AdminSource for Admin {
    fn registry(&self) -> &Registry {
        &self.metrics.registry
    }

    fn refresh(&self) {
        let counters = self.bus.counters();
        let figure = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        self.metrics.connections.set(self.quota.connections.load(Ordering::Relaxed) as i64);
        self.metrics.redis_up.set(i64::from(self.bus.redis_state() == RedisState::Up));
        self.metrics.broadcasts_waiting.set(figure(&counters.waiting) as i64);
        advance(&self.metrics.redis_reconnects, figure(&counters.reconnects));
        advance(&self.metrics.broadcasts_overflowed, figure(&counters.overflowed));
        advance(&self.metrics.gaps.with_label_values(&["closed"]), figure(&counters.gaps_closed));
        advance(&self.metrics.gaps.with_label_values(&["told"]), figure(&counters.gaps_told));
        for claim in CLAIMS {
            advance(&self.metrics.unproved.with_label_values(&[claim.label()]), self.bus.rejected(claim));
        }
        let WorkerCounts { known, reachable, faulty } = self.health.workers();
        self.metrics.workers.with_label_values(&["reachable"]).set(reachable as i64);
        self.metrics.workers.with_label_values(&["faulty"]).set(faulty as i64);
        self.metrics.workers.with_label_values(&["unreachable"]).set(known.saturating_sub(reachable) as i64);
    }

    fn ready(&self) -> Result<(), String> {
        if self.draining.load(Ordering::Relaxed) {
            return Err("this gateway is stopping".to_owned());
        }
        if self.health.workers().reachable == 0 {
            return Err("no worker is reachable".to_owned());
        }
        Ok(())
    }

    fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    fn api<'a>(&'a self, request: ApiRequest<'a>) -> ApiFuture<'a> {
        Box::pin(self.answer(request))
    }
}

impl Gateway {
    /// Starts; returns when connections are accepted. Must be called within a runtime, on which its tasks run.
    pub fn start(settings: GatewaySettings, extras: Extras) -> Result<Self, StartError> {
        let settings = Arc::new(settings);
        let identity = GatewayIdentity::new(&settings.name);
        let tokens = Tokens::shared(&settings.worker_tokens);
        if settings.worker_tokens.is_empty() && !settings.redis.is_local {
            tracing::warn!(
                "Redis is beyond this machine and DIFFYNE_WORKER_TOKEN is not set: orders of other gateways (/api/disconnect, \
                 /api/connections) and workers on other hosts are not believed"
            );
        }
        let (bus, events) = match &settings.redis.url {
            None => Bus::memory(identity),
            Some(url) => Bus::redis(identity, url, &settings.redis, Arc::clone(&tokens), settings.status_key.clone())
                .map_err(StartError::Bus)?,
        };
        let bind = |address: &Endpoint| {
            acceptor::listen(address).map_err(|error| StartError::Listen { address: address.clone(), error })
        };
        let listener = bind(&settings.listen)?;
        let address = listener.address().unwrap_or_else(|_| settings.listen.clone());
        let admin_listener = match &settings.admin_listen {
            Some(address) => {
                Some(Listener::bind(address).map_err(|error| StartError::Listen { address: address.clone(), error })?)
            }
            None => None,
        };
        let admin_address = admin_listener.as_ref().and_then(|listener| listener.address().ok());

        let metrics = Metrics::new();
        let quota = Quota::new(&settings);
        let health = HealthSource::new(bus.clone(), Arc::clone(&quota));
        let admission = Arc::new(Admission::new(&settings));
        let draining = Arc::new(AtomicBool::new(false));
        let drain_asked = Arc::new(Notify::new());
        let relay = RelaySettings::new(&settings, bus.gateway_id().to_owned(), Arc::clone(&tokens))
            .map_err(|error| StartError::Tls(format!("DIFFYNE_WORKER_TLS_CA: {error}")))?;
        let (worker_list, workers) = watch::channel(discovery::Workers::default());
        let common = Arc::new(Common {
            bus: bus.clone(),
            metrics: Arc::clone(&metrics),
            admission: Arc::clone(&admission),
            tokens,
            relay,
            handover: Arc::new(Handover::new(&settings.signing_keys)),
            pages: (extras.pages)(Arc::clone(&health)),
            clock: Clock::default(),
            quota: Arc::clone(&quota),
            grants: Arc::new(Grants::new(&settings.signing_keys, &settings.cookie_keys, settings.grant_life)),
            handshakes: Arc::new(AtomicUsize::new(0)),
            requests: Arc::new(AtomicUsize::new(0)),
            stopping: CancellationToken::new(),
            memory: extras.memory,
            workers,
            settings: Arc::clone(&settings),
        });
        let mut threads = Vec::new();
        let mut joins = Vec::new();
        for index in 0..settings.threads {
            let (handle, join) = reactor::spawn(index, Arc::clone(&common)).map_err(StartError::Thread)?;
            threads.push(handle);
            joins.push(join);
        }

        let spread = cluster::Spread { bus: bus.clone(), reactions_per_second: settings.reactions_per_second };
        let mut tasks = vec![
            tokio::spawn(cluster::run(events, threads.clone(), common.clock.clone(), Arc::clone(&metrics), spread)),
            tokio::spawn(cluster::count(bus.clone(), Arc::clone(&quota))),
            tokio::spawn(memory::watch(threads.clone(), Arc::clone(&quota), Arc::clone(&metrics), settings.memory_max)),
            tokio::spawn(discovery::run(settings.workers.clone(), bus.workers(), worker_list)),
            tokio::spawn(watch_workers(threads.clone(), Arc::clone(&health))),
        ];
        if let Some(listener) = admin_listener {
            let source = Admin {
                metrics,
                bus: bus.clone(),
                health: Arc::clone(&health),
                draining: Arc::clone(&draining),
                drain_asked: Arc::clone(&drain_asked),
                quota: Arc::clone(&quota),
                threads: threads.clone(),
                token: settings.admin_token.clone(),
            };
            tasks.push(tokio::spawn(admin::serve(listener, Arc::new(source))));
        }
        let stop_accepting = CancellationToken::new();
        let acceptor = tokio::spawn(acceptor::run(listener, threads.clone(), stop_accepting.clone()));
        tracing::info!(%address, gateway = bus.gateway_id(), "listening");
        Ok(Self {
            address,
            admin_address,
            admission,
            health,
            common,
            threads,
            joins,
            stop_accepting,
            acceptor,
            draining,
            drain_asked,
            tasks,
        })
    }

    /// Returns when an operator has asked for a stop.
    pub async fn drain_asked(&self) {
        self.drain_asked.notified().await;
    }

    /// Whether a call would find a worker now.
    pub fn has_worker(&self) -> bool {
        self.health.workers().reachable > 0
    }

    /// Exchanges the WebSocket keys, and the tokens for the next connections to workers and for what is said in Redis.
    pub fn set_secrets(&self, keys: Vec<String>, worker_tokens: &[String]) {
        self.admission.set_keys(keys);
        self.common.tokens.store(Arc::new(Tokens::new(worker_tokens)));
    }

    /// Stops gracefully: takes what the accept queue holds, stops accepting, lets running calls finish within the
    /// limit, closes everybody with 1001, and leaves the cluster.
    pub async fn stop(self) {
        let connections = || self.common.quota.connections.load(Ordering::Relaxed);
        let per_second = f64::from(self.common.settings.drain_rate);
        let window = Duration::from_secs_f64(connections() as f64 / per_second) + LEAVE_GRACE;
        tracing::info!(connections = connections(), ?window, "stopping");
        if window > self.common.settings.drain_timeout {
            tracing::warn!(
                "DIFFYNE_DRAIN_TIMEOUT is shorter than it takes to send everybody away at DIFFYNE_DRAIN_RATE"
            );
        }
        self.draining.store(true, Ordering::Relaxed);
        self.stop_accepting.cancel();
        // The task ends by itself; it cannot fail.
        let _ = self.acceptor.await;
        self.common.stopping.cancel();
        wait_until(LATE_HANDSHAKES, || self.common.handshakes.load(Ordering::Relaxed) == 0).await;
        let share = per_second / self.threads.len() as f64;
        tell(&self.threads, || Command::Drain(share)).await;
        let requests = || self.common.requests.load(Ordering::Relaxed);
        wait_until(self.common.settings.drain_timeout, || connections() + requests() == 0).await;
        if connections() > 0 {
            tracing::warn!(connections = connections(), "some calls did not finish in time");
            tell(&self.threads, || Command::Close).await;
            wait_until(LAST_CLOSES, || connections() == 0).await;
        }
        for task in &self.tasks {
            task.abort();
        }
        self.common.bus.leave().await;
        drop(self.threads);
        for task in self.tasks {
            // Aborted above; what it held is dropped when it has ended.
            let _ = task.await;
        }
        drop(self.common);
        for join in self.joins {
            if join.join().is_err() {
                tracing::error!("a serving thread had panicked");
            }
        }
        tracing::info!("stopped");
    }
}

async fn tell(threads: &[ReactorHandle], command: impl Fn() -> Command) {
    for thread in threads {
        // A thread that has ended needs no telling.
        let _ = thread.commands.send(command()).await;
    }
}

async fn wait_until(limit: Duration, done: impl Fn() -> bool) {
    let until = Instant::now() + limit;
    while !done() && Instant::now() < until {
        tokio::time::sleep(STEP).await;
    }
}

/// Counts the workers that every thread can call.
async fn watch_workers(threads: Vec<ReactorHandle>, health: Arc<HealthSource>) {
    loop {
        let mut all: std::collections::BTreeMap<Endpoint, Wellness> = std::collections::BTreeMap::new();
        for thread in &threads {
            let (ask, answer) = oneshot::channel();
            if thread.commands.send(Command::Workers(ask)).await.is_err() {
                return;
            }
            for (address, wellness) in answer.await.unwrap_or_default() {
                let worst = all.entry(address).or_insert(Wellness::Well);
                *worst = wellness.min(*worst);
            }
        }
        let count = |wellness| all.values().filter(|other| **other == wellness).count();
        let faulty = count(Wellness::Faulty);
        health.set_workers(WorkerCounts { known: all.len(), reachable: count(Wellness::Well) + faulty, faulty });
        tokio::time::sleep(WORKERS_EVERY).await;
    }
}
