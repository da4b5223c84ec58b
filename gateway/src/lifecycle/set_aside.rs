//! Events that the receiver does not take although it is there, each with what came after it of the same connection or
//! room: these are tried by themselves, so that all others go on, and each connection and room keeps its order. No I/O.

use std::time::{Duration, Instant};

use diffyne_shared::backoff::Backoff;
use serde::Deserialize;

use super::batch::Batch;
use super::queue::QueuedEvent;

/// Connections and rooms of which something is set aside.
pub(super) const SUBJECTS_MAX: usize = 16;
/// Events of one of them. Clients make as many as they like.
pub(super) const SUBJECT_EVENTS_MAX: usize = 200;
/// The first pause between two attempts.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// The longest one.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What an event is about: a room, a gateway that was lost, or a connection.
pub(super) fn subject(event: &QueuedEvent) -> String {
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(default)]
        connection: &'a str,
    }
    match &event.room {
        Some((room, _)) => room.to_string(),
        // Ids of connections have nothing to escape.
        None => serde_json::from_str::<Fields<'_>>(&event.json).map_or_else(|_| String::new(), |f| f.connection.into()),
    }
}

struct Subject {
    name: String,
    events: Batch,
    /// How often the receiver had taken something before.
    delivered: u64,
    backoff: Backoff,
    due: Instant,
}

/// What is set aside.
#[derive(Default)]
pub(super) struct SetAside(Vec<Subject>);

impl SetAside {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of events.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|subject| subject.events.len()).sum()
    }

    /// Sets an event aside, after the receiver has taken something so often. Returns what it is about.
    pub(super) fn add(&mut self, event: QueuedEvent, delivered: u64) -> &str {
        let name = subject(&event);
        let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MAX);
        let due = Instant::now() + backoff.wait();
        self.0.push(Subject { name, events: Batch::refused(event), delivered, backoff, due });
        self.0.last().map_or("", |subject| &subject.name)
    }

    /// Makes place for another connection or room. Returns what is given up for that; `None`: the receiver has taken
    /// nothing since all of this was set aside, so that it is not the events that it refuses.
    pub(super) fn make_place(&mut self, delivered: u64) -> Option<Batch> {
        if self.0.len() < SUBJECTS_MAX {
            return Some(Batch::default());
        }
        let oldest = self.0.iter().enumerate().min_by_key(|(_, subject)| subject.delivered);
        let (at, _) = oldest.filter(|(_, subject)| subject.delivered < delivered)?;
        Some(self.0.swap_remove(at).events)
    }

    /// Removes what has become too much.
    pub(super) fn take_overfull(&mut self) -> Option<Batch> {
        let at = self.0.iter().position(|subject| subject.events.len() > SUBJECT_EVENTS_MAX)?;
        Some(self.0.swap_remove(at).events)
    }

    /// Sets an event aside behind others of its connection or room, or gives it back.
    pub(super) fn follow(&mut self, event: QueuedEvent) -> Option<QueuedEvent> {
        if self.0.is_empty() {
            return Some(event);
        }
        let name = subject(&event);
        match self.0.iter_mut().find(|subject| subject.name == name) {
            Some(subject) => {
                subject.events.push(event);
                None
            }
            None => Some(event),
        }
    }

    /// When the next attempt is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.iter().map(|subject| subject.due).min()
    }

    /// Has everything tried at once.
    pub(super) fn hurry(&mut self) {
        let now = Instant::now();
        self.0.iter_mut().for_each(|subject| subject.due = subject.due.min(now));
    }

    /// The events whose attempt is due first.
    pub(super) fn first(&mut self) -> Option<&mut Batch> {
        self.0.sort_by_key(|subject| subject.due);
        self.0.first_mut().map(|subject| &mut subject.events)
    }

    /// Has the events that were due first tried again later.
    pub(super) fn postpone(&mut self) {
        if let Some(subject) = self.0.first_mut() {
            subject.due = Instant::now() + subject.backoff.wait();
        }
    }

    /// Goes on with what is behind the events that were due first, if there is anything.
    pub(super) fn proceed(&mut self) {
        if let Some(subject) = self.0.first_mut() {
            subject.backoff.reset();
            subject.due = Instant::now();
        }
        self.0.retain(|subject| !subject.events.is_empty());
    }

    /// Removes what was due first, with what is behind it.
    pub(super) fn remove_first(&mut self) -> Batch {
        if self.0.is_empty() { Batch::default() } else { self.0.remove(0).events }
    }
}
