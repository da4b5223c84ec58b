//! Events in the order in which they are handed over, and how many of them at a time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::queue::QueuedEvent;

/// Events that are handed over at a time.
pub(super) const EVENTS_MAX: usize = 500;

/// Events that are handed over one after the other. Where the receiver does not take some of them, fewer are handed over at
/// a time, until the one that it does not take is found; after that more again.
#[derive(Debug)]
pub(super) struct Batch {
    events: VecDeque<QueuedEvent>,
    /// What they take of the queue's memory.
    bytes: usize,
    /// How many are handed over next, at most.
    step: usize,
    /// Among so many of the first ones, at least one is not taken.
    suspects: usize,
    /// When the first of them was handed over for the first time.
    began: Option<Instant>,
}

impl Default for Batch {
    fn default() -> Self {
        Self { events: VecDeque::new(), bytes: 0, step: EVENTS_MAX, suspects: 0, began: None }
    }
}

impl Batch {
    /// An event that the receiver does not take.
    pub(super) fn refused(event: QueuedEvent) -> Self {
        let bytes = event.bytes();
        Self { events: VecDeque::from([event]), bytes, step: 1, suspects: 0, began: Some(Instant::now()) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// What its events take of the queue's memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, event: QueuedEvent) {
        self.bytes += event.bytes();
        self.events.push_back(event);
    }

    /// Returns what is handed over next, and how many events that is: no more than so many bytes, unless the first has more.
    pub(super) fn next(&mut self, bytes_max: usize) -> (Bytes, usize) {
        self.began.get_or_insert_with(Instant::now);
        let mut body = String::from(r#"{"events":["#);
        let mut count = 0;
        for event in self.events.iter().take(self.step) {
            if count > 0 && body.len() + event.json.len() > bytes_max {
                break;
            }
            if count > 0 {
                body.push(',');
            }
            body.push_str(&event.json);
            count += 1;
        }
        body.push_str("]}");
        (body.into(), count)
    }

    /// Removes the first events, which are given up.
    pub(super) fn remove(&mut self, count: usize) -> Vec<QueuedEvent> {
        self.began = None;
        self.suspects = self.suspects.saturating_sub(count);
        let removed: Vec<_> = self.events.drain(..count.min(self.events.len())).collect();
        self.bytes -= removed.iter().map(QueuedEvent::bytes).sum::<usize>();
        removed
    }

    /// Removes the first events, which were taken. More are handed over at a time from now on, unless one is looked for.
    pub(super) fn take(&mut self, count: usize) -> Vec<QueuedEvent> {
        let taken = self.remove(count);
        self.step = if self.is_searching() { (self.suspects / 2).max(1) } else { (self.step * 2).min(EVENTS_MAX) };
        taken
    }

    /// Hands over half of so many, which were not taken. Returns `false` if that was a single event.
    pub(super) fn split(&mut self, count: usize) -> bool {
        self.suspects = count;
        self.step = (count / 2).max(1);
        count > 1
    }

    /// Whether the event is looked for that is not taken. All of those among which it was may be taken after all.
    pub(super) fn is_searching(&self) -> bool {
        self.suspects > 0
    }

    /// For how long the first events have been tried.
    pub(super) fn tried_for(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    /// All of its events.
    pub(super) fn into_events(self) -> Vec<QueuedEvent> {
        self.events.into()
    }

    /// Removes all events that something else takes, and keeps those that it gives back.
    pub(super) fn hand_on(&mut self, mut take: impl FnMut(QueuedEvent) -> Option<QueuedEvent>) {
        self.events = std::mem::take(&mut self.events).into_iter().filter_map(&mut take).collect();
        self.bytes = self.events.iter().map(QueuedEvent::bytes).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_goes_on_behind_what_was_taken_and_ends_with_what_it_looked_for() {
        let event = || QueuedEvent { json: "{}".into(), room: None };
        let mut batch = Batch::default();
        (0..20).for_each(|_| batch.push(event()));
        let next = |batch: &mut Batch| batch.next(10_000).1;
        assert_eq!((next(&mut batch), batch.is_searching()), (20, false));
        assert!(batch.split(20));
        assert_eq!(next(&mut batch), 10);
        batch.take(10);
        assert_eq!((next(&mut batch), batch.is_searching()), (5, true), "it is among the other half");
        assert!(batch.split(5));
        batch.take(2);
        assert!(!batch.split(1));
        batch.remove(1);
        assert_eq!((next(&mut batch), batch.is_searching()), (1, false));
        batch.take(1);
        assert_eq!(next(&mut batch), 2, "more again");
        // The receiver has failed for a moment only.
        batch.split(4);
        for count in [2, 1, 1] {
            assert!(batch.is_searching());
            assert_eq!(next(&mut batch), count);
            batch.take(count);
        }
        assert_eq!((next(&mut batch), batch.is_searching()), (2, false));
    }
}
