//! The queue between whoever publishes in this process and the publisher. It numbers broadcasts, and shares its room.
//!
//! One who publishes (a shard, the API) may have as many broadcasts here as [`SHARE`] times the places that are free. So
//! one who floods the queue leaves room for the others, and one alone may use nearly all of it.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::Permit;
use tokio::sync::{Notify, Semaphore, mpsc};

use super::backlog::QueuedBroadcast;
use crate::bus::event::{Publication, QueueFull};
use crate::bus::state::{BusState, QueueShare};
use crate::bus::wire;

/// How many places one may take for each one that is left to the others.
const SHARE: usize = 4;

/// A place in the queue, taken from a share until this is dropped.
struct Place(QueueShare);

impl Place {
    fn take(share: &QueueShare) -> Self {
        share.taken.fetch_add(1, Relaxed);
        Self(share.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Relaxed);
    }
}

type Entry = (QueuedBroadcast, Place);

/// The end at which broadcasts enter.
pub(super) struct PublishQueue {
    shared: Arc<BusState>,
    entries: mpsc::Sender<Entry>,
    sequence: Mutex<u64>,
    /// The publisher has taken something.
    room: Arc<Notify>,
    /// Those who wait for room do so one behind the other.
    turn: Semaphore,
}

/// The end at which the publisher takes them.
pub(super) struct PublishQueueOutlet {
    entries: mpsc::Receiver<Entry>,
    room: Arc<Notify>,
}

impl PublishQueue {
    pub(super) fn new(shared: Arc<BusState>, len_max: usize) -> (Self, PublishQueueOutlet) {
        let (sender, receiver) = mpsc::channel(len_max);
        let room = Arc::new(Notify::new());
        let outlet = PublishQueueOutlet { entries: receiver, room: Arc::clone(&room) };
        (Self { shared, entries: sender, sequence: Mutex::new(0), room, turn: Semaphore::new(1) }, outlet)
    }

    /// Adds a broadcast and returns its id, or refuses it at once.
    pub(super) fn publish(&self, share: &QueueShare, event: Publication) -> Result<String, QueueFull> {
        let json = wire::encode_event(&event).ok_or(QueueFull);
        let added = json.and_then(|json| Ok(self.add(self.reserve(share).ok_or(QueueFull)?, share, event, json)));
        if added.is_err() {
            self.shared.counters.overflowed.fetch_add(1, Relaxed);
        }
        added
    }

    /// The same, and waits for room so long, behind those who wait already.
    pub(super) async fn publish_within(
        &self,
        share: &QueueShare,
        event: Publication,
        limit: Duration,
    ) -> Result<String, QueueFull> {
        let added = async {
            let json = wire::encode_event(&event).ok_or(QueueFull)?;
            let room = self.wait_for_room(share);
            let permit = tokio::time::timeout(limit, room).await.map_err(|_elapsed| QueueFull)??;
            Ok(self.add(permit, share, event, json))
        };
        let added = added.await;
        if added.is_err() {
            self.shared.counters.overflowed.fetch_add(1, Relaxed);
        }
        added
    }

    async fn wait_for_room(&self, share: &QueueShare) -> Result<Permit<'_, Entry>, QueueFull> {
        // The semaphore is never closed.
        let _turn = self.turn.acquire().await.map_err(|_| QueueFull)?;
        loop {
            if let Some(permit) = self.reserve(share) {
                return Ok(permit);
            }
            // Only one waits here, so that a notification is never lost: without a waiter it is kept for the next.
            self.room.notified().await;
        }
    }

    fn reserve(&self, share: &QueueShare) -> Option<Permit<'_, Entry>> {
        let free = self.entries.capacity();
        (share.taken.load(Relaxed) < SHARE * free).then(|| self.entries.try_reserve().ok()).flatten()
    }

    fn add(&self, permit: Permit<'_, Entry>, share: &QueueShare, event: Publication, json: String) -> String {
        self.shared.counters.waiting.fetch_add(1, Relaxed);
        // Numbered and queued under one lock: the publisher relies on rising numbers.
        let mut last = self.sequence.lock().unwrap_or_else(PoisonError::into_inner);
        *last += 1;
        let sequence = *last;
        let id = format!("{}-{sequence}", self.shared.identity.id);
        permit.send((QueuedBroadcast { sequence, id: id.clone(), event, json }, Place::take(share)));
        id
    }
}

