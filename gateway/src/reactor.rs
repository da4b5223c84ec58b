//! One serving thread: its connections, its relay, its buffers. Threads meet only at the bus and the counters.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use diffyne_shared::bus::{Bus, Position};
use diffyne_shared::listener::AcceptedStream;
use diffyne_shared::settings::gateway::GatewaySettings;
use diffyne_shared::token::SharedTokens;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use crate::connection::account::Rates;
use crate::connection::lanes::Pending;
use crate::connection::subscription::{self, Question};
use crate::connection::{self, Connection, Terms, reply};
use crate::grant::Grants;
use crate::handover::Handover;
use crate::handshake::Admission;
use crate::history::HistoryLimits;
use crate::http::{self, Intake, Pages, twin};
use crate::hub::{Clock, Comeback, Delivery, Hub, Large};
use crate::metrics::{Metrics, ThreadMetrics};
use crate::operator::{Whom, describe};
use crate::quota::{Quota, Ticket};
use crate::relay::discovery::Workers;
use crate::relay::{MemoryConnector, Relay, RelayObserver, RelaySettings, Request};
use crate::socket::{Close, Limits, frame};

/// One read from a connection.
const SCRATCH_BYTES: usize = 64 * 1024;
/// Accepted connections on their way to a thread.
const ACCEPTED_MAX: usize = 1024;
/// How often this thread's counters are added to the shared ones.
const COUNT_EVERY: Duration = Duration::from_millis(100);
/// Broadcasts on their way to a thread.
const DELIVERIES_MAX: usize = 256;

/// What all threads share.
pub struct Common {
    /// The settings of this start.
    pub settings: Arc<GatewaySettings>,
    /// The bus.
    pub bus: Bus,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Keys and origins, reloadable.
    pub admission: Arc<Admission>,
    /// What is proved to workers and other gateways, reloadable.
    pub tokens: SharedTokens,
    /// Seals cookies for browsers.
    pub handover: Arc<Handover>,
    /// Pages beside the WebSocket.
    pub pages: Arc<dyn Pages>,
    /// Orders subscriptions.
    pub clock: Clock,
    /// What this process takes, and of whom.
    pub quota: Arc<Quota>,
    /// Signs and knows grants.
    pub grants: Arc<Grants>,
    /// Connections in their handshake, or with a request.
    pub handshakes: Arc<AtomicUsize>,
    /// Calls by HTTP that are not answered.
    pub requests: Arc<AtomicUsize>,
    /// The server stops: HTTP connections are not kept alive.
    pub stopping: CancellationToken,
    /// Workers in this process.
    pub memory: Option<MemoryConnector>,
    /// What each thread's relay is told.
    pub relay: RelaySettings,
    /// The list of workers.
    pub workers: watch::Receiver<Workers>,
}

/// What a thread is told.
pub enum Command {
    /// Hand this out.
    Deliver(Arc<Delivery>),
    /// The history begins here, after this.
    Start(Position, Arc<[Arc<Delivery>]>),
    /// Tell those who listen that something is missing.
    Gap(Position),
    /// The server stops: clients leave, so many a second.
    Drain(f64),
    /// Close everything that is left.
    Close,
    /// For which connections is most held?
    Largest(oneshot::Sender<Vec<Large>>),
    /// End these connections.
    Shed(Vec<Large>),
    /// Which connections are these?
    Find(Whom, oneshot::Sender<Vec<Value>>),
    /// Close these connections, and say how many.
    Disconnect(Whom, oneshot::Sender<usize>),
    /// Which workers does this thread reach?
    Workers(oneshot::Sender<Vec<(diffyne_shared::rpc::Endpoint, crate::relay::Wellness)>>),
}

/// How to reach a thread.
#[derive(Clone)]
pub struct ReactorHandle {
    /// Connections for it.
    pub accepted: mpsc::Sender<AcceptedStream>,
    /// Commands for it.
    pub commands: mpsc::Sender<Command>,
}

/// One thread's world.
pub struct Reactor {
    /// The settings of this start.
    pub settings: Arc<GatewaySettings>,
    /// Keys and origins.
    pub admission: Arc<Admission>,
    /// This thread's connections.
    pub hub: Hub,
    /// This thread's way to the workers.
    pub relay: Rc<Relay<Origin>>,
    /// The bus.
    pub bus: Bus,
    /// This thread's counters.
    pub metrics: Rc<ThreadMetrics>,
    /// Seals cookies for browsers.
    pub handover: Arc<Handover>,
    /// Pages beside the WebSocket.
    pub pages: Arc<dyn Pages>,
    /// How fast each connection may make work.
    pub rates: Rates,
    /// What every read goes through.
    pub scratch: RefCell<Box<[u8]>>,
    /// What this process takes, and of whom.
    pub quota: Arc<Quota>,
    /// Signs and knows grants.
    pub grants: Arc<Grants>,
    /// HTTP connections of this thread that have said nothing.
    pub intake: Rc<Intake>,
    handshakes: Arc<AtomicUsize>,
    /// Calls by HTTP that are not answered, over all threads.
    pub requests: Arc<AtomicUsize>,
    /// The server stops: HTTP connections are not kept alive.
    pub stopping: CancellationToken,
    draining: Cell<bool>,
    numbers: Cell<u64>,
}

