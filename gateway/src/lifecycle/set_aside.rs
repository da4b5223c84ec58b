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
const SUBJECT_EVENTS_MAX: usize = 200;
/// Events of one of them while it may be that the receiver refuses everything.
const UNSURE_EVENTS_MAX: usize = 2000;
/// The part of the queue's memory that all of them may take: the rest is for events that the receiver takes.
const QUEUE_PART: usize = 4;
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
    /// It was not taken in an attempt of its own either, after something else had been taken.
    is_sure: bool,
    backoff: Backoff,
    due: Instant,
}

/// Whether there is place for another connection or room.
pub(super) enum Place {
    /// There is, and this is given up for it.
    Made(Batch),
    /// Something of what is set aside may be taken by now, and is due.
    AfterAttempt,
    /// The receiver has taken nothing since all of this was set aside, so that it is not the events that it refuses.
    None,
}

/// What is set aside.
pub(super) struct SetAside {
    subjects: Vec<Subject>,
    /// What all of it may take of the queue's memory.
    bytes_max: usize,
}

impl SetAside {
    /// Nothing, in a queue of so many bytes.
    pub(super) fn new(queue_bytes_max: usize) -> Self {
        Self { subjects: Vec::new(), bytes_max: queue_bytes_max / QUEUE_PART }
    }

    /// What it takes of the queue's memory.
    pub(super) fn bytes(&self) -> usize {
        self.subjects.iter().map(|subject| subject.events.bytes()).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.subjects.is_empty()
    }

    /// The number of events.
    pub(super) fn len(&self) -> usize {
        self.subjects.iter().map(|subject| subject.events.len()).sum()
    }

