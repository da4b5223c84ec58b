//! The state of one serving thread, and the state that all of them share.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use diffyne_shared::bus::{Bus, Position};
use diffyne_shared::envelope::DataHead;
use diffyne_shared::settings::gateway::GatewaySettings;
use diffyne_shared::token::SharedTokens;
use diffyne_shared::trace::Tracer;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::call::CallOrigin;
use super::delivery::Clock;
use super::history::HistoryLimits;
use super::hub::Hub;
use super::lifecycle_events::LifecycleEvents;
use super::parts::Parts;
use super::readers::Readers;
use super::room_index::ShardRooms;
use crate::auth::admission::Admission;
use crate::auth::ended_sessions::EndedSessions;
use crate::auth::grant::Grants;
use crate::auth::sealed_cookies::SealedCookies;
use crate::call_log::CallLog;
use crate::connection::account::Rates;
use crate::connection::component_queues::{PageScripts, PendingCall};
use crate::connection::{Connection, ConnectionLimits, ConnectionTerms};
use crate::http::application_server::ApplicationServer;
use crate::http::idle::IdleConnections;
use crate::http::pace::HandshakePace;
use crate::http::pages::Pages;
use crate::lifecycle::tasks::Lifecycle;
use crate::metrics::Metrics;
use crate::presence::registry::RoomRegistry;
use crate::protocol::{self, Release};
use crate::quota::{Quota, Ticket};
use crate::relay::discovery::Workers;
use crate::relay::{CallHandler, CallRequest, Relay, RelayObserver, RelayResult, RelaySettings};
use crate::socket::DecoderLimits;
use crate::thread_metrics::ShardMetrics;

/// The size of the read buffer, in bytes.
const SCRATCH_BYTES: usize = 64 * 1024;

/// The state that all shards of a gateway share.
pub struct GatewayContext {
    /// The settings of this start.
    pub settings: Arc<GatewaySettings>,
    /// The bus.
    pub bus: Bus,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// What is told of single calls.
    pub call_log: Arc<CallLog>,
    /// Records spans, where a collector wants them.
    pub tracer: Tracer,
    /// Decides who may connect; its keys can be replaced.
    pub admission: Arc<Admission>,
    /// The worker tokens, which prove this gateway to workers and other gateways; can be replaced.
    pub tokens: SharedTokens,
    /// Where the shards report what happens to connections, if anybody is told.
    pub lifecycle: Option<Lifecycle>,
    /// Seals cookies for browsers.
    pub sealed_cookies: Arc<SealedCookies>,
    /// Pages beside the WebSocket.
    pub pages: Arc<dyn Pages>,
    /// Orders subscriptions and deliveries.
    pub clock: Clock,
    /// The limits of this process.
    pub quota: Arc<Quota>,
    /// Signs and verifies grants.
    pub grants: Arc<Grants>,
    /// Who is in which room.
    pub presence: Arc<RoomRegistry>,
    /// Sessions that have ended under a connection.
    pub ended_sessions: Arc<EndedSessions>,
    /// The number of connections that are not a WebSocket yet, those included that wait for their thread.
    pub handshakes: Arc<AtomicUsize>,
    /// The number of AJAX calls that have no response yet.
    pub requests: Arc<AtomicUsize>,
    /// The number of uploads under way.
    pub uploads: Arc<AtomicUsize>,
    /// The web server that takes uploads.
    pub application_server: Option<Arc<ApplicationServer>>,
    /// The server stops, so HTTP connections are not kept alive.
    pub stopping: CancellationToken,
    /// The settings of each shard's relay.
    pub relay: RelaySettings,
    /// The addresses of all workers.
    pub workers: watch::Receiver<Workers>,
}

