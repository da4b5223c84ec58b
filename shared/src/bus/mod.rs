//! How gateways reach each other: broadcasts in one order, presence, and the registry of workers.
//!
//! One type, two variants: in memory for a single process, Redis for a cluster. A broadcast has an **id** (who
//! published it, and its sequence there), an **offset** (dense, the same for all), an **epoch** (a new one when the
//! past is lost) and **prev**, the id before it, by which a gap shows.

mod channel;
mod event;
mod idempotency;
mod memory;
mod names;
mod occupancy;
mod once;
mod redis;
mod room_changes;
mod rooms;
mod state;
mod wire;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::settings::common::RedisSettings;
use crate::settings::gateway::StatusKey;
use crate::token::SharedTokens;

pub use channel::{ChannelEvent, is_guarded, without_channel};
pub use event::{Broadcast, BusEvent, DISCONNECT_EVENT, Position, Publication, QueueFull};
pub use idempotency::KeyClaim;
pub use names::{is_event_name, is_user_id};
pub use occupancy::Occupancy;
pub use redis::claim::{CLAIMS, Claim, RejectedWorker, TrustError, WorkerEntry, WorkerList};
pub use redis::inspect::{Inspection, Unusable};
pub use redis::registry::WorkerRegistry;
pub use room_changes::{OccupancyChanges, RoomNews, RoomState};
pub use rooms::{
    ROOM_BYTES_MAX, ReportKind, Reported, RoomChange, RoomMember, RoomReport, RoomsBeat, RoomsPeer, RoomsRead, Whisper,
    read_room_name, room_name, sorted_fields,
};
pub use state::{BusCounters, GatewayIdentity, Presence, RedisState, random_bits};
pub use wire::read_event;

use state::{BusState, QueueShare};

/// Checks a URL of Redis, and the files that its settings name. Redis need not be there.
pub fn check_url(url: &str, settings: &RedisSettings) -> Result<(), String> {
    redis::check_url(url, settings)
}

/// Events on their way from the bus to the gateway; a full channel slows the reading of Redis, never a call.
const EVENTS_MAX: usize = 1024;

/// A handle to the bus; clones share it, and their share of the queue of broadcasts.
#[derive(Clone)]
pub struct Bus {
    variant: Variant,
    shared: Arc<BusState>,
    share: QueueShare,
}

#[derive(Clone)]
enum Variant {
    Memory(Arc<memory::MemoryBus>),
    Redis(Arc<redis::RedisBus>),
}

impl Bus {
    /// A bus within this process.
    pub fn memory(identity: GatewayIdentity) -> (Self, mpsc::Receiver<BusEvent>) {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let shared = BusState::new(identity);
        let variant = Variant::Memory(Arc::new(memory::MemoryBus::new(Arc::clone(&shared), sender)));
        (Self { variant, shared, share: QueueShare::default() }, receiver)
    }

    /// A bus over Redis; starts its tasks on the current runtime. Redis need not be there yet. Whoever announces a worker
    /// or sends a command has to know one of these tokens.
    pub fn redis(
        identity: GatewayIdentity,
        url: &str,
        settings: &RedisSettings,
        tokens: SharedTokens,
        status_key: Option<StatusKey>,
    ) -> Result<(Self, mpsc::Receiver<BusEvent>), String> {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let shared = BusState::new(identity);
        let bus = redis::RedisBus::start(Arc::clone(&shared), url, settings, tokens, status_key, sender)?;
        let variant = Variant::Redis(Arc::new(bus));
        Ok((Self { variant, shared, share: QueueShare::default() }, receiver))
    }

    /// A handle with a share of the queue of its own: whoever floods the queue with one handle leaves room for those
    /// with another one.
    #[must_use]
    pub fn with_own_share(&self) -> Self {
        Self { share: QueueShare::default(), ..self.clone() }
    }

    /// Publishes an event, and returns the id of its broadcast at once. Never waits.
    pub fn publish(&self, event: Publication) -> Result<String, QueueFull> {
        match &self.variant {
            Variant::Memory(bus) => bus.publish(event),
            Variant::Redis(bus) => bus.publish(&self.share, event),
        }
    }

