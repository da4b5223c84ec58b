//! The bus of a single process: a counter and a channel.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{self, Permit};

use super::event::{Broadcast, BusEvent, Position, Publication, QueueFull};
use super::state::{BusState, random_bits};

pub(super) struct MemoryBus {
    shared: Arc<BusState>,
    sender: mpsc::Sender<BusEvent>,
    epoch: Arc<str>,
    /// Held while an offset is assigned and sent, so that the channel has the order of the offsets.
    offset: Mutex<u64>,
}

impl MemoryBus {
    pub(super) fn new(shared: Arc<BusState>, sender: mpsc::Sender<BusEvent>) -> Self {
        let epoch: Arc<str> = format!("{:016x}", random_bits()).into();
        let position = Position { epoch: Arc::clone(&epoch), offset: 0 };
        shared.position.store(Arc::new(Some(position.clone())));
        // The channel is new and empty.
        let _ = sender.try_send(BusEvent::Start { position, history: Vec::new() });
        Self { shared, sender, epoch, offset: Mutex::new(0) }
    }

    pub(super) fn publish(&self, event: Publication) -> Result<String, QueueFull> {
        let mut offset = self.offset.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(place) = self.sender.try_reserve() else { return Err(self.refuse()) };
        Ok(self.send(place, &mut offset, event))
    }

    /// The same, and waits for room so long.
    pub(super) async fn publish_within(&self, event: Publication, limit: Duration) -> Result<String, QueueFull> {
        let Ok(Ok(place)) = tokio::time::timeout(limit, self.sender.reserve()).await else {
            return Err(self.refuse());
        };
        let mut offset = self.offset.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(self.send(place, &mut offset, event))
    }

    fn refuse(&self) -> QueueFull {
        self.shared.counters.overflowed.fetch_add(1, Relaxed);
        QueueFull
    }

    fn send(&self, place: Permit<'_, BusEvent>, offset: &mut u64, event: Publication) -> String {
        *offset += 1;
        let id = format!("{}-{}", self.shared.identity.id, *offset);
        let position = Position { epoch: Arc::clone(&self.epoch), offset: *offset };
        self.shared.position.store(Arc::new(Some(position.clone())));
        self.shared.counters.published.fetch_add(1, Relaxed);
        place.send(BusEvent::Broadcast(Broadcast { id: id.clone(), position: Some(position), event }));
        id
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::bus::{Bus, BusEvent, GatewayIdentity, Position, Publication};

    fn event(name: &str) -> Publication {
        Publication { name: name.to_owned(), params: "[]".to_owned(), except: None, depth: 0, user: None, trace: None }
    }

    #[tokio::test]
    async fn broadcasts_come_in_order_with_dense_offsets() {
        let (bus, mut events) = Bus::memory(GatewayIdentity::new("g"));
        assert!(matches!(events.recv().await, Some(BusEvent::Start { .. })));
        let ids: Vec<String> = (0..5).map(|_| bus.publish(event("e")).unwrap()).collect();
        for (index, id) in ids.iter().enumerate() {
            let Some(BusEvent::Broadcast(broadcast)) = events.recv().await else { panic!("no broadcast") };
            assert_eq!(&broadcast.id, id);
            assert_eq!(broadcast.position.unwrap().offset, index as u64 + 1);
        }
        assert!(matches!(bus.position(), Some(Position { offset: 5, .. })));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_counts() {
        let (bus, _events) = Bus::memory(GatewayIdentity::new("g"));
        let taken = (0..5000).take_while(|_| bus.publish(event("e")).is_ok()).count();
        assert!(taken < 5000);
        assert_eq!(bus.counters().overflowed.load(std::sync::atomic::Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn who_can_wait_is_taken_when_there_is_room() {
        let (bus, mut events) = Bus::memory(GatewayIdentity::new("g"));
        let taken = (0..5000).take_while(|_| bus.publish(event("e")).is_ok()).count() as u64;
        assert!(bus.publish_within(event("late"), std::time::Duration::from_millis(1)).await.is_err());
        let (published, first) =
            tokio::join!(bus.publish_within(event("patient"), std::time::Duration::from_hours(1)), async {
                events.recv().await
            },);
        assert!(published.is_ok() && matches!(first, Some(BusEvent::Start { .. })));
        assert!(matches!(bus.position(), Some(Position { offset, .. }) if offset == taken + 1));
    }
}