/// Whose call it was.
pub enum Origin {
    /// A connection's.
    Socket(Rc<Connection>, Pending),
    /// An HTTP request's.
    Request(twin::Waiting),
    /// A connection's, about what it may hear.
    Question(Rc<Connection>, Box<Question>),
}

impl Origin {
    /// Whether this connection called.
    pub fn is_of(&self, connection: &Rc<Connection>) -> bool {
        matches!(self, Self::Socket(caller, _) | Self::Question(caller, _) if Rc::ptr_eq(caller, connection))
    }
}

struct Observer(Rc<ThreadMetrics>);

impl RelayObserver for Observer {
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

/// Starts a serving thread.
pub fn spawn(index: usize, common: Arc<Common>) -> std::io::Result<(ReactorHandle, std::thread::JoinHandle<()>)> {
    let (accepted, accepted_here) = mpsc::channel(ACCEPTED_MAX);
    let (commands, commands_here) = mpsc::channel(DELIVERIES_MAX);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name(format!("gateway-{index}")).spawn(move || {
        let local = LocalSet::new();
        let reactor = Reactor::new(&common);
        local.block_on(&runtime, reactor.run(accepted_here, commands_here, common.workers.clone()));
        // Tasks that are left (a slow flusher, a retrying peer) end with the runtime.
    })?;
    Ok((ReactorHandle { accepted, commands }, thread))
}

impl Reactor {
    fn new(common: &Common) -> Rc<Self> {
        let settings = Arc::clone(&common.settings);
        let metrics = Rc::new(ThreadMetrics::new(Arc::clone(&common.metrics)));
        let relay = Relay::new(common.relay.clone(), Rc::new(Observer(Rc::clone(&metrics))), common.memory.clone());
        let limits = HistoryLimits {
            length: settings.redis.history_length,
            bytes: settings.redis.history_bytes,
            age: settings.redis.history_age,
        };
        let ping_seconds = u32::try_from(settings.ping_interval.as_secs()).unwrap_or(25);
        let reactor = Rc::new(Self {
            admission: Arc::clone(&common.admission),
            hub: Hub::new(common.clock.clone(), limits, ping_seconds, Rc::clone(&metrics)),
            relay,
            bus: common.bus.clone(),
            metrics,
            handover: Arc::clone(&common.handover),
            pages: Arc::clone(&common.pages),
            rates: Rates {
                work: settings.connection_rate,
                frames: settings.frame_rate,
                messages: settings.message_rate,
                calls: settings.call_rate,
            },
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
            quota: Arc::clone(&common.quota),
            grants: Arc::clone(&common.grants),
            intake: Rc::default(),
            handshakes: Arc::clone(&common.handshakes),
            requests: Arc::clone(&common.requests),
            stopping: common.stopping.clone(),
            draining: Cell::new(false),
            numbers: Cell::new(0),
            settings,
        });
        let (for_answers, for_batches) = (Rc::downgrade(&reactor), Rc::downgrade(&reactor));
        reactor.relay.set_handler(
            Rc::new(move |origin, answer| {
                if let Some(reactor) = for_answers.upgrade() {
                    match origin {
                        Origin::Socket(connection, pending) => {
                            reply::finish(&reactor, &connection, &pending, &answer);
                        }
                        Origin::Request(waiting) => waiting.finish(&reactor, &answer),
                        Origin::Question(connection, question) => {
                            subscription::answered(&reactor, &connection, *question, &answer);
                        }
                    }
                }
            }),
            Rc::new(move || {
                if let Some(reactor) = for_batches.upgrade() {
                    reactor.hub.flush();
                }
            }),
        );
        reactor
    }

