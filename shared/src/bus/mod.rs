//! How gateways talk to each other: broadcasts in one order, who is connected where, which workers there are.
//!
//! One type, two variants: in memory for a single process, Redis for a cluster. A broadcast has an **id** (who
//! published it, and its sequence there), an **offset** (dense, the same for all), an **epoch** (a new one when the
//! past is lost) and **prev**, the id before it, by which a gap shows.

mod memory;
mod once;
mod redis;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::mpsc;

use crate::settings::common::RedisSettings;
use crate::settings::gateway::StatusKey;
use crate::token::SharedTokens;

pub use redis::inspect::Inspection;
pub use redis::registry::{WorkerEntry, WorkerRegistry};
pub use redis::trust::{CLAIMS, Claim, Doubt, Doubted, Listing};

/// Events on their way from the bus to the gateway; a full channel slows the reading of Redis, never a call.
const EVENTS_MAX: usize = 1024;

/// A broadcast to publish.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Event name.
    pub name: String,
    /// The `params` list as JSON.
    pub params: String,
    /// The client that has the event already.
    pub except: Option<String>,
    /// How many broadcasts caused this one.
    pub depth: u32,
}

/// Where in the history something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The history's name; another one means that the past is lost.
    pub epoch: String,
    /// Dense count of broadcasts.
    pub offset: u64,
}

/// A broadcast to deliver.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Unique; clients drop one that they have seen.
    pub id: String,
    /// Its place; `None` when it was delivered while Redis was away.
    pub position: Option<Position>,
    /// What was published.
    pub event: Outgoing,
}

/// What the bus tells its gateway, in order.
#[derive(Debug)]
pub enum BusEvent {
    /// Deliver to all subscribed.
    Broadcast(Incoming),
    /// Redis is away: deliver to those who are subscribed now, and remember it under the id.
    Local(Incoming),
    /// The first word: where the history is, and what came before, oldest first.
    Start {
        /// The head.
        position: Position,
        /// As far back as it reaches.
        history: Vec<Incoming>,
    },
    /// Something was missed that cannot be replayed.
    Gap(Position),
    /// Another gateway asks; see [`Bus::answer`].
    Question {
        /// Where the answer goes.
        id: String,
        /// What is asked.
        question: String,
    },
}

/// Whether Redis answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisState {
    /// Not used.
    Off,
    /// It answers.
    Up,
    /// It does not, or the subscription is lost.
    Down,
}

