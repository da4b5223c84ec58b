//! The gateway's part of the admin listener: metrics, readiness, and the API for operators and applications.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use diffyne_shared::BoxFuture;
use diffyne_shared::admin::history::{History, Series};
use diffyne_shared::admin::overview::Overview;
use diffyne_shared::admin::{AdminSource, ApiFuture, ApiRequest};
use diffyne_shared::admin_tokens::AdminTokens;
use diffyne_shared::bus::{Bus, CLAIMS, DISCONNECT_EVENT, RedisState};
use hyper::{Method, StatusCode};
use prometheus::Registry;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::call_log::CallLog;
use crate::connection::selector::{ConnectionPage, ConnectionSelector};
use crate::http::health::HealthSource;
use crate::metrics::{Metrics, advance};
use crate::operator::{self, ClusterCommand};
use crate::overview;
use crate::presence::registry::RoomRegistry;
use crate::presence_api;
use crate::publish_api::{ApiResponse, KEY_FIELD, PublishApi};
use crate::quota::Quota;
use crate::shard::command::ShardHandle;

/// How long a request waits until a user's connections are closed, and how often it looks.
const DISCONNECT_TIME: Duration = Duration::from_secs(2);
const DISCONNECT_STEP: Duration = Duration::from_millis(20);

/// Where applications publish.
const PUBLISH_PATH: &str = "/api/broadcast";

/// The state of a stop.
#[derive(Debug, Default)]
pub struct DrainState {
    /// The gateway is stopping.
    pub draining: AtomicBool,
    /// An operator asked for a stop.
    pub requested: Notify,
}

/// The source of a gateway's admin pages.
pub struct GatewayAdmin {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The bus.
    pub bus: Bus,
    /// Who is in which room.
    pub presence: Arc<RoomRegistry>,
    /// Publishes for applications.
    pub publish: Arc<PublishApi>,
    /// Knows calls that have failed.
    pub call_log: Arc<CallLog>,
    /// Knows the health of the workers.
    pub health: Arc<HealthSource>,
    /// The state of a stop.
    pub drain: Arc<DrainState>,
    /// Counts connections.
    pub quota: Arc<Quota>,
    /// The serving threads.
    pub shards: Vec<ShardHandle>,
    /// Who may ask.
    pub tokens: AdminTokens,
}

impl GatewayAdmin {
    async fn route(&self, request: ApiRequest<'_>) -> Option<ApiResponse> {
        Some(match (request.method, request.path) {
            (&Method::POST, PUBLISH_PATH) if request.body.contains(KEY_FIELD) => {
                self.publish_to_the_end(request.body).await
            }
            (&Method::POST, PUBLISH_PATH) => self.publish.handle(request.body).await,
            (&Method::POST, "/api/disconnect") => {
                let body = serde_json::from_str(request.body).unwrap_or_default();
                self.disconnect(&body).await
            }
            (&Method::GET, "/api/connections") => self.connections(request.query).await,
            (&Method::GET, "/api/events") => {
                (StatusCode::OK, operator::run_everywhere(&self.bus, &self.shards, &ClusterCommand::Events).await)
            }
            (&Method::GET, "/api/presence") => match query_object(request.query).get("room") {
                Some(room) => presence_api::members(&self.bus, &self.presence, room).await,
                None => self.connections_by_gateway(),
            },
            (&Method::POST, "/api/drain") => self.request_drain(),
            _ => return None,
        })
    }

    /// Publishes what has to be published whole. Goes on when the application has hung up: a key that nobody settles, say,
    /// would be taken, and its event published again by whoever repeats it later.
    async fn publish_to_the_end(&self, body: &str) -> ApiResponse {
        let (publish, body) = (Arc::clone(&self.publish), body.to_owned());
        let published = tokio::spawn(async move { publish.handle(&body).await }).await;
        published.unwrap_or_else(|_panicked| {
            (StatusCode::INTERNAL_SERVER_ERROR, json!({"error": "A fault of this gateway."}))
        })
    }

    async fn run_everywhere(&self, selector: &Value, command: fn(ConnectionSelector) -> ClusterCommand) -> ApiResponse {
        let Some(selector) = ConnectionSelector::read(selector) else {
            let error = "Name either a client (its id), an address, or a user (1 to 255 bytes).";
            return (StatusCode::UNPROCESSABLE_ENTITY, json!({"error": error}));
        };
        (StatusCode::OK, operator::run_everywhere(&self.bus, &self.shards, &command(selector)).await)
    }

    /// Closes connections. A user's are counted, and closed by an event: gateways that do not answer now, or start later,
    /// find it in the history.
    async fn disconnect(&self, selector: &Value) -> ApiResponse {
        let Some(ConnectionSelector::User(user)) = ConnectionSelector::read(selector) else {
            return self.run_everywhere(selector, ClusterCommand::Disconnect).await;
        };
        let (_, found) = self.run_everywhere(selector, ClusterCommand::Find).await;
        let params = json!([{"reconnect": user.reconnect}]);
        let event = json!({"name": DISCONNECT_EVENT, "params": params, "user": user.id});
        let (status, published) = self.publish_to_the_end(&event.to_string()).await;
        if status != StatusCode::ACCEPTED {
            return (status, published);
        }
        self.wait_for_end(selector, &clients(&found)).await;
        (StatusCode::OK, json!({"disconnected": found["total"], "silent": found["silent"]}))
    }

