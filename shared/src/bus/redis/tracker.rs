//! Where in the history this gateway is, and how the next broadcast continues it. No I/O.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use crate::bus::event::{Broadcast, Position};

/// Recent ids, which tell a duplicate from another past.
const RECENT_MAX: usize = 4096;

/// The newest broadcast that was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) epoch: Arc<str>,
    pub(super) offset: u64,
    /// Its id; empty at the beginning of an epoch.
    pub(super) last: String,
}

impl Head {
    pub(super) fn position(&self) -> Position {
        Position { epoch: Arc::clone(&self.epoch), offset: self.offset }
    }
}

/// How a broadcast, or the head in Redis, continues the history that was delivered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Continuity {
    /// It is the next one: deliver it.
    Next,
    /// It was delivered already.
    Duplicate,
    /// Some are missing before it.
    Missing,
    /// It has another epoch: the past is lost.
    NewEpoch,
    /// It has the same epoch and another past: acknowledged broadcasts were lost.
    Diverged,
}

/// Follows the history.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    head: Option<Head>,
    /// Offsets and hashes of the ids.
    recent: VecDeque<(u64, u64)>,
}

impl Tracker {
    pub(super) fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Starts at a place, with nothing known of the past.
    pub(super) fn start_at(&mut self, head: Head) {
        self.recent.clear();
        self.recent.push_back((head.offset, hash(&head.last)));
        self.head = Some(head);
    }

    /// How a broadcast continues the history.
    pub(super) fn check(&self, position: &Position, id: &str, prev: &str) -> Continuity {
        let Some(head) = &self.head else { return Continuity::NewEpoch };
        if position.epoch != head.epoch {
            return Continuity::NewEpoch;
        }
        if position.offset <= head.offset {
            // Too old to be remembered counts as seen: pub/sub never runs that far behind the stream.
            let known = self.recent.iter().rev().find(|(offset, _)| *offset == position.offset);
            let same = known.is_none_or(|(_, known)| *known == hash(id));
            return if same { Continuity::Duplicate } else { Continuity::Diverged };
        }
        if position.offset > head.offset + 1 {
            return Continuity::Missing;
        }
        if prev == head.last { Continuity::Next } else { Continuity::Diverged }
    }

    /// Compares with the head in Redis: `Next` means that both are at the same place.
    pub(super) fn check_head(&self, there: &Head) -> Continuity {
        let Some(here) = &self.head else { return Continuity::NewEpoch };
        if here.epoch != there.epoch {
            Continuity::NewEpoch
        } else if there.offset > here.offset {
            Continuity::Missing
        } else if there.offset < here.offset || there.last != here.last {
            Continuity::Diverged
        } else {
            Continuity::Next
        }
    }

    /// Whether a place has been delivered that was ahead.
    pub(super) fn has_reached(&self, there: &Head) -> bool {
        self.head.as_ref().is_some_and(|here| here.epoch == there.epoch && here.offset >= there.offset)
    }

    /// Moves on to a delivered broadcast.
    pub(super) fn advance(&mut self, broadcast: &Broadcast) {
        let Some(position) = &broadcast.position else { return };
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((position.offset, hash(&broadcast.id)));
        let Position { epoch, offset } = position.clone();
        let head = self.head.get_or_insert_with(|| Head { epoch: Arc::clone(&epoch), offset, last: String::new() });
        head.last.clone_from(&broadcast.id);
        (head.epoch, head.offset) = (epoch, offset);
    }
}

fn hash(id: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::event::Publication;

    fn head(epoch: &str, offset: u64, last: &str) -> Head {
        Head { epoch: epoch.into(), offset, last: last.to_owned() }
    }

    fn at(epoch: &str, offset: u64) -> Position {
        Position { epoch: epoch.into(), offset }
    }

    fn tracker() -> Tracker {
        let mut tracker = Tracker::default();
        tracker.start_at(head("e", 5, "a-5"));
        let event = Publication {
            name: "x".to_owned(),
            params: "[]".to_owned(),
            except: None,
            depth: 0,
            user: None,
            trace: None,
        };
        tracker.advance(&Broadcast { id: "a-6".to_owned(), position: Some(at("e", 6)), event });
        tracker
    }

    #[test]
    fn the_next_in_the_chain_is_delivered_and_nothing_else() {
        let tracker = tracker();
        assert_eq!(tracker.check(&at("e", 7), "b-1", "a-6"), Continuity::Next);
        assert_eq!(tracker.check(&at("e", 6), "a-6", "a-5"), Continuity::Duplicate);
        assert_eq!(tracker.check(&at("e", 1), "a-1", ""), Continuity::Duplicate);
        assert_eq!(tracker.check(&at("e", 9), "b-3", "b-2"), Continuity::Missing);
        assert_eq!(tracker.check(&at("f", 7), "b-1", "a-6"), Continuity::NewEpoch);
    }

    #[test]
    fn lost_acknowledged_broadcasts_show() {
        let tracker = tracker();
        assert_eq!(tracker.check(&at("e", 6), "b-9", "a-5"), Continuity::Diverged);
        assert_eq!(tracker.check(&at("e", 7), "b-9", "b-8"), Continuity::Diverged);
        assert_eq!(tracker.check_head(&head("e", 5, "a-5")), Continuity::Diverged);
        assert_eq!(tracker.check_head(&head("e", 6, "b-9")), Continuity::Diverged);
        assert_eq!(tracker.check_head(&head("e", 6, "a-6")), Continuity::Next);
        assert_eq!(tracker.check_head(&head("e", 8, "b-2")), Continuity::Missing);
        assert_eq!(tracker.check_head(&head("f", 0, "")), Continuity::NewEpoch);
    }
}
