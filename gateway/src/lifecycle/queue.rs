//! The events that wait to be delivered, in order. Shards add to them and never wait; when there is no room, an event is
//! dropped and counted, and its number is left out. What was taken has its place here until it was delivered or given up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diffyne_shared::clock;
use diffyne_shared::settings::lifecycle::{LifecycleKind, LifecycleKinds};
use diffyne_shared::telemetry::LogThrottle;
use tokio::sync::Notify;

use super::event::{self, EventFields};
use crate::metrics::Metrics;

/// What an event takes beside its JSON, in bytes.
const ENTRY_BYTES: usize = 64;

/// A version of a room that was told, once the event is delivered.
pub type ToldRoom = (Arc<str>, u64);

/// An event.
#[derive(Debug)]
pub struct QueuedEvent {
    /// Its JSON.
    pub json: Box<str>,
    /// What it tells of a room.
    pub room: Option<ToldRoom>,
}

impl QueuedEvent {
    /// What it takes of the queue's memory.
    pub(super) fn bytes(&self) -> usize {
        ENTRY_BYTES + self.json.len() + self.room.as_ref().map_or(0, |(room, _)| room.len())
    }
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<QueuedEvent>,
    /// Of these events, and of those that were taken and not released.
    bytes: usize,
    /// The number of the last event of a connection.
    last: u64,
    is_closed: bool,
}

/// The queue of a gateway.
pub struct EventQueue {
    gateway: String,
    kinds: LifecycleKinds,
    bytes_max: usize,
    waiting: Mutex<Waiting>,
    /// An event has come, or the queue was closed.
    changed: Notify,
    /// Events were taken.
    taken: Notify,
    metrics: Arc<Metrics>,
    full: LogThrottle,
}

impl EventQueue {
    /// Creates the queue of a gateway, for events of these kinds.
    pub fn new(gateway: &str, kinds: LifecycleKinds, bytes_max: usize, metrics: Arc<Metrics>) -> Self {
        let full = LogThrottle::default();
        let (changed, taken, waiting) = Default::default();
        Self { gateway: gateway.to_owned(), kinds, bytes_max, waiting, changed, taken, metrics, full }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether events of a kind are told.
    pub fn tells(&self, kind: LifecycleKind) -> bool {
        self.kinds.has(kind)
    }

    /// Adds an event, if there is room for it. Never waits.
    pub fn push(&self, kind: LifecycleKind, fields: &EventFields<'_>) {
        if !self.kinds.has(kind) {
            return;
        }
        // Clients subscribe as often as they like, and connect as often as the gateway lets them: what one does of the
        // former must not take the place of all others' coming and going.
        let is_free = !matches!(kind, LifecycleKind::Subscribed | LifecycleKind::Unsubscribed);
        if self.try_push(kind, fields, None, if is_free { self.bytes_max } else { self.bytes_max / 2 }) {
            return;
        }
        self.metrics.lifecycle_events.with_label_values(&["dropped"]).inc();
        if let Some(unsaid) = self.full.allow() {
            tracing::warn!(
                unsaid,
                "events of connections are dropped: more wait to be delivered than DIFFYNE_WEBHOOK_QUEUE allows"
            );
        }
    }

    /// Adds what is told of a room, if there is room for it. Otherwise it has to be tried again later.
    pub fn push_room(&self, kind: LifecycleKind, fields: &EventFields<'_>, room: ToldRoom) -> bool {
        self.try_push(kind, fields, Some(&room), self.bytes_max)
    }

    fn try_push(
        &self,
        kind: LifecycleKind,
        fields: &EventFields<'_>,
        room: Option<&ToldRoom>,
        bytes_max: usize,
    ) -> bool {
        let mut waiting = self.lock();
        if waiting.bytes >= bytes_max {
            // Its receiver sees the gap. A room's event is added later.
            waiting.last += u64::from(room.is_none());
            return false;
        }
        let id = if let Some((room, version)) = room {
            event::room_id(kind, room, *version)
        } else {
            waiting.last += 1;
            format!("{}-{}", self.gateway, waiting.last)
        };
        let json = event::json(kind, &id, clock::unix_millis(), &self.gateway, fields);
        let event = QueuedEvent { json, room: room.cloned() };
        waiting.bytes += event.bytes();
        waiting.events.push_back(event);
        self.metrics.lifecycle_waiting.inc();
        self.count_bytes(&waiting);
        drop(waiting);
        self.changed.notify_one();
        true
    }

    /// Takes no more events. Those that wait are still delivered.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
        self.taken.notify_waiters();
    }