    /// Waits until connections that were found are closed, for a while. Those who have come back since are others.
    async fn wait_for_end(&self, selector: &Value, closing: &HashSet<String>) {
        let until = Instant::now() + DISCONNECT_TIME;
        let mut is_closed = closing.is_empty();
        while !is_closed && Instant::now() < until {
            tokio::time::sleep(DISCONNECT_STEP).await;
            let (_, left) = self.run_everywhere(selector, ClusterCommand::Find).await;
            is_closed = clients(&left).is_disjoint(closing);
        }
    }

    /// The connections that a query selects, or else a page of all.
    async fn connections(&self, query: &str) -> ApiResponse {
        let query = query_object(query);
        if ["client", "address", "user"].iter().any(|name| query.get(name).is_some()) {
            return self.run_everywhere(&query, ClusterCommand::Find).await;
        }
        match ConnectionPage::read(&query) {
            Ok(page) => {
                let command = ClusterCommand::List(page);
                (StatusCode::OK, operator::run_everywhere(&self.bus, &self.shards, &command).await)
            }
            Err(error) => (StatusCode::UNPROCESSABLE_ENTITY, json!({"error": error})),
        }
    }

    fn connections_by_gateway(&self) -> ApiResponse {
        let presence = self.bus.presence();
        let total: u64 = presence.values().sum();
        (StatusCode::OK, json!({"connections": total, "gateways": *presence}))
    }

    fn request_drain(&self) -> ApiResponse {
        self.drain.requested.notify_one();
        let left = self.quota.connections.load(Ordering::Relaxed);
        (StatusCode::ACCEPTED, json!({"connections": left}))
    }

    fn refresh_bus(&self) {
        let counters = self.bus.counters();
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.metrics.redis_up.set(i64::from(self.bus.redis_state() == RedisState::Up));
        self.metrics.broadcasts_waiting.set(value(&counters.waiting) as i64);
        let (waiting, dropped) = self.bus.ingress();
        self.metrics.ingress_waiting.set(waiting as i64);
        advance(&self.metrics.ingress_dropped, dropped);
        advance(&self.metrics.redis_reconnects, value(&counters.reconnects));
        advance(&self.metrics.broadcasts_overflowed, value(&counters.overflowed));
        advance(&self.metrics.gaps.with_label_values(&["closed"]), value(&counters.gaps_closed));
        advance(&self.metrics.gaps.with_label_values(&["told"]), value(&counters.gaps_told));
        for claim in CLAIMS {
            advance(&self.metrics.unproved.with_label_values(&[claim.label()]), self.bus.rejected(claim));
        }
    }
}

/// Returns the ids of the connections that gateways have found.
fn clients(found: &Value) -> HashSet<String> {
    let connections = found["connections"].as_array().into_iter().flatten();
    connections.filter_map(|connection| connection["client"].as_str()).map(str::to_owned).collect()
}

/// Returns the parameters of a query as a JSON object.
fn query_object(query: &str) -> Value {
    form_urlencoded::parse(query.as_bytes()).map(|(name, value)| (name.into_owned(), Value::from(value))).collect()
}

impl AdminSource for GatewayAdmin {
    fn registry(&self) -> &Registry {
        &self.metrics.registry
    }

    fn refresh(&self) {
        self.metrics.connections.set(self.quota.connections.load(Ordering::Relaxed) as i64);
        self.refresh_bus();
        let workers = self.health.workers();
        let set = |state, count| self.metrics.workers.with_label_values(&[state]).set(count as i64);
        set("reachable", workers.reachable);
        set("faulty", workers.faulty);
        set("unreachable", workers.unreachable());
        self.metrics.workers_outdated.set(workers.outdated as i64);
    }

    fn ready(&self) -> Result<(), String> {
        if self.drain.draining.load(Ordering::Relaxed) {
            return Err("this gateway is stopping".to_owned());
        }
        self.health.workers().none_usable().map_or(Ok(()), Err)
    }

    fn health(&self) -> Option<Value> {
        Some(self.health.details())
    }

    fn series(&self) -> &'static [Series] {
        &overview::SERIES
    }

    fn overview<'a>(&'a self, history: &'a History) -> BoxFuture<'a, Overview> {
        let sources = overview::Sources {
            metrics: &self.metrics,
            bus: &self.bus,
            health: &self.health,
            call_log: &self.call_log,
            shards: &self.shards,
        };
        Box::pin(overview::of(sources, history))
    }

    fn tokens(&self) -> &AdminTokens {
        &self.tokens
    }

    fn is_audited(&self, path: &str) -> bool {
        path != PUBLISH_PATH
    }

    fn api<'a>(&'a self, request: ApiRequest<'a>) -> ApiFuture<'a> {
        Box::pin(self.route(request))
    }
}