    async fn run(
        self: Rc<Self>,
        mut accepted: mpsc::Receiver<AcceptedStream>,
        mut commands: mpsc::Receiver<Command>,
        workers: watch::Receiver<Workers>,
    ) {
        let relay = tokio::task::spawn_local(Rc::clone(&self.relay).run(workers));
        let beat = Rc::clone(&self);
        let heartbeat = tokio::task::spawn_local(async move {
            let mut second = tokio::time::interval(Duration::from_secs(1));
            loop {
                second.tick().await;
                beat.hub.heartbeat();
            }
        });
        let counting = Rc::clone(&self.metrics);
        let counts = tokio::task::spawn_local(async move {
            let mut tick = tokio::time::interval(COUNT_EVERY);
            loop {
                tick.tick().await;
                counting.flush();
            }
        });
        let acceptor = Rc::clone(&self);
        let accepting = tokio::task::spawn_local(async move {
            while let Some(connection) = accepted.recv().await {
                http::serve(&acceptor, connection);
            }
        });
        while let Some(command) = commands.recv().await {
            match command {
                Command::Deliver(delivery) => self.hub.fan_out(&delivery).await,
                Command::Start(position, before) => self.hub.start_history(position, &before),
                Command::Gap(position) => {
                    self.hub.start_history(position.clone(), &[]);
                    self.tell_gap(&position);
                }
                Command::Drain(per_second) => {
                    self.draining.set(true);
                    let reactor = Rc::clone(&self);
                    tokio::task::spawn_local(async move { reactor.hub.drain(per_second).await });
                }
                Command::Close => self.close_all(),
                Command::Largest(answer) => {
                    // Who asked may be gone.
                    let _ = answer.send(self.hub.largest());
                }
                Command::Shed(chosen) => self.hub.shed(&chosen),
                Command::Find(whom, answer) => {
                    // Who asked may be gone.
                    let _ = answer.send(self.those(&whom).iter().map(describe).collect());
                }
                Command::Disconnect(whom, answer) => {
                    // Who asked may be gone.
                    let _ = answer.send(self.disconnect(&whom));
                }
                Command::Workers(answer) => {
                    // Who asked may be gone.
                    let _ = answer.send(self.relay.workers());
                }
            }
        }
        for task in [relay, heartbeat, counts, accepting] {
            task.abort();
        }
    }

    /// Up to where this thread has delivered the history; before anything was, where the bus is.
    pub fn position(&self) -> Option<Position> {
        self.hub.position().or_else(|| self.bus.position())
    }

    /// What a connection may send.
    pub fn limits(&self) -> Limits {
        Limits { message_bytes_max: self.settings.message_bytes_max, binary: false }
    }

    /// Whether the server stops.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// A number that no other request of this thread has.
    pub fn next_number(&self) -> u64 {
        self.numbers.replace(self.numbers.get() + 1)
    }

    /// Hands a call to the relay.
    pub fn submit(&self, connection: &Rc<Connection>, request: Request, pending: Pending) {
        self.relay.submit(request, Origin::Socket(Rc::clone(connection), pending));
    }

    /// Whether events of this name leave for the cluster.
    pub fn broadcasts(&self, name: &str) -> bool {
        self.settings.broadcast_events.iter().any(|pattern| matches_pattern(pattern, name))
    }

    /// What a new connection comes in with.
    pub fn terms(&self, ticket: Ticket) -> Terms {
        let seconds = |limit: Duration| limit.as_secs_f64().ceil() as u32;
        // Those that came together do not leave together.
        let age = self.settings.connection_age_max.mul_f64(0.9 + fastrand::f64() / 5.0);
        let limits = connection::Limits {
            outbox_bytes_max: self.settings.outbox_bytes_max,
            held_bytes_max: self.settings.connection_bytes_max,
            message_seconds: seconds(self.settings.message_timeout),
            outbox_seconds: seconds(self.settings.outbox_timeout),
            idle_seconds: seconds(self.settings.idle_timeout),
            age_seconds: seconds(age),
        };
        Terms { ticket, limits }
    }

    /// The connections that an operator means, but for those that are closing already.
    fn those(&self, whom: &Whom) -> Vec<Rc<Connection>> {
        let is_meant = |connection: &Rc<Connection>| connection.takes_messages() && whom.is(connection);
        self.hub.all().into_iter().filter(is_meant).collect()
    }

    /// Closes connections that an operator names; how many.
    fn disconnect(&self, whom: &Whom) -> usize {
        let found = self.those(whom);
        for connection in &found {
            self.hub.say_goodbye(connection, "disconnected", Comeback::Never);
            connection.close(&Close::DISCONNECTED, &self.metrics, self.hub.now());
        }
        found.len()
    }

    /// Connections in their handshake, over all threads.
    pub fn handshakes(&self) -> &Arc<AtomicUsize> {
        &self.handshakes
    }

    fn tell_gap(&self, position: &Position) {
        let text = format!(
            r#"{{"event":"diffyne.gap","data":{{"epoch":"{}","offset":{}}}}}"#,
            position.epoch, position.offset
        );
        let frame = frame::text(&text);
        for connection in self.hub.subscribed() {
            self.hub.push(&connection, frame.clone());
        }
        self.hub.flush();
    }

    fn close_all(&self) {
        for connection in self.hub.all() {
            connection.close(&Close::GOING_AWAY, &self.metrics, self.hub.now());
        }
    }
}

/// A name against a pattern in which `*` stands for anything.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => {
            let Some(name) = name.strip_prefix(start) else { return false };
            (0..=name.len()).filter(|at| name.is_char_boundary(*at)).any(|at| matches_pattern(rest, &name[at..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches_pattern;

    #[test]
    fn a_star_stands_for_anything() {
        assert!(matches_pattern("message-sent", "message-sent"));
        assert!(!matches_pattern("message-sent", "message-sent-2"));
        assert!(matches_pattern("*", "") && matches_pattern("*", "x"));
        assert!(matches_pattern("chat.*.sent", "chat.7.sent") && !matches_pattern("chat.*.sent", "chat.7.read"));
    }
}
