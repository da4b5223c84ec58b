//! What both kinds of bus keep for their gateway.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use arc_swap::ArcSwap;
use prometheus::{Histogram, HistogramOpts};
use tokio::sync::Notify;

use super::event::Position;
use super::idempotency::KnownKeys;
use super::once::SeenNames;

/// Connections by gateway id.
pub type Presence = BTreeMap<String, u64>;

/// What the bus has counted since the start.
#[derive(Debug)]
pub struct BusCounters {
    /// Broadcasts that Redis or the memory bus took.
    pub published: AtomicU64,
    /// Broadcasts waiting for Redis.
    pub waiting: AtomicU64,
    /// Broadcasts that found the queue full.
    pub overflowed: AtomicU64,
    /// Gaps closed from the history.
    pub gaps_closed: AtomicU64,
    /// Gaps that clients had to be told of.
    pub gaps_told: AtomicU64,
    /// Times that Redis came back.
    pub reconnects: AtomicU64,
    /// Items of the ingress list that wait.
    pub ingress_waiting: AtomicU64,
    /// Items of the ingress list that were dropped because it was too long.
    pub ingress_dropped: AtomicU64,
    /// Broadcasts in each batch that Redis took; whoever shows metrics registers it.
    pub batch_sizes: Histogram,
}

impl Default for BusCounters {
    fn default() -> Self {
        let sizes = HistogramOpts::new(
            "diffyne_gateway_publish_batch_broadcasts",
            "Broadcasts that Redis took in one script call",
        )
        .buckets(vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]);
        // Its name and its buckets are constants, and a test makes it.
        #[allow(clippy::expect_used)]
        let batch_sizes = Histogram::with_opts(sizes).expect("the histogram is well-formed");
        Self {
            batch_sizes,
            published: AtomicU64::default(),
            waiting: AtomicU64::default(),
            overflowed: AtomicU64::default(),
            gaps_closed: AtomicU64::default(),
            gaps_told: AtomicU64::default(),
            reconnects: AtomicU64::default(),
            ingress_waiting: AtomicU64::default(),
            ingress_dropped: AtomicU64::default(),
        }
    }
}

/// How many places of the queue one who publishes has taken; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct QueueShare {
    pub(super) taken: Arc<AtomicUsize>,
}

/// A gateway in the cluster.
#[derive(Debug, Clone)]
pub struct GatewayIdentity {
    /// Name and 64 random bits: a gateway that starts again is another one.
    pub id: String,
}

impl GatewayIdentity {
    /// The identity of this start of the gateway called `name`.
    pub fn new(name: &str) -> Self {
        Self { id: format!("{name}.{:016x}", random_bits()) }
    }

    /// The number of a broadcast among this gateway's own; `None` for a broadcast of another one.
    pub fn sequence_of(&self, broadcast: &str) -> Option<u64> {
        broadcast.strip_prefix(self.id.as_str())?.strip_prefix('-')?.parse().ok()
    }
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
    /// The word in `/health`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What both kinds of bus keep for readers.
pub(super) struct BusState {
    pub(super) identity: GatewayIdentity,
    pub(super) position: ArcSwap<Option<Position>>,
    pub(super) presence: ArcSwap<Presence>,
    /// The highest number of this gateway's own broadcasts that came back from Redis.
    pub(super) returned: AtomicU64,
    /// It has risen.
    pub(super) returns: Notify,
    pub(super) counters: BusCounters,
    pub(super) seen: SeenNames,
    pub(super) keys: KnownKeys,
}

impl BusState {
    pub(super) fn new(identity: GatewayIdentity) -> Arc<Self> {
        let presence = Presence::from([(identity.id.clone(), 0)]);
        Arc::new(Self {
            identity,
            position: ArcSwap::from_pointee(None),
            presence: ArcSwap::from_pointee(presence),
            returned: AtomicU64::new(0),
            returns: Notify::new(),
            counters: BusCounters::default(),
            seen: SeenNames::default(),
            keys: KnownKeys::default(),
        })
    }
}

/// 64 random bits from the system.
pub fn random_bits() -> u64 {
    getrandom::u64().unwrap_or_else(|_| fastrand::u64(..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_knows_the_numbers_of_its_own_broadcasts_only() {
        let own = GatewayIdentity { id: "gw-1.0f".to_owned() };
        assert_eq!(own.sequence_of("gw-1.0f-12"), Some(12));
        for other in ["gw-1.0e-12", "gw-1.0f2-12", "gw-1.0f-", "gw-1.0f-x", "gw-1.0f12", ""] {
            assert_eq!(own.sequence_of(other), None, "{other}");
        }
    }
}