    /// Whether the gateway stops.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Waits for an event. False: there are none, and none will come.
    pub async fn wait(&self) -> bool {
        loop {
            {
                let waiting = self.lock();
                if !waiting.events.is_empty() {
                    return true;
                }
                if waiting.is_closed {
                    return false;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Returns when the queue is closed.
    pub async fn closed(&self) {
        loop {
            let taken = self.taken.notified();
            if self.is_closed() {
                return;
            }
            taken.await;
        }
    }

    /// Takes the events that come first: so many at most, and of so many bytes at most unless the first has more. They keep
    /// their place until they are [released](Self::release).
    pub fn take(&self, events_max: usize, bytes_max: usize) -> Vec<QueuedEvent> {
        let mut waiting = self.lock();
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(event) = waiting.events.front() {
            bytes += event.json.len();
            if taken.len() == events_max || (bytes > bytes_max && !taken.is_empty()) {
                break;
            }
            taken.extend(waiting.events.pop_front());
        }
        drop(waiting);
        self.metrics.lifecycle_waiting.sub(i64::try_from(taken.len()).unwrap_or(i64::MAX));
        self.taken.notify_waiters();
        taken
    }

    /// Gives others the place of events that were taken.
    pub fn release(&self, events: &[QueuedEvent]) {
        let mut waiting = self.lock();
        waiting.bytes = waiting.bytes.saturating_sub(events.iter().map(QueuedEvent::bytes).sum());
        self.count_bytes(&waiting);
    }

    fn count_bytes(&self, waiting: &Waiting) {
        self.metrics.lifecycle_bytes.set(i64::try_from(waiting.bytes).unwrap_or(i64::MAX));
    }

    /// How much memory events may take that have not been delivered, in bytes.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// The number of events that wait.
    pub fn len(&self) -> usize {
        self.lock().events.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::metrics::RedisUse;
    use diffyne_shared::bus::{Bus, GatewayIdentity};
    use diffyne_shared::settings::lifecycle::LifecycleKind::{Connected, Occupied, Subscribed, Vacated};
    use serde_json::Value;

    fn queue(bytes_max: usize) -> EventQueue {
        let (bus, _events) = Bus::memory(GatewayIdentity::new("g"));
        EventQueue::new("g.1", LifecycleKinds::ALL, bytes_max, Metrics::new(bus.counters(), RedisUse::No))
    }

    fn ids(events: &[QueuedEvent]) -> Vec<String> {
        events
            .iter()
            .map(|event| serde_json::from_str::<Value>(&event.json).unwrap()["id"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_its_number_is_missing() {
        let queue = queue(1000);
        let fields = EventFields { connection: Some("c"), ..EventFields::default() };
        for _ in 0..20 {
            queue.push(Subscribed, &fields);
        }
        let subscribed = queue.len();
        assert!((2..8).contains(&subscribed), "subscriptions take a half at most: {subscribed}");
        for _ in 0..20 {
            queue.push(Connected, &fields);
        }
        let first = queue.take(1, 1);
        assert_eq!(ids(&first), ["g.1-1"]);
        let held = queue.lock().bytes;
        let rest = queue.take(100, 100_000);
        assert_eq!(queue.lock().bytes, held, "what was taken keeps its place");
        queue.push(Connected, &fields);
        assert_eq!(queue.len(), 0);
        queue.release(&first);
        queue.release(&rest);
        let last = ids(&rest).last().unwrap().clone();
        assert!(last != "g.1-40" && queue.metrics.lifecycle_waiting.get() == 0);
        queue.push(Connected, &fields);
        let after = queue.take(9, 9);
        assert_eq!(ids(&after), ["g.1-42"], "the receiver sees that some are missing");
        let dropped = queue.metrics.lifecycle_events.with_label_values(&["dropped"]).get();
        assert_eq!(dropped as usize, 41 - 1 - rest.len());
        queue.release(&after);
        assert!(queue.lock().bytes == 0 && queue.metrics.lifecycle_bytes.get() == 0 && queue.take(9, 9).is_empty());
    }

    #[tokio::test]
    async fn what_is_told_of_a_room_needs_its_place_and_the_end_comes_after_the_last_event() {
        let queue = queue(200);
        let fields = EventFields { event: Some("e"), ..EventFields::default() };
        while queue.lock().bytes < 200 {
            assert!(queue.push_room(Occupied, &fields, ("r".into(), 1)));
        }
        let vacated = || queue.push_room(Vacated, &EventFields::default(), ("r".into(), 2));
        assert!(!vacated());
        let taken = queue.take(100, 10_000);
        assert!(!taken.is_empty() && !vacated());
        queue.release(&taken);
        assert!(vacated());
        queue.close();
        assert!(queue.wait().await);
        let last = queue.take(100, 10_000);
        assert_eq!((ids(&last).len(), &last[0].room), (1, &Some(("r".into(), 2))));
        assert!(!queue.wait().await);
    }
}