/// Handles the result of a call. It is a function pointer because `connection` and `http`, which implement it, import
/// this module.
pub(super) type CompleteCall = fn(&Rc<Shard>, CallOrigin, &RelayResult<'_>);

/// One serving thread.
pub struct Shard {
    /// The settings of this start.
    pub settings: Arc<GatewaySettings>,
    /// Decides who may connect.
    pub admission: Arc<Admission>,
    /// This thread's connections.
    pub hub: Hub,
    /// Parts of answers to calls that still run.
    pub parts: Parts,
    /// This thread's connections to workers.
    pub relay: Rc<Relay<CallOrigin>>,
    /// The bus.
    pub bus: Bus,
    /// This thread's counters.
    pub metrics: Rc<ShardMetrics>,
    /// What is told of single calls.
    pub call_log: Arc<CallLog>,
    /// Records spans, where a collector wants them.
    pub tracer: Tracer,
    /// Seals cookies for browsers.
    pub sealed_cookies: Arc<SealedCookies>,
    /// Pages beside the WebSocket.
    pub pages: Arc<dyn Pages>,
    /// The rates at which each connection may cause work.
    pub rates: Rates,
    /// What reads from connections.
    pub readers: Readers,
    /// The buffer of every read.
    pub scratch: RefCell<Box<[u8]>>,
    /// The limits of this process.
    pub quota: Arc<Quota>,
    /// Signs and verifies grants.
    pub grants: Arc<Grants>,
    /// Sessions that have ended under a connection.
    pub ended_sessions: Arc<EndedSessions>,
    /// The HTTP connections of this thread that have sent no request.
    pub idle: Rc<IdleConnections>,
    /// Decides when this thread takes the next handshake.
    pub pace: HandshakePace,
    /// The number of AJAX calls that have no response yet, over all threads.
    pub requests: Arc<AtomicUsize>,
    /// The number of uploads under way, over all threads.
    pub uploads: Arc<AtomicUsize>,
    /// The web server that takes uploads.
    pub application_server: Option<Arc<ApplicationServer>>,
    /// The server stops, so HTTP connections are not kept alive.
    pub stopping: CancellationToken,
    limits: Rc<ConnectionLimits>,
    draining: Cell<bool>,
    request_numbers: Cell<u64>,
}

struct RelayMetrics(Rc<ShardMetrics>);

impl RelayObserver for RelayMetrics {
    fn sent(&self, is_preferred: bool) {
        let counter = if is_preferred { &self.0.sent_to_preferred } else { &self.0.sent_to_other };
        counter.inc();
    }
    fn busy(&self) {
        self.0.busy.inc();
    }
    fn stray_reply(&self) {
        self.0.stray_replies.inc();
    }
    fn cancelled(&self) {
        self.0.in_flight(-1);
    }
    fn worker_connection(&self, up: bool) {
        self.0.worker_connections.add(if up { 1 } else { -1 });
    }
    fn waiting(&self, delta: i64) {
        self.0.calls_waiting.add(delta);
    }
    fn unproved(&self) {
        self.0.unproved.with_label_values(&["worker"]).inc();
    }
}

/// Passes results from the relay to a shard.
struct Completions {
    shard: Weak<Shard>,
    complete: CompleteCall,
}

impl CallHandler<CallOrigin> for Completions {
    fn complete(&self, origin: CallOrigin, result: &RelayResult<'_>) {
        if let Some(shard) = self.shard.upgrade() {
            (self.complete)(&shard, origin, result);
        }
    }

    fn part(&self, call: u64, origin: &CallOrigin, data: &[u8]) {
        if let Some(shard) = self.shard.upgrade() {
            shard.parts.hand_over(&shard.hub, shard.settings.outbox_bytes_max, call, origin, data);
        }
    }

    fn waits_for_client(&self, call: u64) -> bool {
        self.shard.upgrade().is_some_and(|shard| shard.parts.are_waiting(call))
    }

    fn takes_pushes(&self, call: u64) -> bool {
        self.shard.upgrade().is_some_and(|shard| shard.hub.open_calls.get(call).is_some())
    }

    fn pushed(&self, call: u64, data: &[u8]) {
        if let Some(shard) = self.shard.upgrade()
            && let Some((connection, component)) = shard.hub.open_calls.get(call)
        {
            let frame = protocol::push(data);
            // Without data, it was too large for the worker's connection already.
            let fits = !data.is_empty() && frame.len() <= shard.settings.outbox_bytes_max;
            shard.hub.push(&connection, if fits { frame } else { protocol::lost_push(&component) });
        }
    }

    fn pushes_ended(&self, call: u64, lost: bool) {
        if let Some(shard) = self.shard.upgrade()
            && let Some((connection, component)) = shard.hub.open_calls.remove(call)
        {
            if lost {
                shard.hub.push(&connection, protocol::lost_push(&component));
            }
            shard.hub.close_if_drained(&connection);
        }
    }

    fn batch_complete(&self) {
        if let Some(shard) = self.shard.upgrade() {
            shard.hub.flush();
            for sent in shard.parts.take_sent() {
                shard.relay.parts_sent(sent.call, sent.bytes);
            }
        }
    }
}

impl Shard {
    pub(super) fn new(index: usize, context: &GatewayContext, complete: CompleteCall) -> Rc<Self> {
        let settings = Arc::clone(&context.settings);
        let metrics = Rc::new(ShardMetrics::new(Arc::clone(&context.metrics)));
        let ping_seconds = u32::try_from(settings.ping_interval.as_secs()).unwrap_or(25);
        let lifecycle = context.lifecycle.as_ref().map(LifecycleEvents::new);
        let rooms = ShardRooms::new(index, Arc::clone(&context.presence));
        let limits = history_limits(&settings);
        let hub = Hub::new(context.clock.clone(), limits, ping_seconds, rooms, Rc::clone(&metrics), lifecycle);
        Rc::new_cyclic(|shard| {
            let handler = Rc::new(Completions { shard: Weak::clone(shard), complete });
            let observer = Rc::new(RelayMetrics(Rc::clone(&metrics)));
            Self {
                admission: Arc::clone(&context.admission),
                hub,
                parts: Parts::default(),
                relay: Relay::new(context.relay.clone(), observer, handler),
                bus: context.bus.with_own_share(),
                metrics,
                call_log: Arc::clone(&context.call_log),
                tracer: context.tracer.clone(),
                sealed_cookies: Arc::clone(&context.sealed_cookies),
                pages: Arc::clone(&context.pages),
                rates: rates(&settings),
                scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
                readers: Readers::default(),
                quota: Arc::clone(&context.quota),
                grants: Arc::clone(&context.grants),
                ended_sessions: Arc::clone(&context.ended_sessions),
                idle: Rc::default(),
                pace: HandshakePace::default(),
                requests: Arc::clone(&context.requests),
                uploads: Arc::clone(&context.uploads),
                application_server: context.application_server.clone(),
                stopping: context.stopping.clone(),
                limits: Rc::new(connection_limits(&settings)),
                draining: Cell::new(false),
                request_numbers: Cell::new(0),
                settings,
            }
        })
    }

    /// Returns the position up to which this thread has delivered the history. Before the first delivery, it is the
    /// bus's position.
    pub fn position(&self) -> Option<Position> {
        self.hub.position().or_else(|| self.bus.position())
    }

    /// Returns the field that tells a page of an older release which one is served. During a deploy, when the workers run
    /// several, pages are not told of components.
    pub fn release_field(&self, scripts: PageScripts, components: Option<&str>) -> String {
        let scripts = (scripts == PageScripts::Other).then(|| self.pages.release());
        Release { scripts, components: components.filter(|_| self.relay.release().is_some()) }.field()
    }

    /// Compares the release of a page's scripts with the served one.
    pub fn page_scripts(&self, head: &DataHead<'_>) -> PageScripts {
        match head.scripts() {
            Some(scripts) if scripts != self.pages.release() => PageScripts::Other,
            _ => PageScripts::Current,
        }
    }

    /// Returns the limits of a connection's incoming messages.
    pub fn decoder_limits(&self, connection: &Connection) -> DecoderLimits {
        DecoderLimits {
            message_bytes_max: self.settings.message_bytes_max,
            binary: false,
            inflates: connection.transport.deflate().is_some(),
        }
    }

    /// Whether the server stops.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    pub(super) fn set_draining(&self) {
        self.draining.set(true);
    }

    /// Returns a number that no other AJAX request of this thread has.
    pub fn next_request_number(&self) -> u64 {
        self.request_numbers.replace(self.request_numbers.get() + 1)
    }

    /// Hands a connection's call to the relay.
    pub fn submit(&self, connection: &Rc<Connection>, request: CallRequest, pending: PendingCall) {
        self.relay.submit(request, CallOrigin::Socket(Rc::clone(connection), pending));
    }

    /// Returns the terms for a new connection.
    pub fn terms(&self, ticket: Ticket) -> ConnectionTerms {
        // Randomized, so that connections that came together do not leave together.
        let age = self.settings.connection_age_max.mul_f64(0.9 + fastrand::f64() / 5.0);
        ConnectionTerms { ticket, limits: Rc::clone(&self.limits), age_seconds: seconds(age) }
    }
}

/// Returns the limit of a connection in whole seconds.
fn seconds(limit: Duration) -> u32 {
    limit.as_secs_f64().ceil() as u32
}

fn connection_limits(settings: &GatewaySettings) -> ConnectionLimits {
    ConnectionLimits {
        outbox_bytes_max: settings.outbox_bytes_max,
        held_bytes_max: settings.connection_bytes_max,
        message_seconds: seconds(settings.message_timeout),
        outbox_seconds: seconds(settings.outbox_timeout),
        idle_seconds: seconds(settings.idle_timeout),
    }
}

fn history_limits(settings: &GatewaySettings) -> HistoryLimits {
    HistoryLimits {
        length: settings.redis.history_length,
        bytes: settings.redis.history_bytes,
        age: settings.redis.history_age,
    }
}

fn rates(settings: &GatewaySettings) -> Rates {
    Rates {
        work: settings.connection_rate,
        frames: settings.frame_rate,
        messages: settings.message_rate,
        calls: settings.call_rate,
    }
}
