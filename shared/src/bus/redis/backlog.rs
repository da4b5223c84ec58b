//! The broadcasts that wait for Redis or for their return from it, and whether they were delivered locally meanwhile. No
//! I/O.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::bus::event::Publication;

/// Broadcasts in one batch. Redis does nothing else while it takes a batch: about 5 us for each.
pub(super) const BATCH_MAX: usize = 256;
/// Bytes of the events in one batch. A larger event is a batch by itself.
pub(super) const BATCH_BYTES_MAX: usize = 256 * 1024;

/// How many broadcasts may be on their way back. A gateway that delivers more slowly than it publishes waits, and so do
/// those who publish through it.
pub(super) const UNRETURNED_MAX: usize = 4 * BATCH_MAX;

/// A broadcast on its way to Redis.
#[derive(Debug)]
pub(super) struct QueuedBroadcast {
    /// Counts this gateway's broadcasts. It is part of the id.
    pub(super) sequence: u64,
    pub(super) id: String,
    pub(super) event: Publication,
    pub(super) json: String,
}

/// Broadcasts in the order in which they are published.
#[derive(Debug)]
pub(super) struct Backlog {
    queue: VecDeque<Arc<QueuedBroadcast>>,
    /// So many of the first are on their way to Redis, or may be there. An attempt that fails is repeated with the same
    /// ones, so that Redis knows either all of them or none.
    attempted: usize,
    /// What Redis took and has not pushed back yet, as far as this gateway knows. Should Redis go away now, its clients
    /// get these before the ones in the queue.
    unreturned: VecDeque<Arc<QueuedBroadcast>>,
    /// How many may wait while Redis is away.
    len_max: usize,
    /// Everything in the queue was delivered locally already.
    away: bool,
    /// Some broadcasts found the queue full: everybody has to know that something is missing.
    overflowed: bool,
    /// The same, and the attempt under way says so.
    renewing: bool,
}

/// What goes to Redis in one attempt.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) items: Vec<Arc<QueuedBroadcast>>,
    /// Broadcasts before these never left: the epoch has to be renewed first.
    pub(super) renews_epoch: bool,
}

/// Where a new broadcast goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    /// To Redis in its turn; it is delivered when it comes back from there.
    Queued,
    /// To this gateway's own connections now, and to Redis when it is back.
    QueuedAndLocal,
    /// To this gateway's own connections only: the queue is full.
    LocalOnly,
}