impl PublishQueueOutlet {
    /// Waits for the next broadcast; `None` at the end of the bus.
    pub(super) async fn next(&mut self) -> Option<QueuedBroadcast> {
        let entry = self.entries.recv().await;
        self.take(entry)
    }

    /// The next broadcast, if one waits.
    pub(super) fn next_now(&mut self) -> Option<QueuedBroadcast> {
        let entry = self.entries.try_recv().ok();
        self.take(entry)
    }

    fn take(&self, entry: Option<Entry>) -> Option<QueuedBroadcast> {
        let (broadcast, place) = entry?;
        drop(place);
        self.room.notify_one();
        Some(broadcast)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::bus::GatewayIdentity;

    const LEN_MAX: usize = 1000;
    const NEVER: Duration = Duration::from_hours(1);

    fn queue() -> (PublishQueue, PublishQueueOutlet) {
        PublishQueue::new(BusState::new(GatewayIdentity::new("g")), LEN_MAX)
    }

    fn event() -> Publication {
        Publication { name: "e".to_owned(), params: "[]".to_owned(), except: None, depth: 0, user: None, trace: None }
    }

    /// Publishes as much as is taken.
    fn flood(queue: &PublishQueue, share: &QueueShare) -> usize {
        (0..LEN_MAX).take_while(|_| queue.publish(share, event()).is_ok()).count()
    }

    #[tokio::test]
    async fn one_who_floods_the_queue_leaves_room_for_the_others() {
        let (queue, mut outlet) = queue();
        let shares: [QueueShare; 4] = Default::default();
        let taken: Vec<usize> = shares.iter().map(|share| flood(&queue, share)).collect();
        assert_eq!(taken[0], LEN_MAX * SHARE / (SHARE + 1), "alone, it gets nearly all");
        assert!(taken.iter().all(|taken| *taken > 0), "{taken:?}");
        for _ in 0..taken.iter().sum() {
            outlet.next().await.unwrap();
        }
        assert_eq!(shares.map(|share| share.taken.load(Relaxed)), [0; 4]);
    }

    #[tokio::test]
    async fn a_queue_of_one_place_takes_one() {
        let (queue, mut outlet) = PublishQueue::new(BusState::new(GatewayIdentity::new("g")), 1);
        let share = QueueShare::default();
        for _ in 0..3 {
            assert_eq!(flood(&queue, &share), 1);
            assert!(outlet.next_now().is_some() && outlet.next_now().is_none());
        }
    }

    #[tokio::test]
    async fn those_who_wait_get_room_in_their_order_and_numbers_rise() {
        let (queue, mut outlet) = queue();
        let (queue, share) = (Arc::new(queue), QueueShare::default());
        let at_once = flood(&queue, &share);
        let mut waiting = Vec::new();
        for _ in 0..20 {
            let (queue, share) = (Arc::clone(&queue), share.clone());
            waiting.push(tokio::spawn(async move { queue.publish_within(&share, event(), NEVER).await }));
            // It stands in line before the next one comes.
            tokio::task::yield_now().await;
        }
        for sequence in 1..=at_once + 20 {
            assert_eq!(outlet.next().await.unwrap().sequence, sequence as u64);
        }
        let mut ids = Vec::new();
        for waiting in waiting {
            ids.push(waiting.await.unwrap().unwrap());
        }
        let expected: Vec<String> = (1..=20).map(|n| format!("{}-{}", queue.shared.identity.id, at_once + n)).collect();
        assert_eq!(ids, expected);
    }

    #[tokio::test]
    async fn a_queue_that_stays_full_refuses_after_the_limit() {
        let (queue, mut outlet) = queue();
        let share = QueueShare::default();
        flood(&queue, &share);
        assert_eq!(queue.publish_within(&share, event(), Duration::from_millis(1)).await, Err(QueueFull));
        assert_eq!(queue.shared.counters.overflowed.load(Relaxed), 2, "the flood's last one, and this");
        while outlet.next_now().is_some() {}
        assert!(queue.publish_within(&share, event(), Duration::ZERO).await.is_ok(), "with room it does not wait");
    }
}