    /// Sets an event aside, after the receiver has taken something so often. Returns what it is about.
    pub(super) fn add(&mut self, event: QueuedEvent, delivered: u64) -> &str {
        let name = subject(&event);
        let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MAX);
        let due = Instant::now() + backoff.wait();
        self.subjects.push(Subject { name, events: Batch::refused(event), delivered, is_sure: false, backoff, due });
        self.subjects.last().map_or("", |subject| &subject.name)
    }

    /// Makes place for another connection or room: the oldest of those that were refused for sure goes.
    pub(super) fn make_place(&mut self, delivered: u64) -> Place {
        if self.subjects.len() < SUBJECTS_MAX {
            return Place::Made(Batch::default());
        }
        let oldest = self.subjects.iter().enumerate().min_by_key(|(_, subject)| (!subject.is_sure, subject.delivered));
        match oldest.map(|(at, subject)| (at, subject.is_sure, subject.delivered)) {
            Some((at, true, _)) => Place::Made(self.subjects.swap_remove(at).events),
            Some((at, false, before)) if before < delivered => {
                self.hurry(at);
                Place::AfterAttempt
            }
            _ => Place::None,
        }
    }

    /// Removes what has become too much, with the reason. What may be taken by now is due first.
    pub(super) fn take_overfull(&mut self, delivered: u64) -> Option<(Batch, &'static str)> {
        let events_max = |subject: &Subject| if subject.is_sure { SUBJECT_EVENTS_MAX } else { UNSURE_EVENTS_MAX };
        let is_overfull = |subject: &Subject| subject.events.len() > events_max(subject);
        if let Some(at) = self.subjects.iter().position(is_overfull) {
            return Some((
                self.subjects.swap_remove(at).events,
                "too many events of one connection or room follow one that was refused",
            ));
        }
        if self.bytes() > self.bytes_max {
            let largest = self.subjects.iter().enumerate().max_by_key(|(_, s)| (s.is_sure, s.events.bytes()));
            let events = largest.map(|(at, _)| at).map(|at| self.subjects.swap_remove(at).events)?;
            return Some((events, "what was refused takes more than a quarter of DIFFYNE_WEBHOOK_QUEUE"));
        }
        let is_full = |subject: &Subject| subject.events.len() > SUBJECT_EVENTS_MAX && subject.delivered < delivered;
        if let Some(at) = self.subjects.iter().position(is_full) {
            self.hurry(at);
        }
        None
    }

    /// Has one of them tried at once, and before all others.
    fn hurry(&mut self, at: usize) {
        let now = Instant::now();
        self.subjects[at].due = self.due().map_or(now, |due| due.min(now));
        self.subjects.swap(0, at);
    }

    /// Sets an event aside behind others of its connection or room, or gives it back.
    pub(super) fn follow(&mut self, event: QueuedEvent) -> Option<QueuedEvent> {
        if self.subjects.is_empty() {
            return Some(event);
        }
        let name = subject(&event);
        match self.subjects.iter_mut().find(|subject| subject.name == name) {
            Some(subject) => {
                subject.events.push(event);
                None
            }
            None => Some(event),
        }
    }

    /// When the next attempt is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.subjects.iter().map(|subject| subject.due).min()
    }

    /// Has everything tried at once.
    pub(super) fn hurry_all(&mut self) {
        let now = Instant::now();
        self.subjects.iter_mut().for_each(|subject| subject.due = subject.due.min(now));
    }

    /// The events whose attempt is due first.
    pub(super) fn first(&mut self) -> Option<&mut Batch> {
        self.subjects.sort_by_key(|subject| subject.due);
        self.subjects.first_mut().map(|subject| &mut subject.events)
    }

    /// Has the events that were due first tried again later: they were not taken, after the receiver has taken something so
    /// often.
    pub(super) fn postpone(&mut self, delivered: u64) {
        if let Some(subject) = self.subjects.first_mut() {
            subject.is_sure |= subject.delivered < delivered;
            subject.due = Instant::now() + subject.backoff.wait();
        }
    }

    /// Goes on with what is behind the events that were due first, if there is anything.
    pub(super) fn proceed(&mut self, delivered: u64) {
        if let Some(subject) = self.subjects.first_mut() {
            (subject.delivered, subject.is_sure) = (delivered, false);
            subject.backoff.reset();
            subject.due = Instant::now();
        }
        self.subjects.retain(|subject| !subject.events.is_empty());
    }

    /// Removes what was due first, with what is behind it.
    pub(super) fn remove_first(&mut self) -> Batch {
        if self.subjects.is_empty() { Batch::default() } else { self.subjects.remove(0).events }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn event(connection: usize) -> QueuedEvent {
        QueuedEvent { json: format!(r#"{{"connection":"c{connection}"}}"#).into(), room: None }
    }

    /// So many connections, of each an event that was refused and so many behind it.
    fn aside(connections: usize, behind: usize) -> SetAside {
        let mut aside = SetAside::new(32 << 20);
        for connection in 0..connections {
            aside.add(event(connection), 5);
            assert!((0..behind).all(|_| aside.follow(event(connection)).is_none()));
        }
        aside
    }

    #[test]
    fn many_events_are_given_up_only_when_it_is_sure_that_the_receiver_refuses_these() {
        let mut aside = aside(2, SUBJECT_EVENTS_MAX);
        assert!(aside.take_overfull(5).is_none() && aside.due().unwrap() > Instant::now(), "it may refuse everything");
        aside.first();
        aside.postpone(5);
        assert!(aside.take_overfull(5).is_none());
        // It has taken something else since.
        assert!(aside.take_overfull(6).is_none() && aside.due().unwrap() <= Instant::now(), "it is tried at once");
        let hurried = aside.first().unwrap().len();
        aside.postpone(6);
        assert_eq!(aside.take_overfull(6).unwrap().0.len(), hurried);
        assert_eq!(aside.len(), SUBJECT_EVENTS_MAX + 1);
        // What it takes is not given up, and of what follows it is not sure yet.
        aside.first().unwrap().take(1);
        aside.proceed(7);
        aside.postpone(7);
        (0..2).for_each(|_| (0..2).for_each(|connection| drop(aside.follow(event(connection)))));
        assert!(aside.take_overfull(7).is_none());
        for connection in 0..2 {
            (0..UNSURE_EVENTS_MAX).for_each(|_| drop(aside.follow(event(connection))));
        }
        assert!(aside.take_overfull(7).unwrap().0.len() > UNSURE_EVENTS_MAX && aside.is_empty());
    }

    #[test]
    fn what_is_set_aside_takes_a_part_of_the_queue_and_the_largest_of_what_is_sure_goes_first() {
        let mut aside = SetAside::new(64_000);
        let large = |connection: usize, bytes: usize| QueuedEvent {
            json: format!(r#"{{"connection":"c{connection}","match":"{}"}}"#, "x".repeat(bytes)).into(),
            room: None,
        };
        for (connection, bytes) in [(0, 2_000), (1, 5_000), (2, 7_000)] {
            aside.add(large(connection, bytes), 5);
        }
        assert!(aside.take_overfull(5).is_none() && (14_000..15_000).contains(&aside.bytes()));
        // The first two are refused for sure.
        aside.subjects.iter_mut().take(2).for_each(|subject| subject.is_sure = true);
        assert!(aside.follow(large(0, 2_000)).is_none());
        let (given_up, reason) = aside.take_overfull(6).unwrap();
        assert!((5_000..6_000).contains(&given_up.bytes()) && reason.contains("DIFFYNE_WEBHOOK_QUEUE"));
        assert!(aside.take_overfull(6).is_none() && aside.len() == 3);
        // However little is sure, the bytes are a limit.
        assert!(aside.follow(large(2, 9_000)).is_none());
        while aside.take_overfull(6).is_some() {}
        assert!(aside.bytes() <= 16_000);
    }

    #[test]
    fn one_more_takes_the_place_of_what_is_refused_for_sure() {
        let is_made = |place| matches!(place, Place::Made(given_up) if !given_up.is_empty());
        let mut aside = aside(SUBJECTS_MAX, 0);
        assert!(matches!(aside.make_place(5), Place::None), "it refuses everything");
        assert!(matches!(aside.make_place(6), Place::AfterAttempt) && aside.due().unwrap() <= Instant::now());
        aside.first();
        aside.postpone(6);
        assert!(is_made(aside.make_place(6)) && aside.len() == SUBJECTS_MAX - 1);
        assert!(matches!(aside.make_place(6), Place::Made(nothing) if nothing.is_empty()));
    }
}