impl RedisState {
    /// As `/health` says it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Why a broadcast was not taken.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the queue of broadcasts is full")]
pub struct QueueFull;

/// Connections by gateway id.
pub type Presence = BTreeMap<String, u64>;

/// What the bus has counted since the start.
#[derive(Debug, Default)]
pub struct BusCounters {
    /// Broadcasts that Redis or the memory bus took.
    pub published: std::sync::atomic::AtomicU64,
    /// Broadcasts waiting for Redis.
    pub waiting: std::sync::atomic::AtomicU64,
    /// Broadcasts that found the queue full.
    pub overflowed: std::sync::atomic::AtomicU64,
    /// Gaps closed from the history.
    pub gaps_closed: std::sync::atomic::AtomicU64,
    /// Gaps that had to be told to clients.
    pub gaps_told: std::sync::atomic::AtomicU64,
    /// Times that Redis came back.
    pub reconnects: std::sync::atomic::AtomicU64,
}

/// What a gateway says about itself.
#[derive(Debug, Clone)]
pub struct GatewayIdentity {
    /// Name and 64 random bits: another start is another gateway.
    pub id: String,
}

impl GatewayIdentity {
    /// The identity of this start of the gateway called `name`.
    pub fn new(name: &str) -> Self {
        Self { id: format!("{name}.{:016x}", random_bits()) }
    }
}

/// The most that an event name may have.
const EVENT_NAME_MAX: usize = 128;

/// Whether this can be an event's name: printable, and not long.
pub fn is_event_name(name: &str) -> bool {
    (1..=EVENT_NAME_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Reads an event as applications write it: `{"name", "params": [...], "except"?}`.
pub fn read_event(text: &str) -> Option<Outgoing> {
    wire::decode_event(text).filter(|event| is_event_name(&event.name))
}

/// 64 random bits from the system.
pub fn random_bits() -> u64 {
    getrandom::u64().unwrap_or_else(|_| fastrand::u64(..))
}

/// A handle to the bus; clones share it.
#[derive(Clone)]
pub struct Bus {
    variant: Variant,
    shared: Arc<Shared>,
}

#[derive(Clone)]
enum Variant {
    Memory(Arc<memory::MemoryBus>),
    Redis(Arc<redis::RedisBus>),
}

/// What both variants keep for readers.
pub(crate) struct Shared {
    identity: GatewayIdentity,
    position: ArcSwap<Option<Position>>,
    presence: ArcSwap<Presence>,
    counters: BusCounters,
    once: once::Once,
}

impl Bus {
    /// A bus within this process.
    pub fn memory(identity: GatewayIdentity) -> (Self, mpsc::Receiver<BusEvent>) {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let shared = Shared::new(identity);
        let variant = Variant::Memory(Arc::new(memory::MemoryBus::new(Arc::clone(&shared), sender)));
        (Self { variant, shared }, receiver)
    }

    /// A bus over Redis; starts its tasks on the current runtime. Redis need not be there yet. Who announces a worker or
    /// gives an order there has to know one of these tokens.
    pub fn redis(
        identity: GatewayIdentity,
        url: &str,
        settings: &RedisSettings,
        tokens: SharedTokens,
        status_key: Option<StatusKey>,
    ) -> Result<(Self, mpsc::Receiver<BusEvent>), String> {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let shared = Shared::new(identity);
        let bus = redis::RedisBus::start(Arc::clone(&shared), url, settings, tokens, status_key, sender)?;
        Ok((Self { variant: Variant::Redis(Arc::new(bus)), shared }, receiver))
    }

    /// Publishes, and tells the broadcast's id at once. Never waits.
    pub fn publish(&self, event: Outgoing) -> Result<String, QueueFull> {
        match &self.variant {
            Variant::Memory(bus) => bus.publish(event),
            Variant::Redis(bus) => bus.publish(event),
        }
    }

    /// The head of the history as this gateway has delivered it.
    pub fn position(&self) -> Option<Position> {
        Option::clone(&self.shared.position.load())
    }

    /// Connections of every gateway, this one included.
    pub fn presence(&self) -> Arc<Presence> {
        self.shared.presence.load_full()
    }

    /// This gateway's id.
    pub fn gateway_id(&self) -> &str {
        &self.shared.identity.id
    }

    /// Tells how many connections this gateway has; told on to the others within a tenth of a second.
    pub fn set_connections(&self, count: u64) {
        match &self.variant {
            Variant::Memory(_) => {
                self.shared.presence.store(Arc::new(Presence::from([(self.shared.identity.id.clone(), count)])));
            }
            Variant::Redis(bus) => bus.set_connections(count),
        }
    }

    /// Whether Redis answers.
    pub fn redis_state(&self) -> RedisState {
        match &self.variant {
            Variant::Memory(_) => RedisState::Off,
            Variant::Redis(bus) => bus.state(),
        }
    }

    /// What was counted.
    pub fn counters(&self) -> &BusCounters {
        &self.shared.counters
    }

    /// How often a claim in Redis was not believed.
    pub fn doubted(&self, claim: Claim) -> u64 {
        match &self.variant {
            Variant::Memory(_) => 0,
            Variant::Redis(bus) => bus.doubted(claim),
        }
    }

    /// The registry of workers, where there is one.
    pub fn workers(&self) -> Option<WorkerRegistry> {
        match &self.variant {
            Variant::Memory(_) => None,
            Variant::Redis(bus) => Some(bus.workers()),
        }
    }

    /// Asks all other gateways, and takes what they answer within the limit.
    pub async fn ask(&self, question: &str, limit: Duration) -> Vec<String> {
        match &self.variant {
            Variant::Memory(_) => Vec::new(),
            Variant::Redis(bus) => bus.ask(question, limit).await,
        }
    }

    /// Answers a question of another gateway.
    pub async fn answer(&self, id: &str, text: &str) {
        if let Variant::Redis(bus) = &self.variant {
            bus.answer(id, text).await;
        }
    }

    /// Whether this is the first time that the cluster hears this name within `life`. While Redis is away, this
    /// gateway answers for itself; it remembers what it has heard in either case.
    pub async fn once(&self, name: &str, life: Duration) -> bool {
        if !self.shared.once.first(name, life) {
            return false;
        }
        match &self.variant {
            Variant::Memory(_) => true,
            Variant::Redis(bus) => bus.once(name, life).await.unwrap_or(true),
        }
    }

    /// Takes this gateway out of the presence, at the end of a graceful stop.
    pub async fn leave(&self) {
        if let Variant::Redis(bus) = &self.variant {
            bus.leave().await;
        }
    }
}

impl Shared {
    fn new(identity: GatewayIdentity) -> Arc<Self> {
        let presence = Presence::from([(identity.id.clone(), 0)]);
        Arc::new(Self {
            identity,
            position: ArcSwap::from_pointee(None),
            presence: ArcSwap::from_pointee(presence),
            counters: BusCounters::default(),
            once: once::Once::default(),
        })
    }
}