impl Backlog {
    pub(super) fn new(len_max: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            attempted: 0,
            unreturned: VecDeque::new(),
            len_max,
            away: false,
            overflowed: false,
            renewing: false,
        }
    }

    /// Whether the next batch is full already.
    pub(super) fn has_batch(&self) -> bool {
        self.attempted > 0 || self.queue.len() >= BATCH_MAX
    }

    /// The next batch for Redis: the last one again, if it failed. `None` when nothing waits.
    pub(super) fn attempt(&mut self) -> Option<Batch> {
        if self.queue.is_empty() {
            return None;
        }
        if self.attempted == 0 {
            let mut bytes = 0;
            let fits = |item: &&Arc<QueuedBroadcast>| {
                bytes += item.json.len();
                bytes <= BATCH_BYTES_MAX
            };
            let count = self.queue.iter().take(BATCH_MAX).take_while(fits).count();
            self.attempted = count.max(1);
        }
        self.renewing |= std::mem::take(&mut self.overflowed);
        Some(Batch { items: self.queue.iter().take(self.attempted).cloned().collect(), renews_epoch: self.renewing })
    }

    pub(super) fn is_away(&self) -> bool {
        self.away
    }

    /// How many Redis took that have not come back, so far as they are remembered.
    pub(super) fn unreturned(&mut self, returned: u64) -> usize {
        self.forget_returned(returned);
        self.unreturned.len()
    }

    pub(super) fn push(&mut self, item: &Arc<QueuedBroadcast>) -> Placement {
        if self.queue.len() >= self.len_max && self.away {
            self.overflowed = true;
            return Placement::LocalOnly;
        }
        self.queue.push_back(Arc::clone(item));
        if self.away { Placement::QueuedAndLocal } else { Placement::Queued }
    }

    /// Redis took the attempted batch, and has pushed back this gateway's broadcasts up to `returned`. Returns `true`
    /// when Redis had been away and has everything now.
    pub(super) fn published(&mut self, returned: u64) -> bool {
        let taken = self.queue.drain(..std::mem::take(&mut self.attempted));
        self.renewing = false;
        if self.away {
            drop(taken);
            self.away = !self.queue.is_empty();
            return !self.away;
        }
        self.unreturned.extend(taken);
        self.forget_returned(returned);
        let excess = self.unreturned.len().saturating_sub(self.len_max.max(UNRETURNED_MAX + BATCH_MAX));
        self.unreturned.drain(..excess);
        false
    }

    /// Redis did not take the batch, or nobody knows whether it did. Returns what is to be delivered locally now, in
    /// order.
    pub(super) fn failed(&mut self, returned: u64) -> Vec<Arc<QueuedBroadcast>> {
        if std::mem::replace(&mut self.away, true) {
            return Vec::new();
        }
        self.forget_returned(returned);
        self.unreturned.drain(..).chain(self.queue.iter().cloned()).collect()
    }

    fn forget_returned(&mut self, returned: u64) {
        while self.unreturned.front().is_some_and(|front| front.sequence <= returned) {
            self.unreturned.pop_front();
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A broadcast with so many bytes.
    pub(in crate::bus::redis) fn item(gateway: &str, sequence: u64, bytes: usize) -> Arc<QueuedBroadcast> {
        let event = Publication {
            name: "e".to_owned(),
            params: "[]".to_owned(),
            except: None,
            depth: 0,
            user: None,
            trace: None,
        };
        Arc::new(QueuedBroadcast { sequence, id: format!("{gateway}-{sequence}"), event, json: "x".repeat(bytes) })
    }

    fn backlog(sizes: &[usize]) -> Backlog {
        let mut backlog = Backlog::new(10_000);
        for (size, sequence) in sizes.iter().zip(1..) {
            backlog.push(&item("g", sequence, *size));
        }
        backlog
    }

    /// The sizes of the batches until nothing is left.
    fn batches(backlog: &mut Backlog) -> Vec<usize> {
        let mut sizes = Vec::new();
        while let Some(batch) = backlog.attempt() {
            sizes.push(batch.items.len());
            backlog.published(0);
        }
        sizes
    }

    #[test]
    fn a_batch_is_bounded_by_number_and_by_bytes() {
        assert_eq!(batches(&mut backlog(&[10; 600])), [BATCH_MAX, BATCH_MAX, 600 - 2 * BATCH_MAX]);
        let half = BATCH_BYTES_MAX / 2;
        assert_eq!(batches(&mut backlog(&[half, half, half, 1, 1])), [2, 3]);
        assert_eq!(batches(&mut backlog(&[BATCH_BYTES_MAX + 1, 1, BATCH_BYTES_MAX, 1])), [1, 1, 1, 1]);
    }

    #[test]
    fn a_batch_that_failed_is_repeated_as_it_was() {
        let mut backlog = backlog(&[1; 3]);
        assert_eq!(backlog.attempt().map(|batch| batch.items.len()), Some(3));
        backlog.failed(0);
        backlog.push(&item("g", 4, 1));
        assert_eq!(batches(&mut backlog), [3, 1]);
    }

    #[test]
    fn what_overflows_during_an_attempt_is_told_with_the_next_one() {
        let mut backlog = Backlog::new(2);
        backlog.push(&item("g", 1, 1));
        backlog.attempt();
        backlog.failed(0);
        backlog.push(&item("g", 2, 1));
        assert_eq!(backlog.attempt().map(|batch| batch.renews_epoch), Some(false));
        assert_eq!(backlog.push(&item("g", 3, 1)), Placement::LocalOnly);
        backlog.published(0);
        assert_eq!(backlog.attempt().map(|batch| batch.renews_epoch), Some(true));
        backlog.failed(0);
        assert_eq!(backlog.attempt().map(|batch| batch.renews_epoch), Some(true), "until Redis has heard it");
        backlog.published(0);
        assert!(backlog.attempt().is_none());
    }
}