    /// Publishes an event, and waits for room in the queue up to `limit`.
    pub async fn publish_within(&self, event: Publication, limit: Duration) -> Result<String, QueueFull> {
        match &self.variant {
            Variant::Memory(bus) => bus.publish_within(event, limit).await,
            Variant::Redis(bus) => bus.publish_within(&self.share, event, limit).await,
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

    /// The number of a broadcast among this gateway's own; `None` for a broadcast of another one.
    pub fn own_sequence(&self, broadcast: &str) -> Option<u64> {
        self.shared.identity.sequence_of(broadcast)
    }

    /// Sets the number of this gateway's connections; the others learn it within a tenth of a second.
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

    /// The counters.
    pub fn counters(&self) -> &BusCounters {
        &self.shared.counters
    }

    /// How often a claim in Redis was rejected.
    pub fn rejected(&self, claim: Claim) -> u64 {
        match &self.variant {
            Variant::Memory(_) => 0,
            Variant::Redis(bus) => bus.rejected(claim),
        }
    }

    /// The registry of workers, where there is one.
    pub fn workers(&self) -> Option<WorkerRegistry> {
        match &self.variant {
            Variant::Memory(_) => None,
            Variant::Redis(bus) => Some(bus.workers()),
        }
    }

    /// Sends a query to all other gateways, and returns the responses that come within the limit.
    pub async fn query(&self, query: &str, limit: Duration) -> Vec<String> {
        match &self.variant {
            Variant::Memory(_) => Vec::new(),
            Variant::Redis(bus) => bus.query(query, limit).await,
        }
    }

    /// Responds to a query of another gateway.
    pub async fn respond(&self, id: &str, text: &str) {
        if let Variant::Redis(bus) = &self.variant {
            bus.respond(id, text).await;
        }
    }

    /// Whether the cluster sees this name for the first time within `life`. While Redis is away, this gateway decides
    /// by itself. It remembers the names that it has seen in either case.
    pub async fn once(&self, name: &str, life: Duration) -> bool {
        if !self.shared.seen.insert(name, life) {
            return false;
        }
        match &self.variant {
            Variant::Memory(_) => true,
            Variant::Redis(bus) => bus.once(name, life).await.unwrap_or(true),
        }
    }

    /// Claims an idempotency key in the cluster. While Redis is away, this gateway decides by itself.
    pub async fn claim_key(&self, key: &str, life: Duration) -> KeyClaim {
        let known = self.shared.keys.claim(key, life);
        let (KeyClaim::New, Variant::Redis(bus)) = (&known, &self.variant) else { return known };
        match bus.claim_key(key, life).await {
            Ok(KeyClaim::New) | Err(_) => KeyClaim::New,
            Ok(elsewhere) => {
                let answer = if let KeyClaim::Answered(answer) = &elsewhere { Some(answer.as_str()) } else { None };
                self.shared.keys.settle(key, answer);
                elsewhere
            }
        }
    }

    /// Keeps the answer to a claimed key for five minutes or, without one, lets the key go.
    pub async fn settle_key(&self, key: &str, answer: Option<&str>) {
        self.shared.keys.settle(key, answer);
        if let Variant::Redis(bus) = &self.variant
            && let Err(error) = bus.settle_key(key, answer).await
        {
            tracing::debug!(%error, "an idempotency key is known to this gateway alone");
        }
    }

    /// Whether there may be other gateways, with which rooms are shared.
    pub fn has_others(&self) -> bool {
        matches!(self.variant, Variant::Redis(_))
    }

    /// Keeps the members of this gateway's rooms alive. `number` is that of its last report; `None` at its first beat.
    pub async fn beat_rooms(&self, number: Option<u64>) -> Result<RoomsBeat, String> {
        match &self.variant {
            Variant::Memory(_) => Ok(RoomsBeat { is_lost: false, peers: Vec::new() }),
            Variant::Redis(bus) => bus.rooms().beat(number).await.map_err(|error| error.to_string()),
        }
    }

    /// Clears what this gateway has reported of its rooms, before it reports everything anew as parts after `number`.
    /// Returns whether nothing is left.
    pub async fn clear_rooms(&self, number: u64) -> Result<bool, String> {
        match &self.variant {
            Variant::Memory(_) => Ok(true),
            Variant::Redis(bus) => bus.rooms().clear(number).await.map_err(|error| error.to_string()),
        }
    }

    /// Reports changes among the members of this gateway's rooms. A report that may have arrived can be repeated.
    pub async fn report_rooms(&self, report: &RoomReport, kind: ReportKind) -> Result<Reported, String> {
        match &self.variant {
            Variant::Memory(_) => Ok(Reported::Taken),
            Variant::Redis(bus) => bus.rooms().report(report, kind).await.map_err(|error| error.to_string()),
        }
    }

    /// Reads rooms as all gateways have reported them.
    pub async fn read_rooms(&self, names: &[Arc<str>]) -> Result<RoomsRead, String> {
        match &self.variant {
            Variant::Memory(_) => Ok(RoomsRead { peers: Vec::new(), rooms: vec![Vec::new(); names.len()] }),
            Variant::Redis(bus) => bus.rooms().read(names).await.map_err(|error| error.to_string()),
        }
    }

    /// Tells the other gateways what members here whisper.
    pub async fn whisper(&self, whispers: &[Whisper]) -> Result<(), String> {
        match &self.variant {
            Variant::Memory(_) => Ok(()),
            Variant::Redis(bus) => bus.rooms().whisper(whispers).await.map_err(|error| error.to_string()),
        }
    }

    /// Items of the ingress list that wait, and those that were dropped because it was too long.
    pub fn ingress(&self) -> (u64, u64) {
        let counters = self.counters();
        (counters.ingress_waiting.load(Relaxed), counters.ingress_dropped.load(Relaxed))
    }

    /// The rooms of the cluster, for one task to change.
    pub fn occupancy(&self) -> Occupancy {
        Occupancy(match &self.variant {
            Variant::Memory(_) => occupancy::Variant::Memory(occupancy::MemoryOccupancy::default()),
            Variant::Redis(bus) => occupancy::Variant::Redis(Box::new(bus.occupancy())),
        })
    }

    /// Takes this gateway out of the presence, at the end of a graceful stop.
    pub async fn leave(&self) {
        if let Variant::Redis(bus) = &self.variant {
            bus.leave().await;
        }
    }
}
